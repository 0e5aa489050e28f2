"""`lt.scan`: draws and costs inside a loop over time, reward-to-go credit, any order.

A loop body has no rest to call, so only estimators of one point go inside. One `lax.scan` draws;
afterwards, with the costs of all steps known, every step is settled: it has its costs c_t, its
terms of value zero z_t, and a weight w_t of value 1, the product of the boxes of its draws. With
W_t the product of the weights of the steps before t, the loop contributes

    Σ_t c_t W_t  +  Σ_t z_t W_t,    and what follows it is multiplied by W_T,

where within a step the same holds from statement to statement. A term of value zero is that of a
baseline, b (1 − box), for the costs still to come; the boxes of the earlier draws on it are what a
baseline needs at second order (a Hessian of variance 4.9 for 8.6). The value is the plain sum of
the costs.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick._core.calls import in_words
from logtrick._core.kernel import limited, magic_box
from logtrick._core.samples import Runs
from logtrick.programs._statements import Loop, Program, check_name, common_length, made
from logtrick.programs._waiting import (
    Open,
    Settled,
    log_of,
    merged,
    product_of,
    record_of,
    sum_of,
    weighed,
)

Array = jax.Array


@in_words("lt.scan")
def scan(
    step: Program,
    carry: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    name: str | None = None,
    remat: bool = False,
) -> Loop:
    """A loop over time, to be yielded by a program: `carry, ys = yield lt.scan(step, carry, xs)`.

    Like `jax.lax.scan`, with draws and costs inside the step. A site is credited with the later
    costs of its step, of later steps and after the loop (reward-to-go), and leave-one-out is taken
    per step, over the samples: Σ_t Σ_{u≥t} (c_u − b_t) ∇log p_t. Right at every order. Discount and
    mask by scaling the costs: a step past the end of its episode costs 0. Only estimators that
    evaluate one point are legal inside (`ScoreFunction`, `Pathwise`, …): k points in each of T
    steps would cost k^T. `VariableElimination` sums the draws of a Markov chain out exactly, by the
    forward recursion, where the carry depends on the last draw alone. An `lt.expect`
    inside has noise of its own in every step, also under one key. Loops nest.

    Args:
      step: a generator function `step(carry, x)` that yields `lt.sample`, `lt.cost` or `lt.scan`
        and returns `(carry, y)`; the carry keeps its shapes and dtypes.
      carry: the first carry, a pytree.
      xs: what the steps run over, a pytree with a leading axis of time.
      length: the number of steps, where `xs` has none.
      name: the first half of the names under which `aux` reports what is inside, "loop.site"; by
        default the index of the loop among the program's sites.
      remat: recompute the steps in reverse mode, so that memory holds the carries only.
    Returns:
      What the program yields; the yield's value is `(carry, ys)`.
    Raises:
      TypeError: the step is no generator function, or does not return `(carry, y)`.
      ValueError: an estimator of several points inside the step; no number of steps, or one that
        does not fit.
    References:
      Schulman, Heess, Weber & Abbeel (2015), "Gradient Estimation Using Stochastic Computation
      Graphs"; Foerster et al. (2018), "DiCE"; Mao et al. (2019), "A Baseline for Any Order Gradient
      Estimation in Stochastic Computation Graphs".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> def flips(logit):
      ...     def step(carry, _):
      ...         x = yield lt.sample(lt.Bernoulli(logit))
      ...         yield lt.cost(x)
      ...         return carry, None
      ...     yield lt.scan(step, 0.0, length=4)
      >>> value = lambda logit: lt.expect_program(jax.random.key(0), flips, logit, num_samples=10_000)
      >>> round(value(0.0).item(), 1), round(jax.grad(value)(0.0).item(), 1)            # exact: 4 · ½ and 4 · ¼
      (2.0, 1.0)
    """
    if not callable(step):
        raise TypeError(
            f"lt.scan(step=…) needs a generator function; got {type(step).__name__}. Write `def step(carry, x)`."
        )
    check_name("lt.scan", name)
    count = common_length("lt.scan", "steps", xs, length, least=0)
    return made(Loop(step, carry, xs, count, name, remat))


@dataclasses.dataclass(frozen=True)
class OpenLoop(Open):
    """A loop whose steps have drawn: its items, each with a leading axis of time."""

    items: list[Any]
    length: int

    def paid(self) -> Array | None:
        steps = self._paid_steps()
        return None if steps is None else jnp.sum(steps)

    def _paid_steps(self) -> Array | None:
        """The costs of each step, shape (time,)."""
        return jax.vmap(lambda items: sum_of(item.paid() for item in items))(self.items)

    def settle(self, after: Array, runs: Runs) -> Settled:
        steps = self._paid_steps()
        afters = jnp.broadcast_to(after, self.length)
        if steps is not None:
            afters = after + _sums_after(steps)
        settled = jax.vmap(lambda items, left: _settle_step(items, left, runs))(self.items, afters)
        weight = settled.weight
        before = None
        if weight is not None:
            log_weights = log_of(weight)
            before, weight = magic_box(_sums_before(log_weights)), magic_box(jnp.sum(log_weights))
        whole = lambda part: None if part is None else jnp.sum(weighed(part, before))
        paid, zero = whole(settled.paid), whole(settled.zero)
        for name, watched in self.limits():
            paid = None if paid is None else limited(name, paid, watched)
            zero = None if zero is None else limited(name, zero, (zero, steps, after, watched))
            weight = None if weight is None else limited(name, weight, watched)
        loss = None if settled.loss is None else jnp.sum(settled.loss)
        record = dataclasses.replace(settled.record, observed=None)
        if self.length:  # the mean over no steps would be nan
            record = merged(settled.record)
        return Settled(paid, zero, weight, loss, record)

    def limits(self) -> list[tuple[str, Any]]:
        return [limit for item in self.items for limit in item.limits()]


jax.tree_util.register_dataclass(OpenLoop, data_fields=["items"], meta_fields=["length"])


def _settle_step(items: list[Any], after: Array, runs: Runs) -> Settled:
    """One step, settled: every item after those that follow it have been added up."""
    to_go = [after]  # the costs after each item, from the last
    for item in reversed(items):
        own = item.paid()
        to_go.append(to_go[-1] if own is None else to_go[-1] + own)
    paid, zero, losses, records = [], [], [], []
    weight: Any = None
    for item, left in zip(items, reversed(to_go[:-1])):
        settled = item.settle(left, runs)
        paid.append(weighed(settled.paid, weight))
        zero.append(weighed(settled.zero, weight))
        weight = product_of([weight, settled.weight])
        losses.append(settled.loss)
        records.append(settled.record)
    return Settled(sum_of(paid), sum_of(zero), weight, sum_of(losses), record_of(records))


def _sums_before(values: Array) -> Array:
    """Sums of what came earlier."""
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values[:-1])])


def _sums_after(values: Array) -> Array:
    """Sums of what comes later."""
    return jnp.concatenate([lax.cumsum(values[1:], reverse=True), jnp.zeros_like(values[:1])])

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

from logtrick._core import checks, mesh
from logtrick._core.calls import in_words
from logtrick._core.kernel import limited, magic_box
from logtrick._core.samples import Runs, in_step
from logtrick.distributions import value_of
from logtrick.estimators import draw
from logtrick.programs._infos import CostInfo, KeyInfo, LoopInfo, PlateInfo
from logtrick.programs._open import (
    Open,
    OpenCost,
    OpenKey,
    Settled,
    log_of,
    open_site,
    product_of,
    sum_of,
    weighed,
    wide,
)
from logtrick.programs._statements import (
    Cost,
    FreshKey,
    Loop,
    Plate,
    Program,
    Sample,
    check_name,
    made,
)
from logtrick.programs._stretch import Sampled
from logtrick.programs._structure import check_site
from logtrick.programs._walk import Reader, begin_step, changed, step_result, walk

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
      name: the first half of the names under which `aux` reports what is inside, "loop.site"; the
        index of the loop among the program's sites unless said otherwise.
      remat: recompute the steps in reverse mode, so that memory holds the carries only.
    Returns:
      What the program yields; the yield's value is `(carry, ys)`.
    Raises:
      TypeError: the step is no generator function, or does not return `(carry, y)`.
      ValueError: an estimator of several points inside the step.
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
    return made(Loop(step, carry, xs, length, name, remat))


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
        return Settled(
            paid,
            zero,
            weight,
            None if settled.loss is None else jnp.sum(settled.loss),
            jax.tree.map(lambda a: jnp.mean(a, 0), settled.observed),
        )

    def limits(self) -> list[tuple[str, Any]]:
        return [limit for item in self.items for limit in item.limits()]

    def draws(self) -> list[Any]:
        return [item.draws() for item in self.items]

    def costs(self) -> list[Any]:
        return [item.costs() for item in self.items]


jax.tree_util.register_dataclass(OpenLoop, data_fields=["items"], meta_fields=["length"])


def _settle_step(items: list[Any], after: Array, runs: Runs) -> Settled:
    """One step, settled: every item after those that follow it have been added up."""
    to_go = [after]  # the costs after each item, from the last
    for item in reversed(items):
        own = item.paid()
        to_go.append(to_go[-1] if own is None else to_go[-1] + own)
    paid, zero, losses, observed = [], [], [], []
    weight: Any = None
    for item, left in zip(items, reversed(to_go[:-1])):
        settled = item.settle(left, runs)
        paid.append(weighed(settled.paid, weight))
        zero.append(weighed(settled.zero, weight))
        weight = product_of([weight, settled.weight])
        losses.append(settled.loss)
        observed.append(settled.observed)
    return Settled(sum_of(paid), sum_of(zero), weight, sum_of(losses), observed)


class _StepOpener(Reader):
    """Reads a step: its draws and costs, in the order of its statements."""

    def __init__(self, planned: LoopInfo, noises: Any, of: Sampled) -> None:
        self.planned, self.of = planned.items, of
        self.noises = iter(noises)
        self.items: list[Open] = []

    def _next(self, kind: type, what: str) -> Any:
        planned = self.planned[len(self.items)] if len(self.items) < len(self.planned) else None
        if not isinstance(planned, kind):
            raise changed(f"{what} in a loop")
        return planned

    def cost(self, statement: Cost) -> None:
        self._next(CostInfo, "costs")
        value = wide(checks.scalar_cost("lt.cost", statement.value))
        self.items.append(OpenCost(value if self.of.scale == 1 else value * self.of.scale))

    def fresh_key(self, statement: FreshKey) -> Any:
        self._next(KeyInfo, "keys")
        self.items.append(OpenKey())
        return next(self.noises)

    def loop(self, statement: Loop) -> Any:
        planned = self._next(LoopInfo, "loops")
        reply, opened = open_loop(statement, planned, next(self.noises), self.of)
        self.items.append(opened)
        return reply

    def plate(self, statement: Plate) -> Any:
        planned = self._next(PlateInfo, "plates")
        reply, opened = self.of.open_plate(statement, planned, next(self.noises), self.of)
        self.items.append(opened)
        return reply

    def sample(self, statement: Sample) -> Any:
        planned = check_site(statement, self._next(object, "sites"))
        points = draw(statement.estimator, next(self.noises), statement.dist)
        self.items.append(open_site(points, statement.estimator, planned.estimator))
        return value_of(points.x)


def open_loop(statement: Loop, planned: LoopInfo, noises: Any, of: Sampled) -> tuple[Any, OpenLoop]:
    """The loop's (carry, ys), and its steps, opened."""

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        number, x, rows = x

        def step() -> tuple[Any, Any]:
            opener = _StepOpener(planned, rows, of)
            after, y = step_result(walk(begin_step(statement.step, carry, x), opener))
            if len(opener.items) != len(planned.items):
                raise changed("items in a loop")
            return after, (y, opener.items)

        return in_step(number, step) if of.structure.nests else step()

    body = jax.checkpoint(body, prevent_cse=False) if statement.remat else body
    numbers = jnp.arange(planned.length, dtype=jnp.uint32)
    carry, (ys, items) = mesh.scan_varying(
        body, statement.carry, (numbers, statement.xs, noises), planned.length
    )
    return (carry, ys), OpenLoop(items, planned.length)


def _sums_before(values: Array) -> Array:
    """Sums of what came earlier."""
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values[:-1])])


def _sums_after(values: Array) -> Array:
    """Sums of what comes later."""
    return jnp.concatenate([lax.cumsum(values[1:], reverse=True), jnp.zeros_like(values[:1])])

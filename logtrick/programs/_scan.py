"""`lt.scan`: draws and costs inside a loop over time, reward-to-go credit, any order.

A loop body has no rest to call, so only estimators of one point go inside. One `lax.scan` draws, and emits each site's
log-prob l and each cost c; afterwards, with L the sum of the log-probs so far,

    Σ c box(L)  +  tail · box(L_T)  +  Σ box(L before the site) · (the site's term of value zero),

the term being b (1 − box(l)) for a baseline b of the costs still to come. The box of the earlier sites on it is what a
baseline needs at second order (a Hessian of variance 4.9 for 8.6). The value is the plain sum of the costs.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick._core import checks
from logtrick._core.kernel import magic_box, stop
from logtrick._core.runs import Runs
from logtrick.estimators import Costs, Estimator, Point
from logtrick.programs import _mesh
from logtrick.programs._items import Cost, Loop, Program, check_name, made
from logtrick.programs._outline import (
    CostOutline,
    LoopOutline,
    SiteOutline,
    begin_step,
    changed,
    check_site,
    step_result,
)

Array = jax.Array
_OWN = (0,)  # the key of the costs that a site inside the loop is shown


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

    Like `jax.lax.scan`, with draws and costs inside the step. A site is credited with the later costs of its step, of
    later steps and after the loop (reward-to-go), and leave-one-out is taken per step, over the runs:
    Σ_t Σ_{u≥t} (c_u − b_t) ∇log p_t. Right at every order. Discount and mask by scaling the costs: a step past the end
    of its episode pays 0. Only estimators that evaluate one point are legal inside (`ScoreFunction`, `Pathwise`, …):
    k points in each of T steps would cost k^T. Loops nest.

    Args:
      step: a generator function `step(carry, x)` that yields `lt.sample`, `lt.cost` or `lt.scan` and returns
        `(carry, y)`; the carry keeps its shapes and dtypes.
      carry: the first carry, a pytree.
      xs: what the steps run over, a pytree with a leading axis of time.
      length: the number of steps, where `xs` has none.
      name: the first half of the names under which `aux` reports what is inside, "loop.site"; the index of the loop
        among the program's sites unless said otherwise.
      remat: work the steps out again in reverse mode, so that memory holds the carries only.
    Returns:
      What the program yields; the yield's value is `(carry, ys)`.
    Raises:
      TypeError: the step is no generator function, or does not return `(carry, y)`.
      ValueError: an estimator of several points inside the step.
    References:
      Schulman, Heess, Weber & Abbeel (2015), "Gradient Estimation Using Stochastic Computation Graphs"; Foerster et al.
      (2018), "DiCE"; Mao et al. (2019), "A Baseline for Any Order Gradient Estimation in Stochastic Computation Graphs".
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


def run_loop(item: Loop, plan: LoopOutline, noises: list[Any]) -> tuple[Any, list[Any]]:
    """The loop's (carry, ys), and a record like `plan.items`, each with a leading axis of time."""

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        x, rows = x
        running, reply, given = begin_step(item, carry, x), None, iter(rows)
        record: list[Any] = []
        while (yielded := running.advance(reply)) is not None:
            reply = None
            planned = plan.items[len(record)] if len(record) < len(plan.items) else None
            if isinstance(yielded, Cost):
                if not isinstance(planned, CostOutline):
                    raise changed("costs in a loop")
                record.append(wide(checks.scalar_cost("lt.cost", yielded.value)))
            elif isinstance(yielded, Loop):
                if not isinstance(planned, LoopOutline):
                    raise changed("loops in a loop")
                reply, inner = run_loop(yielded, planned, next(given))
                record.append(inner)
            else:
                planned = check_site(yielded, planned)
                point = yielded.estimator.draw(next(given), yielded.dist)
                reply = point.x
                record.append(
                    (
                        point.x,
                        point.dist,
                        point.log_prob,
                        _inside(yielded.estimator, planned.estimator),
                    )
                )
        if len(record) != len(plan.items):
            raise changed("items in a loop")
        carry, y = step_result(running.value)
        return carry, (y, record)

    body = jax.checkpoint(body, prevent_cse=False) if item.remat else body
    carry, (ys, record) = _mesh.scan(body, item.carry, (item.xs, noises), plan.length)
    return (carry, ys), record


def _inside(estimator: Estimator, planned: Estimator) -> list[Any]:
    """The leaves of an estimator that was made inside the step; None for those that came from outside."""
    leaves, outside = jax.tree.leaves(estimator), jax.tree.leaves(planned)
    if len(leaves) != len(outside):
        return leaves
    return [None if leaf is other else leaf for leaf, other in zip(leaves, outside)]


def _rebuilt(planned: Estimator, inside: list[Any]) -> Any:
    outside, tree = jax.tree.flatten(planned)
    return tree.unflatten([o if i is None else i for o, i in zip(outside, inside)])


def wide(cost: Array) -> Array:
    return cost if cost.dtype.itemsize >= 4 else cost.astype(jnp.float32)


def draws_of(plan: LoopOutline, record: list[Any]) -> list[Any]:
    """The draws of a loop, a list like `plan.items`."""
    return [
        value[0]
        if isinstance(item, SiteOutline)
        else draws_of(item, value)
        if isinstance(item, LoopOutline)
        else None
        for item, value in zip(plan.items, record)
    ]


def costs_of(plan: LoopOutline, record: list[Any]) -> list[Any]:
    """The costs of a loop, a list like `plan.items`."""
    return [
        value
        if isinstance(item, CostOutline)
        else costs_of(item, value)
        if isinstance(item, LoopOutline)
        else None
        for item, value in zip(plan.items, record)
    ]


def close_loop(
    plan: LoopOutline, record: list[Any], costs: Costs, runs: Runs, own: tuple[int, ...]
) -> Costs:
    """The costs after the loop, weighted by its box; the loop's own are added under the key `own`."""
    log_prob = _log_prob(plan, record)
    terms = _loop_terms(plan, record, jnp.asarray(0.0), stop(costs.total), runs)
    statistics = jax.tree.map(lambda a: jnp.mean(a, 0), terms.pop("statistics"))
    adaptive, paid = terms.pop("adaptive", None), terms.pop("paid", None)
    new = costs.combine(
        None if log_prob is None else magic_box(log_prob.sum()),
        terms["zero"].sum() if "zero" in terms else None,
        adaptive=None if adaptive is None else adaptive.sum(),
        statistics=statistics if jax.tree.leaves(statistics) else None,
    )
    if paid is None:
        return new
    total = new.mine[own] + paid.sum() if own in new.mine else paid.sum()
    return dataclasses.replace(new, mine={**new.mine, own: total})


def _log_prob(plan: LoopOutline, record: list[Any]) -> Array | None:
    """The log-prob of each step's draws, shape (time,); None where nothing is scored."""
    return _sum(_log_prob_of(item, value) for item, value in zip(plan.items, record))


def _log_prob_of(item: Any, value: Any) -> Array | None:
    if isinstance(item, SiteOutline):
        return value[2]
    if isinstance(item, LoopOutline):
        inner = jax.vmap(lambda v: _log_prob(item, v))(value)
        return None if inner is None else inner.sum(1)
    return None


def _paid_of(item: Any, value: Any) -> Array | None:
    """The (stopped) costs of an item of the loop, shape (time,); None for a site."""
    if isinstance(item, CostOutline):
        return stop(value)
    if isinstance(item, LoopOutline):
        inner = jax.vmap(lambda v: _sum(_paid_of(i, w) for i, w in zip(item.items, v)))(value)
        return None if inner is None else inner.sum(1)
    return None


def _sum(values: Any) -> Any:
    """The sum of what is not None; None where nothing is."""
    total = None
    for value in values:
        if value is not None:
            total = value if total is None else total + value
    return total


def _before(values: Array) -> Array:
    """Sums of what came earlier."""
    return jnp.concatenate([jnp.zeros_like(values[:1]), jnp.cumsum(values[:-1])])


def _after(values: Array) -> Array:
    """Sums of what comes later."""
    return jnp.concatenate([lax.cumsum(values[1:], reverse=True), jnp.zeros_like(values[:1])])


def _loop_terms(
    plan: LoopOutline, record: list[Any], before: Array, after: Array, runs: Runs
) -> dict[str, Any]:
    """What each step contributes, shape (time,), given the log-prob before the loop and the costs after it."""
    log_prob, paid = (
        _log_prob(plan, record),
        _sum(_paid_of(i, v) for i, v in zip(plan.items, record)),
    )
    befores = (
        jnp.broadcast_to(before, plan.length) if log_prob is None else before + _before(log_prob)
    )
    afters = jnp.broadcast_to(after, plan.length) if paid is None else after + _after(paid)
    return jax.vmap(lambda r, b, a: _step_terms(plan, r, b, a, runs))(record, befores, afters)


def _step_terms(
    plan: LoopOutline, record: list[Any], before: Array, after: Array, runs: Runs
) -> dict[str, Any]:
    """One step's costs under their boxes, its terms of value zero, what its estimators learn from."""
    to_go = [after]  # the costs after each item
    for item, value in reversed(list(zip(plan.items, record))):
        here = _step_paid(item, value)
        to_go.append(to_go[-1] if here is None else to_go[-1] + here)
    parts: dict[str, list[Any]] = {"paid": [], "zero": [], "adaptive": []}
    statistics: list[Any] = []
    for item, value, left in zip(plan.items, record, reversed(to_go[:-1])):
        observed = None
        if isinstance(item, CostOutline):
            parts["paid"].append(value * magic_box(before).astype(value.dtype))
        elif isinstance(item, LoopOutline):
            inner = _loop_terms(item, value, before, left, runs)
            observed = jax.tree.map(lambda a: jnp.mean(a, 0), inner.pop("statistics"))
            for name, part in inner.items():
                parts[name].append(part.sum())
            log_prob = _log_prob(item, value)
            before = before if log_prob is None else before + log_prob.sum()
        else:
            x, dist, log_prob, inside = value
            shown = Costs({_OWN: left}, {}, {})
            closed = _rebuilt(item.estimator, inside).close(shown, Point(x, dist, log_prob), runs)
            own = closed.aux.get("own", {})
            observed = own.get("statistics")
            if () in closed.mine:
                term = closed.mine[()]
                parts["zero"].append(magic_box(before).astype(term.dtype) * term)
            if "adaptive" in own:
                parts["adaptive"].append(own["adaptive"])
            before = before if log_prob is None else before + log_prob
        statistics.append(observed)
    return {"statistics": statistics, **{name: _sum(part) for name, part in parts.items() if part}}


def _step_paid(item: Any, value: Any) -> Array | None:
    if isinstance(item, CostOutline):
        return stop(value)
    if isinstance(item, LoopOutline):
        steps = _sum(_paid_of(i, v) for i, v in zip(item.items, value))
        return None if steps is None else steps.sum()
    return None

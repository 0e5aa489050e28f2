"""The forward recursion: a loop over time whose draws are summed out exactly, in time linear in the number of steps.

A step has K outcomes, all combinations of the values of its sites. The carry is a function of the step's outcome alone,
so that after step t all that matters of the past is the outcome j of step t and its probability α_t(j):

    α_t(j) = Σ_i α_{t−1}(i) p_t(j | i),        E Σ_t c_t = Σ_t Σ_ij α_{t−1}(i) p_t(j | i) c_t(i, j).

Both are sums of differentiable numbers, so that every derivative is right. The statements after the loop are evaluated
at the K last carries, with the weights α_T.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks, mesh
from logtrick._core.kernel import stop
from logtrick._core.samples import in_step
from logtrick.distributions import value_of
from logtrick.estimators import draw
from logtrick.programs._credit import Sites, dependencies, mark_inside, marked
from logtrick.programs._infos import Info, LoopInfo
from logtrick.programs._statements import Cost, Loop, Sample
from logtrick.programs._waiting import sum_of, wide
from logtrick.programs._walk import Reader, Running, begin_step, changed, step_result, walk

Array = jax.Array
# The label of a step's own draws; those of the carry's leaves are 0, 1, …
_DRAW: Sites = frozenset({-1})


def sums_out(items: Sequence[Info]) -> bool:
    """Whether the draws of a step are summed out; refused where only some of its statements can be."""
    if not any(item.sums_out for item in items):
        return False
    for item in items:
        if item.draws and not item.sums_out:
            raise ValueError(
                "lt.scan: a step whose draws are summed out by VariableElimination() draws nothing else; got "
                f"{item.method} at {item.name!r}. Use VariableElimination() in all sites of the step, and no keys, loops or "
                "plates, or use ScoreFunction()."
            )
    return True


def remembered(statement: Loop) -> tuple[bool, ...]:
    """For each leaf of the carry, whether it depends on draws. Refuses what the forward recursion cannot carry.

    Raises:
      ValueError: a leaf depends on the draws of more than one step, or what the step returns beside the carry depends
        on draws.
    """
    step = lambda carry, x: step_result(walk(begin_step(statement.step, carry, x), _OneOutcome()))
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(
        statement.carry, _one_step(statement.xs)
    )
    count = len(jax.tree.leaves(statement.carry))
    # leaf i of the carry has the label i, the step's own draws another one, and xs none
    of_xs = [frozenset[int]()] * (len(closed.jaxpr.invars) - count)
    labels = [frozenset({i}) for i in range(count)] + of_xs
    depends = dependencies(closed.jaxpr, labels, _keep_draws)
    carried, returned = depends[:count], depends[count:]
    random: Sites = _DRAW  # grows until it holds every leaf that depends on draws, directly or through other leaves
    while (more := random.union(i for i in range(count) if carried[i] & random)) != random:
        random = more
    for i in range(count):
        if i in random and carried[i] & (random - _DRAW):
            path, _ = jax.tree.leaves_with_path(shapes[0])[i]
            raise ValueError(
                f"lt.scan: VariableElimination() remembers the draws of one step, and carry{jax.tree_util.keystr(path)} depends "
                "on those of several. Carry the last draw alone and yield what is summed up as lt.cost, or use ScoreFunction()."
            )
    if any(d & random for d in returned):
        raise ValueError(
            "lt.scan: VariableElimination() sums the draws of a step out, and its y depends on them. Return None as y and yield "
            "lt.cost, or use ScoreFunction()."
        )
    return tuple(i in random for i in range(count))


def _keep_draws(eqn: Any, ins: list[Sites], outs: list[Sites]) -> list[Sites]:
    """A marked draw depends on the draw, and on what its support depends on."""
    return outs if marked(eqn) is None else [_DRAW.union(*ins)]


class _OneOutcome(Reader):
    """Reads a step at one outcome of each draw, which it marks."""

    where = "lt.scan"

    def sample(self, statement: Sample) -> Any:
        support = value_of(draw(statement.estimator, None, statement.dist).x)
        return mark_inside(jax.tree.map(lambda a: a[0], support), (0,))

    def cost(self, statement: Cost) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """The outcomes of a step from one outcome of the step before, a leading axis of outcomes on everything.

    Attributes:
      probs: the probability of each.
      zero: 0, or nan where the parameters of a distribution are illegal.
      values: what each statement gave, in their order: the draw of a site, the value of a cost.
      returned: what the step returned, (carry, y).
    """

    probs: Array
    zero: Array
    values: list[Any]
    returned: Any


jax.tree_util.register_dataclass(
    Outcomes, data_fields=["probs", "zero", "values", "returned"], meta_fields=[]
)


class _AllOutcomes(Reader):
    """Reads a step at all outcomes: what follows a site is read once, at all points of its support."""

    where = "lt.scan"

    def __init__(self, running: Running, scale: float) -> None:
        self.running, self.scale = running, scale
        self.values: list[Any] = []
        self.after: Outcomes | None = None  # what follows the first site

    def cost(self, statement: Cost) -> None:
        value = wide(checks.scalar_cost("lt.cost", statement.value))
        if self.scale != 1:
            value = value * self.scale
        self.values.append(value)

    def sample(self, statement: Sample) -> Any:
        points = draw(statement.estimator, None, statement.dist)
        support = value_of(points.x)

        def rest(x: Any) -> Outcomes:
            return outcomes(self.running, self.scale, x)

        after = jax.vmap(rest)(support)
        count = after.probs.shape[1]
        flat = lambda a: a.reshape(-1, *a.shape[2:])
        drawn = jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), support)
        illegal = statement.dist.nan_unless_legal()
        zero = flat(after.zero)
        self.after = Outcomes(
            flat(points.kept.astype(after.probs.dtype)[:, None] * after.probs),
            zero if illegal is None else zero + illegal.astype(zero.dtype),
            [drawn, *jax.tree.map(flat, after.values)],
            jax.tree.map(flat, after.returned),
        )
        return None


def outcomes(running: Running, scale: float, reply: Any = None) -> Outcomes:
    """All outcomes of what is left of a step."""
    reader = _AllOutcomes(running, scale)
    returned = walk(running, reader, reply)
    after = reader.after
    if after is None:  # nothing is left to draw: one outcome
        one = jax.tree.map(lambda a: jnp.asarray(a)[None], step_result(returned))
        after = Outcomes(jnp.ones(1), jnp.zeros(1), [], one)
    count = after.probs.shape[0]
    own = [jnp.broadcast_to(value, (count,)) for value in reader.values]
    return dataclasses.replace(after, values=[*own, *after.values])


@dataclasses.dataclass(frozen=True)
class Summed:
    """A loop whose draws have been summed out.

    Attributes:
      paid: the expectation of the sum of its costs; None where it has none.
      zero: 0, or nan where the parameters of a distribution are illegal.
      weights: the probability of each outcome of the last step.
      last: the leaves of the last carry that depend on draws, a leading axis of outcomes on each.
      fixed: the other leaves.
      ys: what the steps returned beside the carry, a leading axis of time.
      means: for each statement of the step, the expectation of its draw or cost, a leading axis of time; held constant.
      tree, remembered: the structure of the carry, and for each of its leaves whether it depends on draws.
    """

    paid: Array | None
    zero: Array
    weights: Array
    last: list[Array]
    fixed: list[Array]
    ys: Any
    means: list[Any]
    tree: Any
    remembered: tuple[bool, ...]

    def reply(self, last: list[Array]) -> tuple[Any, Any]:
        """What the loop replies at one outcome of its last step."""
        return self.tree.unflatten(_merged(self.remembered, last, self.fixed)), self.ys


def _merged(random: tuple[bool, ...], last: list[Array], fixed: list[Array]) -> list[Array]:
    """The leaves of a carry, from those that depend on draws and the others."""
    remembered, others = iter(last), iter(fixed)
    return [next(remembered) if r else next(others) for r in random]


def sum_out(statement: Loop, planned: LoopInfo, scale: float, nests: bool) -> Summed:
    """Run the forward recursion.

    Args:
      statement: the loop.
      planned: what the abstract run found.
      scale: what every cost is multiplied by.
      nests: whether expectations are nested in the step, which have noise of their own in each of them.
    """
    assert planned.remembered is not None
    random = planned.remembered
    leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, statement.carry))
    last = [a for a, r in zip(leaves, random) if r]
    fixed = [a for a, r in zip(leaves, random) if not r]
    # the outcomes i of the step before; one of them where nothing of it is remembered
    parents = planned.outcomes if any(random) else 1

    def from_one(last: list[Array], fixed: list[Array], x: Any) -> Outcomes:
        carry = tree.unflatten(_merged(random, last, fixed))
        return outcomes(begin_step(statement.step, carry, x), scale)

    def body(state: Any, x: Any) -> tuple[Any, Any]:
        weights, last, fixed = state  # α_{t−1}, a leading axis of parents on `last`
        number, x = x
        from_each = jax.vmap(from_one, in_axes=(0, None, None), axis_size=parents)
        step = lambda: from_each(last, fixed, x)
        found = in_step(number, step) if nests else step()
        joint = weights[:, None] * found.probs  # α_{t−1}(i) p_t(j | i)
        after, y = step_result(found.returned)
        kept = jax.tree.leaves(after)
        if len(kept) != len(random):
            raise changed("leaves in the carry of a loop")
        # The carry does not depend on the step before: it is the same from each of its outcomes. What is not random is the
        # same at all outcomes.
        last = [a[0] for a, r in zip(kept, random) if r]
        fixed = [a[0, 0] for a, r in zip(kept, random) if not r]
        y = jax.tree.map(lambda a: a[0, 0], y)
        costs = [v for item, v in zip(planned.items, found.values) if not item.draws]
        paid = _expected(joint, costs)
        held = stop(joint)
        mean = lambda v: jnp.tensordot(held.astype(jnp.result_type(v, held)), v, 2)
        means = jax.tree.map(mean, found.values)
        weights = jnp.sum(joint, 0) if any(random) else weights
        return (weights, last, fixed), (paid, jnp.sum(joint * found.zero), y, means)

    of_probs = jax.eval_shape(from_one, last, fixed, _one_step(statement.xs)).probs.dtype
    # before the first step all outcomes have the same carry, and the first of them has probability 1
    weights = jnp.zeros(parents, of_probs).at[0].set(1.0)
    last = [jnp.broadcast_to(a, (parents, *a.shape)) for a in last]
    body = jax.checkpoint(body, prevent_cse=False) if statement.remat else body
    numbers = jnp.arange(planned.length, dtype=jnp.uint32)
    (weights, last, fixed), (paid, zero, ys, means) = mesh.scan_varying(
        body, (weights, last, fixed), (numbers, statement.xs), planned.length
    )
    paid = None if paid is None else jnp.sum(paid)
    return Summed(paid, jnp.sum(zero), weights, last, fixed, ys, means, tree, random)


def _one_step(xs: Any) -> Any:
    """The shapes of what one step of a loop gets."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a)[1:], jnp.result_type(a)), xs)


def _expected(joint: Array, costs: list[Array]) -> Array | None:
    """The expectation of the sum of the costs, each of shape (before, after); None without costs.

    A constant is taken off first and added back, since the sum would lose the differences between large costs to its rounding.
    """
    total = sum_of(costs)
    if total is None:
        return None
    mean = jnp.mean(stop(total))
    shift = jnp.where(jnp.isfinite(mean), mean, 0.0).astype(total.dtype)
    return jnp.sum(joint.astype(total.dtype) * (total - shift)) + shift

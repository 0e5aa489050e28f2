"""The loop of `lt.eligibility_trace`: its parts, found by abstract steps, and the loop itself, forward in time.

A carry that varies with the parameters (a recurrent state, a pathwise draw) is accompanied by its
derivative S = dcarry/dθ: S ← ∂carry′/∂carry S + ∂carry′/∂θ, and every derivative within a step is
∂/∂θ + ∂/∂carry S.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from logtrick import noise as _noise
from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import refuse
from logtrick._core.mesh import cast_varying
from logtrick._core.samples import Runs, axis_here, enclosed, in_step, over_samples
from logtrick.eligibility._step import WHERE, Step, abstract_step, draws_from, read_step
from logtrick.programs import SiteInfo, dependencies

Array = jax.Array
Axes = frozenset[Any]
ORDER = (
    "lt.eligibility_trace was differentiated; it returns the gradient itself, and first derivatives only. Use the gradient "
    "that it returns, or lt.expect_program with lt.scan where another derivative is needed."
)


# --- what the loop is made of


@dataclasses.dataclass(frozen=True)
class WhileLoop:
    """A loop, found by abstract steps.

    Attributes:
      cond: of one sample's carry.
      step: `step(number, params, carry, noises, index, alive)`, of one sample.
      sites: what a step draws.
      shapes: of a step.
      carry: the first carry, of the dtypes that it keeps.
      params: what the gradient is with respect to.
      moving: for each leaf of the carry, whether it varies with the parameters.
      num_runs: how many samples take steps together.
      axes: over which mesh axes of a user's `shard_map` everything varies.
    """

    cond: Callable[..., Any]
    step: Callable[..., Step]
    sites: list[SiteInfo]
    shapes: Step
    carry: Any
    params: Any
    moving: list[bool]
    num_runs: int
    axes: Axes

    def split(self, carry: Any) -> tuple[list[Any], list[Any]]:
        """The leaves of a carry that vary with the parameters, and the others."""
        leaves = jax.tree.leaves(carry)
        moving = [x for x, moves in zip(leaves, self.moving) if moves]
        still = [x for x, moves in zip(leaves, self.moving) if not moves]
        return moving, still

    def merge(self, moving: list[Any], still: list[Any]) -> Any:
        """The carry, from the leaves that `split` has taken apart."""
        of_moving, of_still = iter(moving), iter(still)
        leaves = [next(of_moving) if moves else next(of_still) for moves in self.moving]
        return jax.tree.structure(self.carry).unflatten(leaves)


def loop_of(
    cond: Any, step: Any, carry: Any, params: Any, num_runs: int, axes: Axes = frozenset()
) -> WhileLoop:
    """Find the parts of a loop by abstract steps.

    Args:
      cond, step, carry, params: those of `lt.eligibility_trace`.
      num_runs: how many samples take steps together.
      axes: mesh axes of a user's `shard_map` over which the noise varies.
    """
    axis = axis_here()
    seen_from_one = Runs(jnp.asarray(0.0, jnp.float32), num_runs, axis)
    with enclosed(axis):
        sites, after, seen, nests = abstract_step(step, carry, params, seen_from_one)
    axes = axes | seen
    example = (
        jnp.uint32(0),
        params,
        _settled(carry, after),
        [_noise.example(site.noise) for site in sites],
        jnp.float32(0),
        jnp.bool_(True),
    )
    # Everything varies over these axes: the state of the loop must vary as its steps do, and a gradient
    # in parameters that devices share would be the sum over the devices.
    example = cast_varying(example, axes)
    _, params, carry = example[:3]

    def one(
        number: Array, params: Any, carry: Any, noises: list[Any], index: Array, alive: Array
    ) -> Step:
        runs = Runs(index, num_runs, axis)
        read = lambda: read_step(step, carry, params, runs, alive, draws_from(noises, sites))[0]
        with enclosed(axis):
            return in_step(number, read) if nests else read()

    def goes_on(carry: Any) -> Array:
        value = cond(carry)
        if jnp.shape(value) or not jnp.issubdtype(jnp.result_type(value), jnp.bool_):
            got = f"{jnp.result_type(value)}{list(jnp.shape(value))}"
            raise TypeError(
                f"{WHERE}: cond must return a truth value, shape (); got {got}. Write `carry > 0`, say."
            )
        return jnp.asarray(value)

    whole, shapes = _closed(one, *example), jax.eval_shape(one, *example)
    moving = _moving(lambda p, c: whole(example[0], p, c, *example[3:]).carry, params, carry)
    return WhileLoop(
        _closed(goes_on, carry), whole, sites, shapes, carry, params, moving, num_runs, axes
    )


def _closed(function: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """`function` with its closure converted to arguments, so that differentiating the closure raises as well."""
    converted, outside = jax.closure_convert(function, *example)
    outside = refuse(outside, ORDER, DerivativeOrderError)
    return lambda *args: converted(*args, *outside)


def _settled(carry: Any, after: Any) -> Any:
    """The first carry, in the dtypes that the steps keep: Python numbers take those of what follows."""
    if jax.tree.structure(carry) != jax.tree.structure(after):
        raise TypeError(
            f"{WHERE}: the step must return a carry like the first, {jax.tree.structure(carry)}; got "
            f"{jax.tree.structure(after)}. Write `return carry`."
        )

    def settle(x: Array, y: Any) -> Array:
        if x.shape == y.shape and x.dtype != y.dtype and x.weak_type:
            x = x.astype(jnp.result_type(x, y.dtype))
        if x.shape != y.shape or x.dtype != y.dtype:
            raise TypeError(
                f"{WHERE}: the step must return a carry like the first, {x.dtype}{list(x.shape)}; got "
                f"{y.dtype}{list(y.shape)}. Start from the shape and dtype that the step returns."
            )
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended):  # a key
            return x
        return lax.convert_element_type(x, x.dtype)  # no longer weakly typed

    return jax.tree.map(settle, carry, after)


def _moving(step: Callable[[Any, Any], Any], params: Any, carry: Any) -> list[bool]:
    """Which leaves of the carry vary with the parameters, directly or through other leaves.

    Read from the jaxpr of a step's reverse mode: the cotangent of the parameters depends on the cotangents of the leaves
    that vary with them directly, that of a leaf on the leaves that vary with it.
    """
    leaves, tree = jax.tree.flatten(carry)
    floats = [i for i, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.floating)]

    def pulled(params: Any, values: list[Any], cotangents: list[Any]) -> Any:
        def floats_after(params: Any, values: list[Any]) -> list[Any]:
            given = dict(zip(floats, values))
            after = jax.tree.leaves(
                step(params, tree.unflatten([given.get(i, x) for i, x in enumerate(leaves)]))
            )
            return [after[i] for i in floats]

        return jax.vjp(floats_after, params, values)[1](cotangents)

    values = [leaves[i] for i in floats]
    jaxpr, shape = jax.make_jaxpr(pulled, return_shape=True)(params, values, values)
    none = [frozenset[int]()] * (len(jaxpr.jaxpr.invars) - len(floats))
    found = dependencies(jaxpr.jaxpr, none + [frozenset([i]) for i in range(len(floats))])
    direct, through = jax.tree.unflatten(jax.tree.structure(shape), found)
    moving = frozenset[int]().union(
        *jax.tree.leaves(direct, is_leaf=lambda s: isinstance(s, frozenset))
    )
    while (more := moving.union(*(through[i] for i in moving))) != moving:
        moving = more
    return [i in {floats[j] for j in moving} for i in range(len(leaves))]


# --- the loop


@dataclasses.dataclass(frozen=True)
class State:
    """The state of the loop; a leading axis of samples on all but `t` and `gradient`.

    Attributes:
      t: the number of the step.
      alive: whether a sample goes on.
      carry: each sample's.
      values: the costs so far.
      num_steps: of each sample.
      traces: for each leaf of the parameters, the sums of scores, (samples, traces, *leaf).
      slopes: the derivative of what of the carry varies with the parameters, flat, (samples, size,
        *leaf).
      gradient: the mean over samples so far.
    """

    t: Array
    alive: Array
    carry: Any
    values: Array
    num_steps: Array
    traces: Any
    slopes: Any
    gradient: Any


jax.tree_util.register_dataclass(State, [f.name for f in dataclasses.fields(State)], [])


def run(loop: WhileLoop, noises: Callable[[Array], list[Any]], decay: Array) -> State:
    """The state when the last sample has ended; `noises(t)` are those of step t, a leading axis of samples on each."""

    def body(state: State) -> State:
        one = lambda _, *row: _one(loop, state.t, decay, *row)
        index = jnp.arange(loop.num_runs, dtype=jnp.float32)
        given = cast_varying((index, noises(state.t)), loop.axes)
        own = (state.alive, state.carry, state.values, state.num_steps, state.traces, state.slopes)
        alive, carry, values, num_steps, traces, slopes, parts = over_samples(
            one, loop.num_runs, *given, *own
        )
        gradient = jax.tree.map(
            lambda g, part: g + jnp.mean(part, 0).astype(g.dtype), state.gradient, parts
        )
        return State(state.t + 1, alive, carry, values, num_steps, traces, slopes, gradient)

    return lax.while_loop(lambda state: jnp.any(state.alive), body, _first(loop))


def _first(loop: WhileLoop) -> State:
    """The state before the first step."""
    n, traces = loop.num_runs, loop.shapes.scores.shape[0]
    size = sum(x.size for x in loop.split(loop.carry)[0])
    zeros = lambda *lead: jax.tree.map(
        lambda p: jnp.zeros((*lead, *p.shape), jnp.promote_types(p.dtype, jnp.float32)), loop.params
    )
    each = lambda x: jnp.broadcast_to(x, (n, *x.shape))
    carry = jax.tree.map(each, loop.carry)
    counts, values = jnp.zeros(n, jnp.int32), jnp.zeros(n, loop.shapes.paid.dtype)
    state = State(
        jnp.uint32(0),
        each(loop.cond(loop.carry)),
        carry,
        values,
        counts,
        zeros(n, traces),
        zeros(n, size),
        zeros(),
    )
    return cast_varying(state, loop.axes)


def _flat(leaves: list[Array]) -> tuple[Array, Callable[[Array], list[Array]]]:
    """The leaves as one vector, and how to take it apart again."""
    if not leaves:  # ravel_pytree gives a scalar on older jax
        return jnp.zeros(0), lambda flat: []
    return ravel_pytree(leaves)


def _one(
    loop: WhileLoop,
    number: Array,
    decay: Array,
    index: Array,
    noises: Any,
    alive: Array,
    carry: Any,
    *own: Any,
) -> tuple[Any, ...]:
    """One sample's step: its new state, and its part of the gradient."""
    value, count, traces, slopes = own
    moving, still = loop.split(carry)
    flat, unravel = _flat(moving)

    def forward(params: Any, flat: Array) -> tuple[Array, Step]:
        step = loop.step(number, params, loop.merge(unravel(flat), still), noises, index, alive)
        after, _ = _flat(loop.split(step.carry)[0])
        return jnp.concatenate([after, step.local[None], step.scores]), step

    (along, through), step = jax.jacrev(forward, (0, 1), has_aux=True)(loop.params, flat)
    # the total derivatives ∂/∂θ + ∂/∂carry S: rows 0 … size − 1 are those of the next carry, row `size` that of the
    # step's own terms, the others those of the log-probs for each trace
    rows = jax.tree.map(
        lambda a, s: a + jnp.tensordot(through.astype(s.dtype), s, 1), along, slopes
    )
    size = flat.size
    faded = jax.tree.map(lambda z: (decay * z).astype(z.dtype), traces)

    def gradient(r: Array, z: Array) -> Array:
        # a sample that has ended may divide by zero in its idle steps: its own terms are left out, not multiplied by 0
        own = jnp.where(alive, r[size], jnp.zeros_like(r[size]))
        return own + jnp.tensordot(step.weights.astype(z.dtype), z, 1)

    part = jax.tree.map(gradient, rows, faded)
    keep = lambda new, old: jnp.where(alive, new.astype(old.dtype), old)
    return (
        alive & loop.cond(jax.tree.map(jnp.asarray, step.carry)),
        jax.tree.map(lambda new, old: jnp.where(alive, new, old), step.carry, carry),
        value + step.paid.astype(value.dtype),
        count + alive.astype(count.dtype),
        jax.tree.map(lambda r, z: keep(r[size + 1 :] + z, z), rows, faded),
        jax.tree.map(lambda r, s: keep(r[:size], s), rows, slopes),
        part,
    )

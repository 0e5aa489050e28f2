"""The compiled half of the training loop. Nothing here looks at the value of an array."""

import collections
import dataclasses
import functools
from collections.abc import Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun

from logtrick._core import keys
from logtrick._core.compat import jaxpr_of
from logtrick._core.fingerprint import fingerprint_and_tracers
from logtrick._core.module import replace
from logtrick.training import _guard, _mesh
from logtrick.training._adaptive import partition
from logtrick.training._evaluation import evaluates_as_is, evaluation_params
from logtrick.training._state import STOPPED, FitState, Records, Rows
from logtrick.training._step import Task, take

Array = jax.Array

# The most steps in one call of the compiled program. The number of steps is an argument of the program, so that neither
# `chunk` nor `num_steps` is a compile-time constant; at 25 µs a step the call itself takes less than a hundredth of the time.
CAPACITY = 512
_KEPT = 32  # programs


class Program:
    """The compiled functions of a task.

    Attributes:
      task: what is compiled for.
      traced: whether the task refers to values of a JAX trace that is going on.
      boxes: the black boxes that the objective calls, found while tracing.
      step_seconds: how long a step took when it was last measured, by the `kinds` of state and data for which `advance` was
        compiled; None where no step was measured.
    """

    def __init__(self, task: Task, traced: bool = False) -> None:
        self.task, self.traced = task, traced
        self.boxes: list[Any] = []
        self.step_seconds: dict[Hashable, float | None] = {}
        self.begin = jax.jit(functools.partial(_begin, task), static_argnames=("key_impl",))
        self.advance = jax.jit(
            functools.partial(_advance, task, CAPACITY), donate_argnames=("state",)
        )
        # Under vmap and jit there is no host between chunks: one call takes all steps.
        self.whole = jax.jit(
            lambda state, data, *, count: _advance(task, count, state, data, np.int32(count)),
            static_argnames=("count",),
        )
        self._shown = jax.jit(functools.partial(_shown, task))

    def shown(self, state: FitState) -> tuple[Any, Any]:
        """The parameters in the form for evaluation, and the averaged ones or None."""
        if self.task.average is None and evaluates_as_is(self.task.evaluate, state.opt_state):
            return state.params, None
        return self._shown(replace(state, history=None, listeners=None))


class Programs:
    """The programs of the tasks that were used last; bounded, since each keeps what its objective closes over."""

    def __init__(self) -> None:
        self.kept: collections.OrderedDict[Hashable, Program] = collections.OrderedDict()

    def find(self, task: Task) -> Program:
        """The program of an equal task, else a new one."""
        key, traced = _key(task)
        if traced:  # not to be kept beyond its trace
            return Program(task, traced=True)
        program = self.kept.get(key) or Program(task)
        self.keep(key, program)
        return program

    def traced(self, task: Task, program: Program) -> None:
        """Keep `program` under the task's key once more: tracing may have changed it, by a list that the objective appends to."""
        key, traced = _key(task)
        if not traced:
            self.keep(key, program)

    def keep(self, key: Hashable, program: Program) -> None:
        """Remember `program` as the one used last."""
        self.kept[key] = program
        self.kept.move_to_end(key)
        while len(self.kept) > _KEPT:
            self.kept.popitem(last=False)


PROGRAMS = Programs()


def _key(task: Task) -> tuple[Hashable, bool]:
    """A key that equal tasks share, and whether values of a trace are in the task."""
    parts = [getattr(task, field.name) for field in dataclasses.fields(task)]
    found = [fingerprint_and_tracers(part) for part in parts]
    return tuple(key for key, _ in found), any(traced for _, traced in found)


def _begin(
    task: Task, params: Any, key_data: Array, position: Any, key_impl: Any = None
) -> FitState:
    """The state before the first step, in memory of its own, which is donated: the user keeps the arrays that they passed."""
    params = jax.tree.map(lambda x: _strong(jnp.copy(x)), params)
    opt_state = jax.tree.map(_strong, task.optimizer.init(partition(params)[0]))
    zero = jnp.zeros((), jnp.int32)
    average = None
    if task.average is not None:
        shown = evaluation_params(task.evaluate, opt_state, params)
        average = jax.tree.map(_strong, task.average.start(shown))
    return _mesh.replicated(
        task.mesh,
        FitState(
            params=params,
            opt_state=opt_state,
            key_data=jnp.copy(key_data),
            step=zero,
            skipped=zero,
            skipped_in_a_row=zero,
            clipped=zero,
            gradient_scale=_guard.start(),
            average=average,
            position=position,
            key_impl=key_impl,
        ),
    )


def _strong(x: Any) -> Array:
    """`x` without weak type, which would make the second chunk a second compilation."""
    return lax.convert_element_type(x, jnp.result_type(x))


def _advance(
    task: Task, capacity: int, state: FitState, data: Any, count: Any
) -> tuple[FitState, Rows, Array]:
    """Take `count` ≤ `capacity` steps; returns the state, what the steps recorded, and the steps skipped in a row at last."""
    base = jax.random.wrap_key_data(state.key_data, impl=state.key_impl)
    # With a buffer of one step the compiler removes the loop, and the bits differ.
    capacity = max(capacity, 2)
    steps = state.step + jnp.arange(capacity, dtype=jnp.int32)
    # All keys at once: a fold inside the loop would take an eighth of the time of a small step.
    step_keys = jax.vmap(lambda step: step_key(base, step))(steps)

    def step(state: FitState, key: Array, data: Any, i: Array) -> tuple[FitState, Records]:
        state, records = take(task, state, key, batch_of(task, state, data, i))
        if task.feed.source == "rows":
            state = replace(state, position=task.feed.at(state.step))
        return state, records

    # A step is traced once, here, so that the shapes of its records are known before the loop begins.
    closed, shapes = jaxpr_of(step, state, step_keys[0], data, jnp.zeros((), jnp.int32))
    tree = jax.tree.structure(shapes)
    kinds = shapes[1]  # of the records

    def body(i: Array, carry: tuple[FitState, Array, Array]) -> tuple[FitState, Array, Array]:
        state, counters, rows = carry
        # JAX does not check an unsigned index for negative values. (Writing needs the signed one: under vmap, jax 0.7 drops
        # what is written at an unsigned index.)
        index = jnp.asarray(i, jnp.uint32)
        key = lax.dynamic_index_in_dim(step_keys, index, keepdims=False)
        leaves = jax.tree.leaves((_with_counters(state, counters), key, data, i))
        state, records = tree.unflatten(jaxpr_as_fun(closed)(*leaves))
        state, counters = _without_counters(state)
        rows = lax.dynamic_update_index_in_dim(rows, _as_row(records), i, 0)
        return state, counters, rows

    width = len(jax.tree.leaves(kinds))
    rows = jnp.full((capacity, width), STOPPED, float)
    state, counters = _without_counters(state)
    state, counters, rows = lax.fori_loop(0, count, body, (state, counters, rows))
    state = _with_counters(state, counters)
    # The count is copied, since the state is donated to the next call.
    out = (state, Rows(rows, kinds), jnp.copy(state.skipped_in_a_row))
    return _mesh.replicated(task.mesh, out)


_COUNTERS = ("step", "skipped", "skipped_in_a_row", "clipped")


def _without_counters(state: FitState) -> tuple[FitState, Array]:
    """The state without its scalar counters and scales, and these as one vector: one XLA kernel instead of one for each."""
    log_median, seen = state.gradient_scale
    counts = [getattr(state, name) for name in _COUNTERS]
    counters = jnp.stack([*counts, seen, lax.bitcast_convert_type(log_median, jnp.int32)])
    return replace(state, gradient_scale=(), **dict.fromkeys(_COUNTERS, ())), counters


def _with_counters(state: FitState, counters: Array) -> FitState:
    """The inverse of `_without_counters`."""
    *counts, seen, log_median = counters
    scale = (lax.bitcast_convert_type(log_median, jnp.float32), seen)
    return replace(state, gradient_scale=scale, **dict(zip(_COUNTERS, counts)))


def _as_row(records: Records) -> Array:
    """A step's records as one vector of floats: one write into the history instead of one for each."""
    return jnp.stack([x.astype(float) for x in jax.tree.leaves(records)])


def batch_of(task: Task, state: FitState, data: Any, i: Any) -> tuple[Any, ...]:
    """The objective's further arguments at the state's step, the i-th of its call."""
    return _mesh.rows(task.mesh, task.feed.batch(data, state.step, i))


def step_key(base: Array, step: Any) -> Array:
    """The objective's key at a step."""
    return keys.fold_in(keys.fold_in(base, step), keys.SAMPLE)


def _shown(task: Task, state: FitState) -> tuple[Any, Any]:
    """The parameters for evaluation, and the averaged ones."""
    shown = evaluation_params(task.evaluate, state.opt_state, state.params)
    averaged = None if task.average is None else task.average.value(state.average, shown)
    return shown, averaged


def kinds(tree: Any) -> Hashable:
    """The structure, shapes and dtypes of a tree: what `jax.jit` compiles for."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((jnp.shape(x), jnp.result_type(x)) for x in leaves)

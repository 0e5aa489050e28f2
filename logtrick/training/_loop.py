"""The pure half of the training loop: what is compiled. Nothing here looks at a number."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from logtrick._core import checks, keys
from logtrick._core.module import Module, static
from logtrick.programs._black_box import BlackBox
from logtrick.training._adaptive import adaptive_loss, advanced_statistics, auxes, merge, partition
from logtrick.training._ahead import worked_ahead

Array = jax.Array

# Bits of `Records.trouble`.
VALUE, GRADIENT, UPDATE, STOPPED = 1, 2, 4, 8


class FitState(Module):
    """All that a fit carries from step to step: one pytree of arrays, without Python objects, to be checkpointed.

    Attributes:
      params: the parameters, with the estimators that sit in them.
      opt_state: the optimizer's state.
      key_data: the words of the base key; the key of a step is `fold_in(key, step)`.
      step: how many steps were taken, skipped ones included.
      skipped: how many of them were skipped because something was not finite.
      skipped_in_a_row: how many were skipped since the last accepted one; at the limit the fit stands still.
      key_impl: the key's implementation.
    """

    params: Any
    opt_state: Any
    key_data: Array
    step: Array
    skipped: Array
    skipped_in_a_row: Array
    key_impl: Any = static(default=None)


class Records(Module):
    """What the steps of a chunk leave behind, a leading axis of steps.

    Attributes:
      value: the objective, in the user's sign.
      gradient_norm: the Euclidean norm of the gradient of the loss; inf where its square overflows.
      trouble: 0 for an accepted step, else bits that say what was not finite.
    """

    value: Array
    gradient_norm: Array
    trouble: Array


@dataclasses.dataclass(frozen=True)
class Task:
    """What is compiled for: hashed by the identity of the user's functions, like `jax.jit`."""

    where: str
    objective: Callable[..., Any]
    optimizer: Any
    sign: int
    limit: int
    batch_size: int | None


class Program:
    """The compiled functions of a task."""

    def __init__(self, task: Task) -> None:
        advance = lambda ahead: functools.partial(_advance, task, ahead=ahead)
        self.begin = jax.jit(functools.partial(_begin, task))
        self.advance = jax.jit(
            advance(True), static_argnames=("chunk",), donate_argnames=("state",)
        )
        # Under vmap donated memory would not fit, nor would all steps' noise: there the chunk is the whole fit.
        self.advance_traced = jax.jit(advance(False), static_argnames=("chunk",))
        self.boxes: list[BlackBox] = []  # found while tracing


@functools.lru_cache(maxsize=32)
def program(task: Task) -> Program:
    """The compiled functions of `task`: a second fit of the same objective and optimizer compiles nothing.

    Bounded, since a cached function keeps what its objective closes over: the 32 tasks that were used last.
    """
    return Program(task)


def _begin(task: Task, params: Any, key: Array) -> FitState:
    """The state before the first step, in memory of its own: it is donated, and the user keeps what they gave."""
    params = jax.tree.map(jnp.copy, params)
    trained, _ = partition(params)
    opt_state = jax.tree.map(_strong, task.optimizer.init(trained))
    zero = jnp.zeros((), jnp.int32)
    return FitState(
        params, opt_state, jax.random.key_data(key), zero, zero, zero, jax.random.key_impl(key)
    )


def _strong(x: Any) -> Array:
    """`x` without weak type, which would make the second chunk a second compilation."""
    return lax.convert_element_type(x, jnp.result_type(x))


def _advance(
    task: Task, state: FitState, data: Any, count: Array, *, chunk: int, ahead: bool
) -> tuple[FitState, Records, Array]:
    """`count` ≤ `chunk` steps. The number of steps is an argument, so a shorter last chunk is the same program."""
    base = jax.random.wrap_key_data(state.key_data, impl=state.key_impl)
    size = max(
        chunk, 2
    )  # a buffer of one step would be seen through by the compiler, and give other bits
    steps = state.step + jnp.arange(size, dtype=jnp.int32)
    records = Records(jnp.zeros(size), jnp.zeros(size), jnp.full(size, STOPPED, jnp.int32))

    def step(index: Array, state: FitState, data: Any) -> tuple[FitState, Records]:
        key, rows = step_inputs(task, base, index, data)
        return _step(task, state, key, rows, data)

    prepared, resume = worked_ahead(step, steps, state, data) if ahead else (steps, step)

    def body(i: Array, carry: tuple[FitState, Records]) -> tuple[FitState, Records]:
        state, records = carry
        state, new = resume(_at(prepared, i), state, data)
        put = lambda buffer, x: lax.dynamic_update_index_in_dim(
            buffer, x.astype(buffer.dtype), i, 0
        )
        return state, jax.tree.map(put, records, new)

    state, records = lax.fori_loop(0, count, body, (state, records))
    records = jax.tree.map(lambda buffer: buffer[:chunk], records)
    return (
        state,
        records,
        jnp.copy(state.skipped_in_a_row),
    )  # a copy: the state is donated to the next chunk


def _at(tree: Any, i: Any) -> Any:
    return jax.tree.map(lambda a: lax.dynamic_index_in_dim(a, i, keepdims=False), tree)


def step_inputs(task: Task, base: Array, step: Array, data: Any) -> tuple[Array, Array | None]:
    """The objective's key at a step, and the rows of its batch."""
    key = jax.random.fold_in(base, step)
    if task.batch_size is None:
        return jax.random.fold_in(key, keys.SAMPLE), None
    rows = jax.tree.leaves(data)[0].shape[0]
    batch = jax.random.randint(jax.random.fold_in(key, keys.DATA), (task.batch_size,), 0, rows)
    return jax.random.fold_in(key, keys.SAMPLE), batch


def _loss(
    task: Task, params: Any, key: Array, rows: Array | None, data: Any
) -> tuple[Array, tuple[Array, Any]]:
    """The loss to be minimized, and beside it the value and the aux."""
    batch = (
        data
        if rows is None
        else jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data)
    )
    out = task.objective(params, key) if data is None else task.objective(params, key, batch)
    value, aux = out if isinstance(out, tuple) and len(out) == 2 else (out, None)
    value = checks.scalar_cost(f"{task.where}: the objective", value)
    return task.sign * value + adaptive_loss(task.where, aux), (value, aux)


class Proposal(Module):
    """What a step would do, and what it saw: `new` and `old` are (parameters, optimizer state)."""

    value: Array
    aux: Any
    grads: Any
    new: Any
    old: Any


def propose(task: Task, state: FitState, key: Array, rows: Any, data: Any) -> Proposal:
    """A step's gradient and update, not yet accepted."""
    trained, statistics = partition(state.params)

    def loss(trained: Any) -> tuple[Array, Any]:
        params = merge(state.params, trained, statistics)
        loss, (value, aux) = _loss(task, params, key, rows, data)
        return loss, (value, aux, advanced_statistics(task.where, params, aux))

    (_, (value, aux, statistics)), grads = jax.value_and_grad(loss, has_aux=True)(trained)
    trained, opt_state = _update(task, state, trained, task.sign * value, grads)
    new = (merge(state.params, trained, statistics), opt_state)
    return Proposal(value, auxes(aux), grads, new, (state.params, state.opt_state))


def _step(
    task: Task, state: FitState, key: Array, rows: Any, data: Any
) -> tuple[FitState, Records]:
    step = propose(task, state, key, rows, data)
    trouble, norm = _trouble(step)
    running = state.skipped_in_a_row < task.limit
    accepted = running & (trouble == 0)
    params, opt_state = jax.tree.map(
        lambda new, old: jnp.where(accepted, new, old), step.new, step.old
    )
    skipped = (running & (trouble != 0)).astype(jnp.int32)
    state = FitState(
        params,
        opt_state,
        state.key_data,
        state.step + running.astype(jnp.int32),
        state.skipped + skipped,
        jnp.where(accepted, 0, state.skipped_in_a_row + skipped),
        state.key_impl,
    )
    return state, Records(step.value, norm, jnp.where(running, trouble, STOPPED))


def _update(task: Task, state: FitState, trained: Any, value: Array, grads: Any) -> tuple[Any, Any]:
    """The optimizer's step, every leaf in the shape and dtype that it had."""

    def value_fn(*_: Any) -> Any:
        raise ValueError(
            f"{task.where}(optimizer=…) evaluates the objective again in a line search, which compares values at different "
            "points and needs them without noise; the objective here draws new samples at every step. Use a stochastic "
            "optimizer such as optax.adam, or L-BFGS with linesearch=None."
        )

    updates, opt_state = task.optimizer.update(
        grads, state.opt_state, trained, value=value, grad=grads, value_fn=value_fn
    )

    def same_shape(new: Any, old: Array) -> Any:
        if jnp.shape(new) != old.shape:
            raise ValueError(
                f"{task.where}(optimizer=…) turned a leaf of shape {old.shape} into one of shape {jnp.shape(new)}. Its "
                "updates and its state must keep their shapes."
            )
        return new

    trained = optax.apply_updates(trained, jax.tree.map(same_shape, updates, trained))
    cast = lambda new, old: lax.convert_element_type(same_shape(new, old), old.dtype)
    return trained, jax.tree.map(cast, opt_state, state.opt_state)


def _trouble(step: Proposal) -> tuple[Array, Array]:
    """What is not finite, as bits, and the gradient's norm. A few sums: which leaf it was is found when it matters."""
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(step.grads))
    leaves = [g.astype(dtype) for g in jax.tree.leaves(step.grads)]
    square = sum((jnp.sum(jnp.square(g)) for g in leaves), jnp.zeros((), dtype))
    nothing = sum(
        (jnp.sum(g * 0) for g in leaves), jnp.zeros((), dtype)
    )  # nan where a gradient is not finite
    wrong = [lost(n, o) for n, o in zip(jax.tree.leaves(step.new), jax.tree.leaves(step.old))]
    bits = (
        VALUE * ~jnp.isfinite(step.value)
        + GRADIENT * ~jnp.isfinite(nothing)
        + UPDATE * functools.reduce(jnp.logical_or, wrong, jnp.array(False))
    )
    return bits.astype(jnp.int32), jnp.sqrt(square)


def lost(new: Array, old: Array) -> Array:
    """Whether a finite entry became one that is not. An infinity that was there before is no fault."""
    if not jnp.issubdtype(old.dtype, jnp.inexact):
        return jnp.array(False)
    return jnp.any(jnp.isfinite(old) & ~jnp.isfinite(new))

"""One step of a fit, pure: gradient, update, and whether it is accepted."""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from logtrick._core import checks
from logtrick._core.module import Module
from logtrick._core.objectives import value_and_aux
from logtrick._core.watch import costs_watched
from logtrick.training import _guard
from logtrick.training._adaptive import adaptive_loss, advanced_statistics, auxes, merge, partition
from logtrick.training._average import Average
from logtrick.training._evaluation import Evaluate, evaluation_params
from logtrick.training._feed import NO_DATA, Feed
from logtrick.training._metrics import columns
from logtrick.training._reductions import euclidean_norm, not_finite
from logtrick.training._state import CLIPPED, GRADIENT, STOPPED, UPDATE, VALUE, FitState, Records

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Task:
    """What a program is compiled for.

    Attributes:
      where: the public function, for messages.
      objective: the user's function.
      optimizer: an optax transformation with extra arguments.
      sign: 1 to minimize, −1 to maximize.
      limit: after how many skipped steps in a row the fit stands still.
      feed: how a step gets its batch.
      freeze_guard: the factor of the freeze guard, or None.
      average: how iterates are averaged, or None.
      evaluate: the user's function for the parameters for evaluation, or None.
      mesh: the devices, or None.
      functions: the functions in the structure of the parameters, which may refer to data that change.
    """

    where: str
    objective: Callable[..., Any]
    optimizer: Any
    sign: int = 1
    limit: int = 10
    feed: Feed = NO_DATA
    freeze_guard: float | None = None
    average: Average | None = None
    evaluate: Evaluate | None = None
    mesh: Any = None
    functions: tuple[Any, ...] = ()


class Proposal(Module):
    """What a step would do, before it is decided whether it is accepted.

    Attributes:
      value: the objective.
      aux: what the objective returned beside the value.
      grads: the gradient of the loss with respect to the trained parameters, before clipping.
      new, old: (parameters, optimizer state) after and before the step.
      gradient_norm, update_norm: the Euclidean norms of gradient and update.
      clipped: whether the freeze guard clipped the gradient.
    """

    value: Array
    aux: Any
    grads: Any
    new: Any
    old: Any
    gradient_norm: Array
    update_norm: Array
    clipped: Array


def propose(
    task: Task,
    state: FitState,
    key: Array,
    batch: tuple[Any, ...],
    nonfinite: dict[str, str] | None = None,
) -> Proposal:
    """A step's gradient and update, not yet accepted; `nonfinite` as of `costs_watched`."""
    trained, statistics = partition(state.params)

    def loss(trained: Any) -> tuple[Array, Any]:
        params = merge(state.params, trained, statistics)
        with costs_watched(nonfinite) as seen:
            value, aux = value_and_aux(task.where, task.objective(params, key, *batch))
            value = checks.scalar_cost(f"{task.where}: the objective", value)
        _warn_of_half_precision(task.where, seen)
        news = advanced_statistics(task.where, params, aux)
        return task.sign * value + adaptive_loss(task.where, aux), (value, aux, news)

    (_, (value, aux, statistics)), grads = jax.value_and_grad(loss, has_aux=True)(trained)
    norm = euclidean_norm(grads)
    clipped = jnp.array(False)
    kept = grads
    if task.freeze_guard is not None:
        most = _guard.bound(state.gradient_scale, task.freeze_guard)
        clipped = (norm > most) & jnp.isfinite(norm)
        # Stopped: a derivative of the whole fit must not go through the norm, whose root has an infinite slope at 0.
        scale = lax.stop_gradient(jnp.where(clipped, most / norm, 1.0))
        # In the wider of both dtypes: a small scale is 0 in 16 bits.
        kept = jax.tree.map(lambda g: (g * scale).astype(g.dtype), grads)
    updates, opt_state = _update(task, state, trained, task.sign * value, kept)
    trained = optax.apply_updates(trained, updates)
    new = (merge(state.params, trained, statistics), opt_state)
    old = (state.params, state.opt_state)
    return Proposal(value, aux, grads, new, old, norm, euclidean_norm(updates), clipped)


def _warn_of_half_precision(where: str, seen: list[str]) -> None:
    """Warn, once for each compilation: a sum in 16 bits is silently wrong."""
    if seen:
        warnings.warn(
            f"{where}: the objective, or a cost of an expectation in it, is computed in {seen[0]}, whose sums "
            "lose digits and overflow early. Return value.astype(jnp.float32) of sums that are taken in float32; parameters may "
            "stay in 16 bits.",
            UserWarning,
            stacklevel=2,
        )


def take(
    task: Task, state: FitState, key: Array, batch: tuple[Any, ...]
) -> tuple[FitState, Records]:
    """Take a step: what it proposes is accepted if all of it is finite; otherwise the step is counted as skipped."""
    step = propose(task, state, key, batch)
    wrong = _not_finite(step)
    running = state.skipped_in_a_row < task.limit
    accepted = running & (wrong == 0)
    average, scale = state.average, state.gradient_scale
    if task.average is not None:
        shown = evaluation_params(task.evaluate, step.new[1], step.new[0])
        average = task.average.update(average, shown, state.step)
    new, old = (*step.new, average), (*step.old, state.average)
    params, opt_state, average = _either(accepted, new, old)
    if task.freeze_guard is not None:
        choose = lambda new, old: jnp.where(accepted, new, old)
        scale = jax.tree.map(choose, _guard.observe(scale, step.gradient_norm), scale)
    skipped = (running & (wrong != 0)).astype(jnp.int32)
    clipped = accepted & step.clipped
    state = FitState(
        params=params,
        opt_state=opt_state,
        key_data=state.key_data,
        step=state.step + running.astype(jnp.int32),
        skipped=state.skipped + skipped,
        skipped_in_a_row=jnp.where(accepted, 0, state.skipped_in_a_row + skipped),
        clipped=state.clipped + clipped.astype(jnp.int32),
        gradient_scale=scale,
        average=average,
        position=state.position,
        key_impl=state.key_impl,
    )
    flags = jnp.where(running, wrong | CLIPPED * clipped, STOPPED)
    metrics = columns(task.where, step.aux, opt_state)
    records = Records(
        value=step.value.astype(float),
        gradient_norm=step.gradient_norm.astype(float),
        update_norm=step.update_norm.astype(float),
        flags=flags,
        metrics=metrics,
    )
    return state, records


def _either(first: Array, one: Any, other: Any) -> Any:
    """`one` where `first` is true, else `other`; trees of the same kinds.

    On the CPU by a branch, which copies memory, where a `select` would be one more kernel to compile for each leaf. On other
    devices by `select`, since a branch would wait for its predicate.
    """
    if jax.default_backend() != "cpu":
        return jax.tree.map(lambda x, y: jnp.where(first, x, y), one, other)
    return lax.cond(first, lambda: one, lambda: other)


def _update(task: Task, state: FitState, trained: Any, value: Array, grads: Any) -> tuple[Any, Any]:
    """The optimizer's update and state, every leaf in the shape and dtype that it had."""

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

    updates = jax.tree.map(same_shape, updates, trained)
    cast = lambda new, old: lax.convert_element_type(same_shape(new, old), old.dtype)
    return updates, jax.tree.map(cast, opt_state, state.opt_state)


def _not_finite(step: Proposal) -> Array:
    """What of a step is not finite, as bits of `Records.flags`; the leaf is found only where the fit ends for it."""
    gradient, update = not_finite(step.grads, step.new, step.old)
    bits = VALUE * ~jnp.isfinite(step.value) + GRADIENT * gradient + UPDATE * update
    return bits.astype(jnp.int32)


def expectations(aux: Any) -> list[Any]:
    """The costs of every expectation in an objective's aux."""
    return [found.costs for _, found in auxes(aux)]

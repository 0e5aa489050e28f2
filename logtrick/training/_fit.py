"""`lt.minimize` and `lt.maximize`: the host's half of the training loop."""

from collections.abc import Callable, Hashable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from logtrick._core import checks
from logtrick._core.compat import is_tracer
from logtrick._core.errors import NonFiniteError
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick.programs import host_errors_surface
from logtrick.training._adaptive import partition
from logtrick.training._blame import blame
from logtrick.training._interrupt import Interrupt
from logtrick.training._loop import STOPPED, FitState, Program, Records, Task, program
from logtrick.training._progress import ProgressBar, TqdmBar

LIMIT = 10
_MOST_STEPS = 1_000  # in a call of the compiled program, which draws ahead for all of them


class History(Module):
    """What happened at each step, arrays of shape (steps,).

    Attributes:
      value: the objective in the user's sign, before the step's update; noisy where the objective is.
      gradient_norm: the Euclidean norm of the gradient of the loss; inf where its square overflows.
      skipped: whether the step was skipped because its value, its gradient or its update was not finite.
    """

    value: Any
    gradient_norm: Any
    skipped: Any


class FitResult(Module):
    """What a fit gives.

    Attributes:
      params: the parameters after the last accepted step, estimators in them included.
      averaged_params: None; for iterate averaging.
      history: a `History`.
      status: "max_steps" (all steps were taken), "interrupted" (Ctrl-C), "running" (in a callback), "diverged" (in
        `NonFiniteError.result`), or "traced" under `jax.vmap` or `jax.jit`, where no number can be looked at.
      state: the `FitState`, one pytree of arrays.

    Example:
      >>> import jax, optax, logtrick as lt
      >>> fit = lt.minimize(jax.random.key(0), lambda p, key: (p - 3.0) ** 2, 0.0, optax.sgd(0.25), num_steps=20)
      >>> fit.status, round(fit.params.item(), 4), fit.history.value[:3].tolist()
      ('max_steps', 3.0, [9.0, 2.25, 0.5625])
    """

    params: Any
    averaged_params: Any
    history: History
    status: str = static()
    state: FitState


def minimize(
    key: Any,
    objective: Callable[..., Any],
    params: Any,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    data: Any = None,
    batch_size: int | None = None,
    chunk: int = 100,
    callback: Callable[[FitResult], Any] | None = None,
    progress: bool | ProgressBar | TqdmBar = False,
    nonfinite: Literal["skip", "raise"] | int = "skip",
) -> FitResult:
    """Minimize an objective that is estimated from random draws, by any optax optimizer, in a compiled loop.

    θ ← θ + update(∇_θ objective(θ, keyₜ)), keyₜ = fold_in(fold_in(key, t), 1): a pure function of `key`, the same bits
    whatever the `chunk`. Chunks of steps are one compiled program; the host looks at numbers only between them. A second
    call with the same objective and optimizer objects and the same shapes compiles nothing (as under `jax.jit`, what
    the objective closes over is taken as it was when first traced; pass data as `data`).

    Where the objective returns `(value, aux)`, `aux.adaptive_loss` is added to the loss and the estimators in `params`
    that have running statistics are taken over from `aux.estimators`; optimizers see no statistics.

    A step with a value, a gradient, an update or a statistic that is not finite changes nothing and is counted. Ctrl-C
    ends the fit after the chunk, and returns what there is.

    Under `jax.vmap` (over keys, or initial parameters) a whole fit is one call per run of the axis, e.g.
    `jax.vmap(lambda k: lt.minimize(k, objective, params, optimizer, num_steps=…).params)(keys)`. There, and under
    `jax.jit`, nothing raises for its numbers: `history.skipped` and `state.skipped_in_a_row` have them.

    Args:
      key: a typed key.
      objective: `objective(params, key) -> value`, or `objective(params, key, batch)` with `data`; a real scalar, or
        `(value, aux)` with the aux of `lt.expect(…, has_aux=True)`, alone or anywhere in a pytree.
      params: the initial parameters, a pytree of float arrays; it is copied, and stays usable.
      optimizer: an optax gradient transformation that works on noisy gradients.
      num_steps: how many steps, at least 1.
      data: a pytree of arrays with a common leading axis of rows.
      batch_size: rows per step, drawn uniformly with replacement by the step's key; None passes all of `data`.
      chunk: steps between callbacks, taken by the compiled program in calls of at most 1,000.
      callback: `callback(result)`, a `FitResult` so far, after every chunk.
      progress: show progress; True for a `ProgressBar`, or a bar of `lt.training`.
      nonfinite: "skip" skips such steps and ends the fit after 10 of them in a row, "raise" at the first, an int n
        after n in a row. Also a fit that accepted no step at all ends so.
    Returns:
      A `FitResult`.
    Raises:
      NonFiniteError: too many steps in a row were not finite. Its `result` is what the fit had until then.
      TypeError: parameters that have no gradient (integers, bools, strings, complex numbers), no optax optimizer.
      ValueError: no parameters, an objective that is no scalar, rows that do not match, an optimizer with a line search,
        an estimator that learns and is not in `params`.
      BlackBoxError: a host function of `lt.black_box` raised; what it raised is the `__cause__`. (JAX's own error under
        `jax.vmap`, and where the objective is jitted and was traced before.)
    Example:
      >>> import jax, optax, logtrick as lt
      >>> def objective(logit, key):
      ...     return lt.expect(key, lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit), num_samples=32)
      >>> fit = lt.minimize(jax.random.key(0), objective, 0.0, optax.adam(0.1), num_steps=300)
      >>> round(jax.nn.sigmoid(fit.params).item(), 2)                   # x = 0 costs 0.2025, x = 1 0.3025
      0.0
    """
    task = _task("lt.minimize", objective, optimizer, 1, data, batch_size, nonfinite)
    return _fit(task, key, params, num_steps, data, chunk, callback, progress)


def maximize(
    key: Any,
    objective: Callable[..., Any],
    params: Any,
    optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    data: Any = None,
    batch_size: int | None = None,
    chunk: int = 100,
    callback: Callable[[FitResult], Any] | None = None,
    progress: bool | ProgressBar | TqdmBar = False,
    nonfinite: Literal["skip", "raise"] | int = "skip",
) -> FitResult:
    """Maximize an objective that is estimated from random draws: `minimize` of −objective, all else the same.

    θ ← θ + update(−∇_θ objective(θ, keyₜ)). The history and the progress line have the objective itself, not its
    negative; `aux.adaptive_loss` is minimized all the same.

    Args:
      key: a typed key.
      objective: `objective(params, key[, batch]) -> value`, or `(value, aux)`.
      params: the initial parameters, a pytree of float arrays.
      optimizer: an optax gradient transformation, as for a minimization.
      num_steps: how many steps, at least 1.
      data: a pytree of arrays with a common leading axis of rows.
      batch_size: rows per step; None passes all of `data`.
      chunk: steps between callbacks, taken by the compiled program in calls of at most 1,000.
      callback: `callback(result)` after every chunk.
      progress: show progress.
      nonfinite: "skip", "raise", or how many steps in a row may be skipped.
    Returns:
      A `FitResult`.
    Raises:
      NonFiniteError: too many steps in a row were not finite.
      TypeError: parameters that have no gradient, no optax optimizer.
      ValueError: as for `minimize`.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> fit = lt.maximize(jax.random.key(0), lambda p, key: 1 - (p - 3.0) ** 2, 0.0, optax.sgd(0.25), num_steps=20)
      >>> round(fit.params.item(), 4), fit.history.value[0].item(), round(fit.history.value[-1].item(), 4)
      (3.0, -8.0, 1.0)
    """
    task = _task("lt.maximize", objective, optimizer, -1, data, batch_size, nonfinite)
    return _fit(task, key, params, num_steps, data, chunk, callback, progress)


def _task(
    where: str,
    objective: Any,
    optimizer: Any,
    sign: int,
    data: Any,
    batch_size: int | None,
    nonfinite: Any,
) -> Task:
    if not callable(objective):
        raise TypeError(
            f"{where}(objective=…) needs a function of (params, key); got {type(objective).__name__}."
        )
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"{where}(optimizer=…) needs an optax gradient transformation; got {type(optimizer).__name__}. Pass "
            "optax.adam(1e-2), say."
        )
    if batch_size is not None:
        checks.positive_int(where, "batch_size", batch_size)
        if data is None:
            raise ValueError(
                f"{where}(batch_size=…) needs data to draw from; got data=None. Pass data=…."
            )
    if isinstance(nonfinite, str):
        limits = {"skip": LIMIT, "raise": 1}
        if nonfinite not in limits:
            raise ValueError(
                f'{where}(nonfinite=…) needs "skip", "raise" or a positive int; got {nonfinite!r}.'
            )
        limit = limits[nonfinite]
    else:
        limit = checks.positive_int(where, "nonfinite", nonfinite)
    return Task(where, objective, optax.with_extra_args_support(optimizer), sign, limit, batch_size)


def _checked(task: Task, params: Any, data: Any) -> tuple[Any, Any]:
    """Parameters and data as arrays without weak types, which would be compiled for twice."""
    checks.differentiable(task.where, partition(params)[0])
    array = lambda x: jnp.asarray(x, jnp.result_type(x))
    data = jax.tree.map(array, data)
    rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if task.batch_size is not None and (len(rows) != 1 or rows == {()}):
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(data)]
        raise ValueError(
            f"{task.where}(data=…) needs arrays with one leading axis of rows in common; got {shapes}."
        )
    if task.batch_size is not None and task.batch_size > min(rows)[0]:
        raise ValueError(
            f"{task.where}(batch_size=…) needs at most the {min(rows)[0]} rows of data; got {task.batch_size}. Leave it out "
            "to use all rows in every step."
        )
    return jax.tree.map(array, params), data


def _fit(
    task: Task,
    key: Any,
    params: Any,
    num_steps: int,
    data: Any,
    chunk: int,
    callback: Any,
    progress: Any,
) -> FitResult:
    key = as_key(key)
    checks.positive_int(task.where, "num_steps", num_steps)
    checks.positive_int(task.where, "chunk", chunk)
    params, data = _checked(task, params, data)
    compiled = program(task) if isinstance(task.objective, Hashable) else Program(task)
    state = compiled.begin(params, key)
    if any(is_tracer(leaf) for leaf in jax.tree.leaves((state, data))):
        if callback is not None or progress:
            raise ValueError(
                f"{task.where}: under jax.vmap and jax.jit there is no host between chunks, so callback and progress must "
                "be left out."
            )
        state, records, _ = compiled.advance_traced(state, data, num_steps, chunk=num_steps)
        history = History(records.value, records.gradient_norm, records.trouble != 0)
        return FitResult(state.params, None, history, "traced", state)
    bar: Any = ProgressBar() if progress is True else progress
    return _Host(task, compiled, data, num_steps, chunk, callback, bar or None).run(state)


class _Host:
    """The loop over chunks."""

    def __init__(
        self,
        task: Task,
        compiled: Program,
        data: Any,
        num_steps: int,
        chunk: int,
        callback: Any,
        bar: Any,
    ) -> None:
        self.task, self.compiled, self.data = task, compiled, data
        self.num_steps, self.chunk, self.callback, self.bar = num_steps, chunk, callback, bar
        self.most = min(chunk, _MOST_STEPS)
        self.values = np.zeros(num_steps, np.dtype(jnp.result_type(float)))
        self.norms = np.zeros_like(self.values)
        self.trouble = np.full(num_steps, STOPPED, np.int32)
        self.read = 0

    def run(self, state: FitState) -> FitResult:
        for box in self.compiled.boxes:
            box.last_error = None
        if self.bar:
            self.bar.start(self.num_steps)
        try:
            with Interrupt() as interrupt:
                state, status = self._chunks(state, interrupt)
        finally:
            if self.bar:
                self.bar.close()
        if not np.any(self.trouble[: self.read] == 0):
            self._give_up(state)
        return self._result(state, status)

    def _chunks(self, state: FitState, interrupt: Interrupt) -> tuple[FitState, str]:
        done, unread = 0, None
        while done < self.num_steps:
            count = min(self.chunk - done % self.chunk, self.most, self.num_steps - done)
            with host_errors_surface([], boxes=self.compiled.boxes):
                state, records, in_a_row = self.compiled.advance(
                    state, self.data, np.int32(count), chunk=self.most
                )
            done += count
            # A fit that reached its limit stands still, so its flag may be read one chunk late, while the next one runs.
            self._read(state, unread)
            unread = (records, in_a_row, count)
            if self.callback is not None and (done % self.chunk == 0 or done == self.num_steps):
                self._read(state, unread)
                unread = None
                copy = jax.tree.map(jnp.copy, state)  # the next chunk takes the state's memory
                try:
                    self.callback(self._result(copy, "running"))
                except KeyboardInterrupt:
                    return state, "interrupted"
            if interrupt.requested:
                break
        self._read(state, unread)
        return (
            state,
            "interrupted" if interrupt.requested and done < self.num_steps else "max_steps",
        )

    def _read(self, state: FitState, unread: tuple[Records, Any, int] | None) -> None:
        """Take over a chunk's records; raise where the limit was reached."""
        if unread is None:
            return
        records, in_a_row, count = unread
        here = slice(self.read, self.read + count)
        with host_errors_surface([], boxes=self.compiled.boxes):
            self.values[here] = np.asarray(records.value)[:count]
        self.norms[here] = np.asarray(records.gradient_norm)[:count]
        self.trouble[here] = np.asarray(records.trouble)[:count]
        self.read += count
        if int(in_a_row) >= self.task.limit:
            self._give_up(state)
        if self.bar:
            skipped = int(np.count_nonzero(self.trouble[: self.read]))
            self.bar.update(
                self.read, float(self.values[0]), float(self.values[self.read - 1]), skipped
            )

    def _result(self, state: FitState, status: str) -> FitResult:
        steps = int(state.step)
        history = History(self.values[:steps], self.norms[:steps], self.trouble[:steps] != 0)
        return FitResult(state.params, None, history, status, state)

    def _give_up(self, state: FitState) -> None:
        error = NonFiniteError(blame(self.task, state, self.data, self.trouble))
        error.result = self._result(state, "diverged")
        raise error

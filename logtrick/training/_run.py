"""A fit in progress: the host's half of the training loop."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from logtrick._core.errors import NonFiniteError
from logtrick._core.module import replace
from logtrick._core.tracing import TRACED_ERRORS, explain_tracing
from logtrick.programs import host_errors_surface
from logtrick.training._columns import Columns
from logtrick.training._feed import HostBatches, on_host
from logtrick.training._history import History
from logtrick.training._interrupt import wait
from logtrick.training._listener import Listener
from logtrick.training._memory import size_in_bytes, suggest_chunks
from logtrick.training._mesh import copied, put_replicated, uncommitted
from logtrick.training._nonfinite import explanation
from logtrick.training._program import CAPACITY, PROGRAMS, Program, kinds
from logtrick.training._result import FitResult
from logtrick.training._state import FitState, Records

_PATIENCE = 1.0  # seconds between visits of the host where steps are slow
_SLOW = 0.05  # seconds of a call from which on it can be interrupted within
_KEPT_BYTES = 2**28  # of a state that is copied before a slow call, to have it when the call fails


class Run:
    """A fit in progress, as its listeners see it.

    Attributes:
      where: the public function, for messages.
      num_steps: the steps of the whole fit.
      chunk: the steps between visits.
      step: how many steps were taken.
      first_step: how many were taken before this process went on with the fit.
      status: None while it runs.
      reason: what led to the status, in words.
      seconds: the wall time of the steps, compilation excluded.
      data: what batches are taken from.
      state: the device's part of the state; its memory goes to the next chunk, so keep `result().state` instead.
      in_flight: whether compiled steps are running now; then an exception may be raised at once only if `abortable`.
      abortable: whether the state before the running chunk is still there.
    """

    def __init__(
        self,
        program: Program,
        state: FitState,
        data: Any,
        num_steps: int,
        chunk: int,
        listeners: Sequence[Listener],
        saver: Listener | None = None,
    ) -> None:
        self.program, self.task, self.where = program, program.task, program.task.where
        self._batches = data if isinstance(data, HostBatches) else None
        self.data = None if self._batches else data
        self.state, self.num_steps, self.chunk = state, num_steps, chunk
        # A checkpoint is read before the other listeners start, and written when they have seen the same step.
        self._starting = [*listeners[:1], *([saver] if saver else []), *listeners[1:]]
        self.listeners = [*listeners, *([saver] if saver else [])]
        self.step = self.first_step = 0
        self.status: str | None = None
        self.reason = ""
        self.seconds = 0.0
        self.in_flight = self.abortable = False
        self.columns = Columns(num_steps)
        self.series: dict[str, dict[str, Any]] = {}
        self._kinds = kinds((state, self.data))
        self._pace = program.step_seconds.get(self._kinds)
        self._last_count = 0
        self._compiled = False
        self._before_call = 0
        self._position = on_host(state.position)

    @property
    def intact(self) -> bool:
        """Whether the state is there, and was not lost with a chunk that failed."""
        return not any(leaf.is_deleted() for leaf in jax.tree.leaves(self.state))

    @property
    def history(self) -> History:
        """The `History` until now."""
        return self.columns.history(self.step, self.series)

    def stop(self, status: str, reason: str = "") -> None:
        """End the fit after this visit; the first call counts.

        Args:
          status: one of the statuses of `FitResult`.
          reason: what led to it, in words.
        """
        if self.status is None:
            self.status, self.reason = status, reason

    def full_state(self) -> FitState:
        """The whole state, with the history and the arrays of listeners: what a checkpoint holds."""
        arrays = {listener.name: listener.arrays() for listener in self.listeners if listener.name}
        return replace(self.state, history=self.history, listeners=arrays)

    def result(self, status: str | None = None) -> FitResult[Any]:
        """The fit so far, in memory of its own.

        Args:
          status: what it says; `self.status`, or "running", by default.
        """
        state = copied(self.task.mesh, self.state)
        params, averaged = self.program.shown(state)
        status = status or self.status or "running"
        state = replace(state, history=self.history)
        return FitResult(params, averaged, self.history, status, state, self.reason)

    def resume(self, state: FitState) -> None:
        """Go on from a state that was saved."""
        assert state.history is not None
        self.columns.load(state.history)
        self.series = dict(state.history.series)
        for listener in self.listeners:
            if listener.name and listener.name in (state.listeners or {}):
                listener.restore(state.listeners[listener.name])
        state = replace(state, history=None, listeners=None)
        self.state = state if self.task.mesh is not None else uncommitted(state)
        self.step = self.first_step = int(state.step)
        self._position = on_host(state.position)

    def __call__(self) -> FitResult[Any]:
        """Take the steps."""
        begun: list[Listener] = []
        failure: BaseException | None = None
        try:
            for listener in self._starting:
                begun.append(listener)
                listener.start(self)
            self._steps()
            if self.status is None:
                self.status = "max_steps"
            if self.step > self.first_step and bool(
                np.all(self.columns.history(self.step, {}).skipped)
            ):
                self._give_up()
        except BaseException as error:
            failure = error
            if self.status is None:
                self.status = "failed"
            suggest_chunks(self.where, error)
            if self._compiled and getattr(error, "result", None) is None:
                self._attach(error)
            raise
        finally:
            self._close(begun, failure)
        result = self.result()
        kept = self.full_state()
        history, listeners = jax.device_put((kept.history, kept.listeners))
        return replace(result, state=replace(result.state, history=history, listeners=listeners))

    def _close(self, begun: list[Listener], failure: BaseException | None) -> None:
        """Close every listener, the last one first; what one of them raises does not keep the others from it."""
        raised: BaseException | None = None
        if self._batches is not None:
            self._batches.feed.close()
        for listener in reversed(begun):
            try:
                listener.close(self, failure)
            except BaseException as error:
                raised = raised or error
        if raised is not None and failure is None:
            self._attach(raised)
            raise raised

    def _attach(self, error: BaseException) -> None:
        """Put the fit so far into an exception as `.result`."""
        # Not for an exception without attributes, nor when the state was lost with the chunk that failed.
        with contextlib.suppress(AttributeError, RuntimeError):
            error.result = self.result()  # type: ignore[attr-defined]  # for whoever catches it

    def _steps(self) -> None:
        self._compile()
        visited = time.monotonic()
        while self.status is None and self.step < self.num_steps:
            boundary = self._boundary()
            self._call(self._count(boundary - self.step))
            if int(self._in_a_row) >= self.task.limit:
                self._give_up()
            for listener in self.listeners:
                listener.after_call(self)
            now = time.monotonic()
            if self.step == boundary or now - visited >= _PATIENCE:
                visited = now
                for listener in self.listeners:
                    listener.after_chunk(self)

    def _compile(self) -> None:
        """Compile by a call of no steps, so that no step is timed together with the compiler."""
        for box in self.program.boxes:
            box.last_error = None
        if self._kinds not in self.program.step_seconds:
            self._call(0)
            PROGRAMS.traced(self.task, self.program)
        self.program.step_seconds[self._kinds] = self._pace
        self._compiled = True

    def _boundary(self) -> int:
        """The next step at which the listeners are visited."""
        visits = [listener.every or self.chunk for listener in self.listeners]
        nearest = min((every - self.step % every for every in visits), default=self.num_steps)
        return min(self.step + nearest, self.num_steps)

    def _count(self, most: int) -> int:
        """The steps of the next call: about a second's, found carefully where nothing is known of their time."""
        if self._pace is None:
            return 1
        wanted = max(1, int(_PATIENCE / max(self._pace, 1e-9)))
        grown = 10 * self._last_count or CAPACITY
        capacity = CAPACITY if self._batches is None else self._batches.most
        return min(most, capacity, wanted, grown)

    def _call(self, count: int) -> None:
        """`count` compiled steps."""
        expected = None if self._pace is None else count * self._pace
        slow = expected is None or expected > _SLOW or bool(self.program.boxes)
        self.abortable = slow and size_in_bytes(self.state) <= _KEPT_BYTES
        given = copied(self.task.mesh, self.state) if self.abortable else self.state
        if self._batches is not None:
            self.data, after = self._batches.take(self._position, count)
        began = time.monotonic()
        self.in_flight = True
        try:
            with host_errors_surface([], boxes=self.program.boxes):
                state, rows, in_a_row = self.program.advance(given, self.data, np.int32(count))
                if self.abortable:
                    wait(in_a_row)
                rows, self._in_a_row = jax.device_get((rows, in_a_row))
        except Exception as error:
            if isinstance(error, TRACED_ERRORS):
                explain_tracing(error, "objectives and optimizers are traced by JAX")
            for listener in self.listeners:
                listener.translate(self, error)
            raise
        finally:
            self.in_flight = False
        if self._batches is not None:
            position = put_replicated(self.task.mesh, jax.device_put(after))
            state, self._position = replace(state, position=position), after
        self._accept(state, rows.columns(), count)
        if count:
            elapsed = time.monotonic() - began
            self.seconds += elapsed
            self._pace, self._last_count = elapsed / count, count
            self.program.step_seconds[self._kinds] = self._pace

    def _accept(self, state: FitState, records: Records, count: int) -> None:
        """Take over what a call gave; the state comes last, so that an interruption leaves the older one whole."""
        self.columns.filled = self._before_call = self.step
        self.columns.append(records, count)
        self.state = state
        self.step += count

    def _give_up(self) -> None:
        self.step = int(self.state.step)  # a fit that reached its limit stands still
        flags = self.columns.flags(self.step)
        self.status = "diverged"
        error = NonFiniteError(
            explanation(self.task, self.state, self.data, flags, self._before_call)
        )
        error.result = self.result()
        raise error

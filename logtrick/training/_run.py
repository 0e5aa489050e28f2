"""A fit in progress: the host's half of the training loop."""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from logtrick._core.errors import NonFiniteError
from logtrick._core.module import replace
from logtrick.training._calls import PATIENCE, Calls
from logtrick.training._columns import Columns
from logtrick.training._history import History
from logtrick.training._interrupt import Interrupt
from logtrick.training._listener import Listener
from logtrick.training._mesh import copied, uncommitted
from logtrick.training._nonfinite import explanation
from logtrick.training._processes import Agreed, Processes
from logtrick.training._program import CAPACITY, PROGRAMS, Program
from logtrick.training._result import FitResult
from logtrick.training._state import FitState, Records


class Run:
    """A fit in progress, as its listeners see it.

    Attributes:
      where: the public function, for messages.
      num_steps: the steps of the whole fit.
      chunk: the steps between visits.
      step: how many steps were taken.
      first_step: how many of them were taken before the fit was resumed here; 0 for a new fit.
      status: None while the fit runs.
      reason: what led to the status, in words.
      state: the device's part of the state; its memory goes to the next steps, so keep `result().state` instead.
      several_processes: whether other processes share the fit.
      writes: whether this process is the one of them that writes to files and screens.
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
        self.program, self.task = program, program.task
        self.where = self.task.where
        self._processes = Processes(self.task.mesh)
        self.writes, self.several_processes = self._processes.writes, self._processes.several
        self._calls = Calls(program, state, data)
        self.state, self.num_steps, self.chunk = state, num_steps, chunk
        # A checkpoint is read before the other listeners start, and written when they have seen the same step.
        savers = [] if saver is None else [saver]
        visited = [x for x in listeners if self.writes or not x.first_process_only]
        self.listeners = [*listeners, *savers]
        self._visited = [*visited, *savers]
        self._interrupt = Interrupt(terminates=saver is not None)
        self._starting: list[Listener | Interrupt] = [self._interrupt, *savers, *visited]
        self.step = self.first_step = 0
        self.status: str | None = None
        self.reason = ""
        self.columns = Columns(num_steps)
        self.series: dict[str, dict[str, Any]] = {}
        self._compiled = self._together = False
        self._before_call = 0
        self._records: list[Records] = []  # of the last calls

    @property
    def data(self) -> Any:
        """What batches are taken from."""
        return self._calls.data

    @property
    def seconds(self) -> float:
        """The wall time of the steps, compilation excluded."""
        return self._calls.seconds

    @property
    def may_raise(self) -> bool:
        """Whether a signal may raise an exception now without losing the fit."""
        return self._calls.abortable or not self._calls.in_flight

    @property
    def intact(self) -> bool:
        """Whether the state still exists: it is lost with steps that failed."""
        return not any(leaf.is_deleted() for leaf in jax.tree.leaves(self.state))

    @property
    def history(self) -> History:
        """The `History` so far."""
        return self.columns.history(self.step, self.series)

    def stop(self, status: str, reason: str = "") -> None:
        """End the fit after this visit; the first call counts.

        Args:
          status: one of the statuses of `FitResult`, or a word of the listener's own.
          reason: what led to it, in words.
        """
        if self.status is None:
            self.status, self.reason = status, reason

    def full_state(self) -> FitState:
        """The whole state, with the history and the arrays of listeners: what a checkpoint saves."""
        arrays = {listener.name: listener.arrays() for listener in self.listeners if listener.name}
        return replace(self.state, history=self.history, listeners=arrays)

    def result(self, status: str | None = None) -> FitResult[Any]:
        """The fit so far, in memory of its own.

        Args:
          status: its status; None is `self.status`, or "running" where there is none yet.
        """
        state = copied(self.task.mesh, self.state)
        params, averaged = self.program.shown(state)
        status = status or self.status or "running"
        state = replace(state, history=self.history)
        return FitResult(params, averaged, self.history, status, state, self.reason)

    def resume(self, state: FitState) -> None:
        """Go on from a state that was saved."""
        assert state.history is not None
        self.columns.append(state.history, len(state.history.value))
        self.series = dict(state.history.series)
        for listener in self.listeners:
            if listener.name and listener.name in (state.listeners or {}):
                listener.restore(state.listeners[listener.name])
        state = replace(state, history=None, listeners=None)
        self.state = state if self.task.mesh is not None else uncommitted(state)
        self.step = self.first_step = int(state.step)
        self._calls.resume(state)

    def __call__(self) -> FitResult[Any]:
        """Take the steps."""
        begun: list[Listener | Interrupt] = []
        failure: BaseException | None = None
        try:
            self._together = True
            for listener in self._starting:
                begun.append(listener)
                listener.start(self)
            self._steps()
            if self.status is None:
                self.status = "max_steps"
            if self.step > self.first_step and bool(np.all(self.history.skipped)):
                self._give_up()
        except BaseException as error:
            failure = error
            self._fail(error)
            raise
        finally:
            self._close(begun, failure)
        try:
            return self._final()
        except BaseException as error:
            self._attach(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """The steps were ended by `error`: tell the other processes, and keep what there is."""
        if self._together:
            with contextlib.suppress(Exception):  # another process may be gone
                self._processes.agree(0, False, "failed", f"{type(error).__name__}: {error}")
        if self.status is None:
            self.status = "failed"
        if "RESOURCE_EXHAUSTED" in str(error):
            error.add_note(
                f"{self.where}: the step does not fit into memory. Pass chunk_size=… to lt.expect, which bounds the memory of "
                "its draws, or use fewer samples or a smaller batch_size."
            )
        if self._compiled and getattr(error, "result", None) is None:
            self._attach(error)

    def _close(self, begun: list[Listener | Interrupt], failure: BaseException | None) -> None:
        """Close every listener, the last one first, also after one of them has raised."""
        raised: BaseException | None = None
        self._calls.close()
        for listener in reversed(begun):
            try:
                listener.close(self, failure)
            except BaseException as error:
                raised = raised or error
        if raised is not None and failure is None:
            self._attach(raised)
            raise raised

    def _final(self) -> FitResult[Any]:
        """The result, which takes the state over: no step follows that needs its memory."""
        params, averaged = self.program.shown(self.state)
        state = self.full_state()
        history, listeners = jax.device_put((state.history, state.listeners))
        state = replace(state, history=history, listeners=listeners)
        assert self.status is not None
        return FitResult(params, averaged, self.history, self.status, state, self.reason)

    def _attach(self, error: BaseException) -> None:
        """Put the fit so far into an exception as `.result`."""
        # Not possible for an exception without attributes, nor where the state was lost with the steps that failed.
        with contextlib.suppress(AttributeError, RuntimeError):
            error.result = self.result()  # type: ignore[attr-defined]  # for the user who catches it

    def _steps(self) -> None:
        self._compile()
        visited = time.monotonic()
        while self.step < self.num_steps:
            boundary = self._boundary()
            count = self._agree(self._calls.steps(boundary - self.step)).steps
            if self.status is not None:
                break
            if self._call(count) >= self.task.limit:
                self._give_up()
            self._interrupt.check()
            overdue = time.monotonic() - visited >= PATIENCE
            if self.step == boundary or self._agree(visit=overdue).visit:
                visited = time.monotonic()
                for listener in self._visited:
                    listener.after_chunk(self)
        self._agree()
        self._together = False

    def _agree(self, count: int = 0, visit: bool = False) -> Agreed:
        """What all processes do next; the fit ends for all of them where it ends for one."""
        agreed = self._processes.agree(count, visit, self.status, self.reason)
        if agreed.status is not None:
            self.status, self.reason = agreed.status, agreed.reason
        if agreed.status == "failed":
            self._together = False
            raise RuntimeError(
                f"{self.where}: process {agreed.process} of the fit failed, {agreed.reason}"
            )
        return agreed

    def _compile(self) -> None:
        """Compile by a call of no steps, so that the time of a step does not include the compiler's."""
        for box in self.program.boxes:
            box.last_error = None
        if not self._agree(self._calls.compiled).steps:
            self._call(0)
            PROGRAMS.traced(self.task, self.program)
        self._compiled = True

    def _boundary(self) -> int:
        """The next step at which the listeners are visited."""
        visits = [listener.every or self.chunk for listener in self.listeners]
        nearest = min((every - self.step % every for every in visits), default=self.num_steps)
        return min(self.step + nearest, self.num_steps)

    def _call(self, count: int) -> int:
        """Take `count` compiled steps; returns how many of the last ones in a row were skipped."""
        together = self._together
        self._together = False
        try:
            state, records, skipped_in_a_row = self._calls.take(self.state, count)
        except Exception as error:
            self._interrupt.check(error)
            raise
        self._together = together
        self._accept(state, records, count)
        return skipped_in_a_row

    def _accept(self, state: FitState, records: list[Records], count: int) -> None:
        """Take over what calls returned; the state comes last, so that an interruption leaves the older one whole."""
        self.columns.filled = self._before_call = self.step
        self._records = records
        for part in records:
            left = self.step + count - self.columns.filled
            self.columns.append(part.history(), min(left, CAPACITY))
        self.state = state
        self.step += count

    def _give_up(self) -> None:
        """End a fit whose last steps were not finite; every process does so by itself."""
        self._together = False
        self.step = int(self.state.step)  # a fit that reached its limit stands still
        self.status = "diverged"
        said = explanation(self.task, self.state, self.data, self._records, self._before_call)
        error = NonFiniteError(said)
        error.result = self.result()
        raise error

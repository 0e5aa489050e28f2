"""The compiled calls of a fit: how many steps each takes, and whether Ctrl-C can end it before it is done."""

import time
from typing import Any

import jax
import numpy as np

from logtrick._core.module import replace
from logtrick._core.tracing import TRACED_ERRORS, explain_tracing
from logtrick.programs import host_errors_surface
from logtrick.training._feed import HostBatches, on_host
from logtrick.training._interrupt import wait
from logtrick.training._mesh import copied, put_replicated
from logtrick.training._program import CAPACITY, Program, kinds
from logtrick.training._state import FitState, Records

PATIENCE = 1.0  # seconds between visits of the host where steps are slow
_SLOW = (
    0.05  # steps that together take more seconds than this can be interrupted before they are done
)
_MOST_CALLS = 64  # calls that wait for the device at a time
_KEPT_BYTES = 2**28  # a larger state is not copied before slow steps, and is lost if they fail


class Calls:
    """Takes steps, at most about a second of them at a time.

    Attributes:
      data: what batches are taken from.
      seconds: the wall time of the steps, compilation excluded.
      in_flight: whether compiled steps are running now.
      abortable: whether the state before these steps was copied, and is still there if they fail.
    """

    def __init__(self, program: Program, state: FitState, data: Any) -> None:
        self.program, self.mesh = program, program.task.mesh
        self._batches = data if isinstance(data, HostBatches) else None
        self._most = CAPACITY * _MOST_CALLS if self._batches is None else self._batches.most
        self.data = None if self._batches else data
        self.seconds = 0.0
        self.in_flight = self.abortable = False
        self._kinds = kinds((state, self.data))
        self._step_seconds = program.step_seconds.get(self._kinds)
        self._last_count = 0
        self._position = on_host(state.position)

    @property
    def compiled(self) -> bool:
        """Whether the program was compiled for these shapes; a call of no steps does it."""
        return self._kinds in self.program.step_seconds

    def resume(self, state: FitState) -> None:
        """Continue with the data at the position of a saved state."""
        self._position = on_host(state.position)

    def close(self) -> None:
        """End the thread that reads batches."""
        if self._batches is not None:
            self._batches.feed.close()

    def steps(self, most: int) -> int:
        """How many steps to take next, at most `most`; only one where it is not known how long a step takes."""
        if self._step_seconds is None:
            return 1
        wanted = max(1, int(PATIENCE / max(self._step_seconds, 1e-9)))
        grown = 10 * self._last_count or CAPACITY
        return min(most, self._most, wanted, grown)

    def take(self, state: FitState, count: int) -> tuple[FitState, list[Records], int]:
        """The state after `count` steps, the records of each call, and how many steps were skipped in a row at last."""
        expected = None if self._step_seconds is None else count * self._step_seconds
        slow = expected is None or expected > _SLOW or bool(self.program.boxes)
        size = sum(x.nbytes for x in jax.tree.leaves(state))
        self.abortable = slow and size <= _KEPT_BYTES
        given = copied(self.mesh, state) if self.abortable else state
        if self._batches is not None:
            self.data, after = self._batches.take(self._position, count)
        began = time.monotonic()
        self.in_flight = True
        try:
            with host_errors_surface([], boxes=self.program.boxes):
                state, rows, in_a_row = self._advance(given, count)
        except TRACED_ERRORS as error:
            explain_tracing(error, "objectives and optimizers are traced by JAX")
            raise
        finally:
            self.in_flight = False
        if self._batches is not None:
            self._position = after
            state = replace(state, position=put_replicated(self.mesh, jax.device_put(after)))
        elapsed = time.monotonic() - began
        if count:
            self.seconds += elapsed
            self._step_seconds = elapsed / count
            self._last_count = count
        self.program.step_seconds[self._kinds] = self._step_seconds
        return state, [part.columns() for part in rows], int(in_a_row)

    def _advance(self, state: FitState, count: int) -> tuple[FitState, Any, Any]:
        """Take `count` steps in as many calls as they need."""
        pieces = [CAPACITY] * (count // CAPACITY)
        if count % CAPACITY or not count:
            pieces.append(count % CAPACITY)
        found = []
        for piece in pieces:
            # The device gets the next call before it is done with this one, so that it never waits for the host.
            state, rows, in_a_row = self.program.advance(state, self.data, np.int32(piece))
            found.append(rows)
        if self.abortable:
            wait(in_a_row)
        return state, *jax.device_get((found, in_a_row))

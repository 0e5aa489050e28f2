"""The compiled calls of a fit: how many steps each takes, and whether Ctrl-C can get out of it."""

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
_SLOW = 0.05  # seconds of steps from which on they can be interrupted within
_MOST_CALLS = 64  # that wait for the device at a time
_KEPT_BYTES = 2**28  # of a state that is copied before slow steps, to have it when they fail


class Calls:
    """Takes steps, about a second of them at a time.

    Attributes:
      data: what batches are taken from.
      seconds: the wall time of the steps, compilation excluded.
      in_flight: whether compiled steps are running now.
      abortable: whether the state before these steps is still there.
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
        """Go on with the data where a saved state was."""
        self._position = on_host(state.position)

    def close(self) -> None:
        """End the thread that reads batches."""
        if self._batches is not None:
            self._batches.feed.close()

    def steps(self, most: int) -> int:
        """How many steps to take next, at most `most`: carefully where nothing is known of how long one takes."""
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
            position = put_replicated(self.mesh, jax.device_put(after))
            state, self._position = replace(state, position=position), after
        elapsed = time.monotonic() - began
        if count:
            self.seconds += elapsed
            self._step_seconds, self._last_count = elapsed / count, count
        self.program.step_seconds[self._kinds] = self._step_seconds
        return state, [part.columns() for part in rows], int(in_a_row)

    def _advance(self, state: FitState, count: int) -> tuple[FitState, Any, Any]:
        """One call, or several where there are more steps than one has."""
        pieces = [CAPACITY] * (count // CAPACITY)
        if count % CAPACITY or not count:
            pieces.append(count % CAPACITY)
        found = []
        for piece in pieces:
            # The next call is handed to the device before this one is done, which then never waits for the host.
            state, rows, in_a_row = self.program.advance(state, self.data, np.int32(piece))
            found.append(rows)
        if self.abortable:
            wait(in_a_row)
        return state, *jax.device_get((found, in_a_row))

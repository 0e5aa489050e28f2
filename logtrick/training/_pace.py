"""How many steps the next compiled calls take together."""

from collections.abc import Hashable

from logtrick.training._program import CAPACITY, Program

PATIENCE = 1.0  # seconds between visits of the host where steps are slow
_SLOW = 0.05  # seconds of calls from which on they can be interrupted within
_MOST_CALLS = 64  # that wait for the device at a time


class Pace:
    """About a second of steps at a time, found carefully where nothing is known of how long a step takes.

    Args:
      program: remembers how long a step took in earlier fits.
      kinds: the shapes of the fit.
      most: the most steps of a call.
    """

    def __init__(
        self, program: Program, kinds: Hashable, most: int = CAPACITY * _MOST_CALLS
    ) -> None:
        self._known, self._kinds, self._most = program.step_seconds, kinds, most
        self._last_count = 0
        self.step_seconds = self._known.get(kinds)

    @property
    def compiled(self) -> bool:
        """Whether the program was compiled for these shapes."""
        return self._kinds in self._known

    def steps(self, most: int) -> int:
        """The steps to take next, at most `most`."""
        if self.step_seconds is None:
            return 1
        wanted = max(1, int(PATIENCE / max(self.step_seconds, 1e-9)))
        grown = 10 * self._last_count or CAPACITY
        return min(most, self._most, wanted, grown)

    def is_slow(self, count: int) -> bool:
        """Whether so many steps may take long enough for somebody to press Ctrl-C."""
        return self.step_seconds is None or count * self.step_seconds > _SLOW

    def seen(self, seconds: float, count: int) -> None:
        """Take in how long `count` steps took; a call of none compiles."""
        if count:
            self.step_seconds, self._last_count = seconds / count, count
        self._known[self._kinds] = self.step_seconds

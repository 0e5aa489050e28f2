"""The progress of a comparison, in lines on standard error. Output that fails never ends the comparison."""

import contextlib
import statistics
import sys
import time

from logtrick._core.memory import amount
from logtrick.diagnostics._replicates import Probe


class Announcer:
    """Says which objective is being measured.

    Args:
      where: the public function, which the lines begin with.
      total: how many objectives there are.
      speaks: whether anything is said.
    """

    def __init__(self, where: str, total: int, speaks: bool) -> None:
        self._where, self._total, self._speaks = where, total, speaks
        self._index = 0
        self._rates: list[float] = []  # seconds per evaluation of f
        self._began = time.monotonic()

    def begin(self, name: str, probe: Probe | None, count: int, refused: bool) -> None:
        """Say that the next objective is measured, by `count` gradients, or refused; `probe` is None where it does not trace."""
        self._index += 1
        line = f"{self._index} of {self._total}, {name}"
        if probe is not None:
            line += f" ({self._cost(probe, count)})"
        self.say(f"{line}, refused" if refused else line)

    def _cost(self, probe: Probe, count: int) -> str:
        """What one gradient costs, and the time of `count` where it is long enough to be worth a word."""
        cost = f"largest array {amount(probe.bytes)}"
        if probe.evaluations is None:
            return cost
        cost = f"{probe.evaluations:,} evaluations of f per gradient, {cost}"
        rate = statistics.median(self._rates) if self._rates else 0.0
        guess = rate * probe.evaluations * count
        return f"{cost}, about {guess:.0f} s at the rate of those before" if guess >= 1 else cost

    def end(self, probe: Probe, seconds: float | None) -> None:
        """Take note that one gradient took `seconds`, without compilation; None where that is not known."""
        if probe.evaluations and seconds is not None:
            self._rates.append(seconds / probe.evaluations)

    def say(self, text: str) -> None:
        """Write one line, with the seconds since the beginning."""
        if not self._speaks:
            return
        line = f"{self._where}: {time.monotonic() - self._began:.1f} s, {text}\n"
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, missing
            sys.stderr.write(line)
            sys.stderr.flush()

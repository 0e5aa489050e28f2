"""Lines on standard error about a comparison on its way. Output that fails never ends the comparison."""

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

    def begin(self, name: str, probe: Probe, count: int, refused: bool) -> None:
        """The next objective is being measured, `count` gradients of it, or refused."""
        self._index += 1
        cost = f"largest array {amount(probe.bytes)}"
        if probe.evaluations is not None:
            cost = f"{probe.evaluations:,} evaluations of f per gradient, {cost}"
            rate = statistics.median(self._rates) if self._rates else 0.0
            guess = rate * probe.evaluations * count
            if guess >= 1:  # less is not worth a word
                cost += f", about {guess:.0f} s at the rate of those before"
        word = ", refused" if refused else ""
        self.say(f"{self._index} of {self._total}, {name} ({cost}){word}")

    def end(self, probe: Probe, seconds: float | None) -> None:
        """One gradient of it took `seconds`, without compilation; None where that is not known."""
        if probe.evaluations and seconds is not None:
            self._rates.append(seconds / probe.evaluations)

    def say(self, text: str) -> None:
        """One line, with the seconds since the beginning."""
        if not self._speaks:
            return
        line = f"{self._where}: {time.monotonic() - self._began:.1f} s, {text}\n"
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, full, missing
            sys.stderr.write(line)
            sys.stderr.flush()

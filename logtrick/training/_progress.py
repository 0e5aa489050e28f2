"""Progress over a job: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any, TextIO

_WIDTH, _LINES = 24, 10


class ProgressBar:
    """Progress of one fit, or of a job of several: steps, the first and the last objective, the time left.

    On a terminal one line that is redrawn; elsewhere at most ten plain lines and a last one, so that logs stay short.

    Args:
      total: the steps of the whole job, where it is more than one fit; None takes those of the fit.
      label: what the line begins with.
      file: where to write; standard error unless said otherwise.
    Example:
      >>> import sys, logtrick as lt
      >>> bar = lt.training.ProgressBar(label="fit", file=sys.stdout)
      >>> bar.start(200)
      >>> bar.update(200, first=3.0, last=0.25, skipped=0)
      fit: 200/200 steps, objective 3 → 0.25, 0 s
    """

    def __init__(
        self, total: int | None = None, label: str = "", file: TextIO | None = None
    ) -> None:
        self.total, self.label, self.file = total, label, file
        self._before = self._now = self._lines = 0
        self._began: float | None = None

    def start(self, num_steps: int) -> None:
        """A fit of `num_steps` begins."""
        if self._began is None:
            self._began = time.monotonic()
        self._before = self._now
        self._job = self.total or self._before + num_steps

    def update(self, step: int, first: float, last: float, skipped: int) -> None:
        """The fit is at `step`.

        Args:
          step: steps of this fit.
          first: the objective at its first step.
          last: the objective now.
          skipped: its steps that were skipped.
        """
        self._now = self._before + step
        out = self.file or sys.stderr
        if out.isatty():
            filled = _WIDTH * self._now // self._job
            bar = "█" * filled + "·" * (_WIDTH - filled)
            end = "\n" if self._now >= self._job else ""
            out.write(f"\r\x1b[2K{bar} {self._line(first, last, skipped)}{end}")
        elif self._now * _LINES // self._job > self._lines:
            self._lines = self._now * _LINES // self._job
            out.write(self._line(first, last, skipped) + "\n")
        out.flush()

    def _line(self, first: float, last: float, skipped: int) -> str:
        assert self._began is not None
        elapsed = time.monotonic() - self._began
        parts = [f"{self._now}/{self._job} steps", f"objective {first:.6g} → {last:.6g}"]
        if skipped:
            parts.append(f"{skipped} skipped")
        left = elapsed * (self._job - self._now) / max(self._now, 1)
        parts.append(f"{elapsed:.0f} s" + (f", {left:.0f} s left" if self._now < self._job else ""))
        return (self.label + ": " if self.label else "") + ", ".join(parts)

    def close(self) -> None:
        """The fit is over, whatever the reason."""
        out = self.file or sys.stderr
        if out.isatty() and self._now < self._job and self.total is None:
            out.write("\n")
            out.flush()


class TqdmBar:
    """The same by tqdm, for notebooks and for those who have it (the `progress` extra).

    Args:
      options: handed to `tqdm.auto.tqdm`.
    Raises:
      ImportError: tqdm is not installed.
    Example:
      >>> import logtrick as lt
      >>> fit = lambda: lt.minimize(..., progress=lt.training.TqdmBar(desc="fit"))     # doctest: +SKIP
    """

    def __init__(self, **options: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                "TqdmBar needs tqdm. Run pip install 'logtrick[progress]', or pass progress=True."
            ) from error
        self._make, self._options = tqdm, options

    def start(self, num_steps: int) -> None:
        """A fit of `num_steps` begins."""
        self._bar = self._make(**{"total": num_steps, **self._options})

    def update(self, step: int, first: float, last: float, skipped: int) -> None:
        """The fit is at `step`; see `ProgressBar.update`."""
        self._bar.set_postfix_str(
            f"objective {first:.6g} → {last:.6g}" + (f", {skipped} skipped" if skipped else "")
        )
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """The fit is over, whatever the reason."""
        self._bar.close()

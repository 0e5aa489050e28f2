"""Progress of a fit: a bar on a terminal, plain lines elsewhere, tqdm where it is installed."""

import contextlib
import sys
import threading
import time
from typing import Any, TextIO

from logtrick.training._history import finite_mean
from logtrick.training._listener import Listener
from logtrick.training._output import is_terminal, write

_WIDTH, _LINES = 24, 10
_SOON = 0.7  # seconds after which something is shown, before the first step is done


class ProgressBar(Listener):
    """Show the progress of one fit, or of a job of several fits: steps, the objective, the time left.

    The objective is shown at the first step and as the mean over the steps since the last line. On a terminal the bar is one
    line that is redrawn; elsewhere it is at most ten plain lines, so that logs stay short. The time left does not include
    compilation. Output that fails (a closed pipe, a full disk) ends the bar, never the fit.

    Args:
      total: the steps of the whole job, where it is more than one fit; None takes those of the fit.
      label: what the line begins with.
      file: where to write; None is standard error.
    Example:
      >>> import jax, optax, sys, logtrick as lt
      >>> bar = lt.training.ProgressBar(label="fit", file=sys.stdout)
      >>> fit = lambda **options: lt.minimize(
      ...     jax.random.key(0), lambda p, key: (p - 3.0) ** 2, 0.0, optax.sgd(0.25), num_steps=4, chunk=2, **options)
      >>> compiled = fit()                  # a fit that compiles for more than a second says so first
      >>> result = fit(progress=bar)
      fit: 2/4 steps, objective 9 → 5.625, ... s, ... s left
      fit: 4/4 steps, objective 9 → 0.351562, ... s
    """

    first_process_only = True

    def __init__(
        self, total: int | None = None, label: str = "", file: TextIO | None = None
    ) -> None:
        self.total, self.label, self.file = total, label, file
        self._now = self._lines = 0

    def start(self, run: Any) -> None:
        if self.total is None:
            self._now = self._lines = 0  # the bar may have shown another fit
        self._before = self._now
        self._shown = run.first_step
        self._now = self._before + run.first_step
        self._job = self.total or self._before + run.num_steps
        self._began = time.monotonic()
        self._works = True
        self._timer = threading.Timer(_SOON, self._early)
        self._timer.daemon = True
        self._timer.start()

    def _early(self) -> None:
        """Say what is going on while the first steps compile or run."""
        self._draw(
            f"{self._prefix()}{self._now}/{self._job} steps, compiling or in the first steps"
        )

    def after_chunk(self, run: Any) -> None:
        self._timer.cancel()
        if run.step == self._shown:
            return
        self._now = self._before + run.step
        line = self._line(run)
        if self._redraws():
            filled = _WIDTH * self._now // self._job
            bar = "█" * filled + "·" * (_WIDTH - filled)
            self._draw(f"{bar} {line}", last=self._now >= self._job)
        elif self._now * _LINES // self._job > self._lines:
            self._lines = self._now * _LINES // self._job
            self._draw(line)
        self._shown = run.step

    def _redraws(self) -> bool:
        return is_terminal(self.file or sys.stderr)

    def _draw(self, text: str, last: bool = False) -> None:
        line = text + "\n"
        if self._redraws():
            line = "\r\x1b[2K" + (line if last else text)
        if self._works:
            self._works = write(self.file or sys.stderr, line)

    def _prefix(self) -> str:
        return self.label + ": " if self.label else ""

    def _line(self, run: Any) -> str:
        line = f"{self._prefix()}{self._now}/{self._job} steps, {_objective(run, self._shown)}"
        line += f", {time.monotonic() - self._began:.0f} s"
        if self._now < self._job:
            left = run.seconds * (self._job - self._now) / max(run.step - run.first_step, 1)
            line += f", {left:.0f} s left"
        return line

    def close(self, run: Any, error: BaseException | None) -> None:
        self._timer.cancel()
        if self._redraws() and self._now < self._job and self.total is None:
            write(self.file or sys.stderr, "\n")


class TqdmBar(Listener):
    """Show the progress of a fit by tqdm, which also works in notebooks (the `progress` extra).

    Args:
      options: handed to `tqdm.auto.tqdm`.
    Raises:
      ImportError: tqdm is not installed.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> objective, bar = lambda p, key: (p - 3.0) ** 2, lt.training.TqdmBar(desc="fit")          # doctest: +SKIP
      >>> lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.1), num_steps=50, progress=bar)   # doctest: +SKIP
      fit: 100%|████████████████████████████| 50/50 [00:00<00:00, 118.97it/s, objective 9 → 0.5]
    """

    first_process_only = True

    def __init__(self, **options: Any) -> None:
        try:
            from tqdm.auto import tqdm
        except ImportError as error:
            raise ImportError(
                "TqdmBar needs tqdm. Run pip install 'logtrick[progress]', or pass progress=True."
            ) from error
        self._make, self._options, self._bar = tqdm, options, None

    def start(self, run: Any) -> None:
        self._shown = run.first_step
        options = {"total": run.num_steps, "initial": run.first_step, **self._options}
        self._bar = self._safely(self._make, **options)

    def after_chunk(self, run: Any) -> None:
        if self._bar is None or run.step == self._shown:
            return
        text = _objective(run, self._shown)
        self._safely(self._bar.set_postfix_str, text, refresh=False)
        self._safely(self._bar.update, run.step - self._shown)
        self._shown = run.step

    def close(self, run: Any, error: BaseException | None) -> None:
        if self._bar is not None:
            self._safely(self._bar.close)

    def _safely(self, call: Any, *args: Any, **options: Any) -> Any:
        """Output that fails ends the bar, never the fit."""
        try:
            return call(*args, **options)
        except (OSError, ValueError, AttributeError, UnicodeError):
            self._bar = None
            return None


def progress_listener(where: str, progress: Any) -> Listener | None:
    """The bar that `progress=` stands for."""
    if progress is False or progress is None:
        return None
    if progress is True:
        return _default_bar()
    if not isinstance(progress, Listener):
        raise TypeError(
            f"{where}(progress=…) needs True, False or a bar of lt.training; got {type(progress).__name__} {progress!r}. "
            "Pass progress=True."
        )
    return progress


def _default_bar() -> Listener:
    """`TqdmBar` on a terminal and in a notebook, where tqdm is installed; else `ProgressBar`."""
    if is_terminal(sys.stderr) or "ipykernel" in sys.modules:
        with contextlib.suppress(ImportError):
            return TqdmBar()
    return ProgressBar()


def _objective(run: Any, since: int) -> str:
    """The objective at the first step and its mean over the steps from `since` on, and the number of skipped steps."""
    values = run.history.value
    text = f"objective {values[0]:.6g} → {finite_mean(values[since:]):.6g}"
    skipped = int(run.state.skipped)
    return f"{text}, {skipped} skipped" if skipped else text

"""One progress bar over the whole job; plain lines where there is no terminal."""

import shutil
import time
from typing import Any, TextIO

import logtrick as lt

_WIDTH = 16


class Progress(lt.training.Listener):
    """How much of a job of several stages is done: redrawn in place on a terminal, else a line a third of a stage.

    It is a listener of the fits, each of which is a stage.

    Args:
      stages: the stages' names with their shares of the whole, in order.
      stream: where it is written; None writes nothing, and a stream that fails is not written to again.
    """

    def __init__(self, stages: dict[str, float], stream: TextIO | None) -> None:
        total = sum(stages.values())
        self._shares = {name: share / total for name, share in stages.items()}
        self._stream = None if stream is None or stream.closed else stream
        self._terminal = self._stream is not None and self._stream.isatty()
        self._stage, self._before, self._lines = "", 0.0, 0
        self._began = time.monotonic()

    def begin(self, stage: str) -> None:
        """Enter a stage; those before it are done."""
        self._before += self._shares.get(self._stage, 0.0)
        self._stage, self._lines = stage, 0
        self.reach(0.0)

    def reach(self, fraction: float, text: str = "") -> None:
        """The stage at hand is done to `fraction`."""
        done = self._before + fraction * self._shares[self._stage]
        what = f"{self._stage}, {text}" if text else self._stage
        line = f"{100 * done:3.0f} %  {time.monotonic() - self._began:4.1f} s  {what}"
        if self._terminal:
            full = round(_WIDTH * done)
            bar = f"{'█' * full}{'·' * (_WIDTH - full)} {line}"
            self._write("\r\x1b[2K" + bar[: shutil.get_terminal_size().columns - 1])
        elif 3 * fraction >= self._lines:
            self._lines = int(3 * fraction) + 1
            self._write(line + "\n")

    def after_chunk(self, run: Any) -> None:
        """The fit of this stage has taken some steps."""
        text = f"step {run.step:,}, ELBO {run.history.value[-1]:.1f}"
        self.reach(run.step / run.num_steps, text)

    def end(self) -> None:
        """The job is over, for whatever reason: leave the line."""
        if self._terminal:
            self._write("\r\x1b[2K")

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # a closed pipe, a full disk, a closed file, letters it lacks
            self._stream = None

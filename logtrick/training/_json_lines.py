"""A fit's metrics as JSON, one line a visit."""

import json
import math
import pathlib
from typing import Any

import numpy as np

from logtrick._core.calls import described
from logtrick.training._listener import Listener


class JSONLines(Listener):
    """Append the means since the last line to a file, as one JSON object a line.

    Keys: "step", "seconds", "value", "gradient_norm", "update_norm", "skipped" and "clipped" (counts), and those of
    `history.metrics`; a metric of one of these names is written as "metrics/value" and so on. A fit that is resumed goes
    on in the same file, lines beyond its checkpoint removed. What cannot be
    written ends the fit with an `OSError` that carries `.result`.

    Args:
      path: the file; made anew by a fit that starts from step 0.
      every: write at multiples of this number of steps; None: at the fit's own `chunk`.
    Example:
      >>> import jax, json, optax, pathlib, tempfile, logtrick as lt
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.jsonl"
      >>> writer = lt.training.JSONLines(path, every=2)
      >>> objective = lambda p, key: (p - 3.0) ** 2
      >>> fit = lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.25), num_steps=4, listeners=(writer,))
      >>> [(line["step"], round(line["value"], 3)) for line in map(json.loads, path.read_text().splitlines())]
      [(2, 5.625), (4, 0.352)]
    """

    first_process_only = True

    def __init__(self, path: str | pathlib.Path, every: int | None = None) -> None:
        if not isinstance(path, str | pathlib.PurePath):
            raise TypeError(
                f'lt.training.JSONLines(path=…) needs the path of a file; got {described(path)}. Pass "history.jsonl", say.'
            )
        self.path, self.every = pathlib.Path(path), every

    def start(self, run: Any) -> None:
        """See `Listener.start`."""
        kept = []
        if run.step and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step(line) <= run.step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._written = run.step

    def after_chunk(self, run: Any) -> None:
        """See `Listener.after_chunk`."""
        due = run.step % (self.every or run.chunk) == 0 or run.step == run.num_steps
        if due and run.step > self._written:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self._line(run)) + "\n")
            self._written = run.step

    def _line(self, run: Any) -> dict[str, Any]:
        history, since = run.history, slice(self._written, run.step)
        line = {
            "step": run.step,
            "seconds": round(run.seconds, 3),
            "value": _mean(history.value[since]),
            "gradient_norm": _mean(history.gradient_norm[since]),
            "update_norm": _mean(history.update_norm[since]),
            "skipped": int(np.sum(history.skipped[since])),
            "clipped": int(np.sum(history.clipped[since])),
        }
        metrics = {name: _mean(column[since]) for name, column in history.metrics.items()}
        return line | {f"metrics/{k}" if k in line else k: x for k, x in metrics.items()}


def _mean(values: Any) -> float | None:
    """The mean, or None where it is no number of JSON's."""
    mean = float(np.mean(np.asarray(values, np.float64)))
    return mean if math.isfinite(mean) else None


def _step(line: str) -> float:
    """A line's step; infinity for one that was cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf

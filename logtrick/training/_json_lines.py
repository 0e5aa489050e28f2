"""A fit's metrics in a file of JSON lines."""

import json
import math
import pathlib
from typing import Any

from logtrick._core.calls import described
from logtrick.training._metrics_writer import MetricsWriter


class JSONLines(MetricsWriter):
    """Append the means over the steps since the last line to a file, as one JSON object per line.

    The keys are those of `MetricsWriter`; a number that is not finite is null. A fit that is resumed goes on in the same
    file, from which lines beyond its checkpoint are removed. A line that cannot be written ends the fit with an `OSError`
    that carries `.result`.

    Args:
      path: the file; a fit that starts from step 0 overwrites it.
      every: write at multiples of this number of steps; None is the fit's own `chunk`.
    Example:
      >>> import jax, json, optax, pathlib, tempfile, logtrick as lt
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.jsonl"
      >>> writer = lt.training.JSONLines(path, every=2)
      >>> objective = lambda p, key: (p - 3.0) ** 2
      >>> fit = lt.minimize(jax.random.key(0), objective, 0.0, optax.sgd(0.25), num_steps=4, listeners=(writer,))
      >>> [(line["step"], round(line["value"], 3)) for line in map(json.loads, path.read_text().splitlines())]
      [(2, 5.625), (4, 0.352)]
    """

    def __init__(self, path: str | pathlib.Path, every: int | None = None) -> None:
        if not isinstance(path, str | pathlib.PurePath):
            raise TypeError(
                f'lt.training.JSONLines(path=…) needs the path of a file; got {described(path)}. Pass "history.jsonl", say.'
            )
        super().__init__(self._append, every)
        self.path = pathlib.Path(path)

    def start(self, run: Any) -> None:
        super().start(run)
        kept = []
        if run.step and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step(line) <= run.step]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _append(self, line: dict[str, Any]) -> None:
        numbers = {name: x if math.isfinite(x) else None for name, x in line.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(numbers) + "\n")


def _step(line: str) -> float:
    """The step of a line; infinity for a line that was cut off."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf

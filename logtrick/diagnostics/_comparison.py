"""The outcome of a comparison of estimators: a table in several formats, slopes, and figures."""

import json
import math
import os
import pathlib
from typing import Any

import jax
import numpy as np

from logtrick._core.module import Module, static
from logtrick.diagnostics import _plot
from logtrick.diagnostics._measurement import Measurement
from logtrick.diagnostics._tables import (
    csv_table,
    html_table,
    markdown_table,
    number,
    text_table,
)

_HEAD = [
    "estimator",
    "bias z",
    "variance",
    "interval",
    "signal/noise",
    "f evaluations",
    "seconds",
    "compile s",
    "variance × evaluations",
    "variance × seconds",
]

# The word after z, by verdict.
_SAID = {"biased": " BIASED", "unclear": ", unclear", "no bias seen": ""}


class Comparison(Module):
    """The outcome of `lt.compare_estimators`: prints as a table, in a notebook as HTML.

    Attributes:
      measurements: a `Measurement` per objective (and number of samples), in the order they were given.
      num_replicates: gradients per objective.
      reference: what the biases are measured against, in words; "none" without a reference.
      interrupted: whether Ctrl-C ended the comparison; objectives that were not measured are missing.
      reference_value: the value of the objective that the reference is the gradient of; None where it is not known.
    """

    measurements: tuple[Measurement, ...]
    num_replicates: int = static()
    reference: str = static(default="none")
    interrupted: bool = static(default=False)
    reference_value: float | None = static(default=None)

    def __getitem__(self, name: str) -> Measurement:
        """The measurement of that name."""
        for measurement in self.measurements:
            if measurement.name == name:
                return measurement
        names = ", ".join(measurement.name for measurement in self.measurements)
        raise KeyError(f"no measurement is called {name!r}; there are: {names}")

    def __repr__(self) -> str:
        table = text_table(_HEAD, [_cells(m) for m in self.measurements])
        return "\n".join([table, *self.notes])

    def _repr_html_(self) -> str:
        rows = [_cells(m) for m in self.measurements]
        return html_table(_HEAD, rows, foot="\n".join(self.notes))

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what the table alone would not say: heavy tails, zero gradients, hints, an interruption."""
        lines = []
        for m in self.measurements:
            lines += [f"{m.name}: {note}" for note in _notes(m, self.reference_value)]
        named: dict[str, list[str]] = {}
        for m in self.measurements:
            for hint in m.hints:
                named.setdefault(hint, []).append(m.name)
        lines += [f"{', '.join(names)}: {hint}" for hint, names in named.items()]
        if self.interrupted:
            lines.append("Interrupted: the objectives that are missing were not measured.")
        return tuple(lines)

    @property
    def slopes(self) -> dict[str, float]:
        """By objective, the slope of log variance over log num_samples, by least squares, where that was swept."""
        points: dict[str, list[tuple[float, float]]] = {}
        for m in self.measurements:
            if m.num_samples is None or m.constant or not m.variance:
                continue
            if math.isfinite(m.variance):
                point = (math.log(m.num_samples), math.log(m.variance))
                points.setdefault(m.base_name, []).append(point)
        swept = {name: np.array(pairs) for name, pairs in points.items()}
        return {name: _slope(pairs) for name, pairs in swept.items() if np.ptp(pairs[:, 0]) > 0}

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """By name, in what JSON can hold: the table's numbers (None for what is not known, or not finite) and the error."""
        return {m.name: m.to_dict() for m in self.measurements}

    def to_json(self, file: str | os.PathLike[str] | None = None) -> str:
        """The whole outcome as JSON text, also written to `file` where one is given."""
        told = {
            "num_replicates": self.num_replicates,
            "reference": self.reference,
            "interrupted": self.interrupted,
            "slopes": self.slopes,
            "estimators": self.to_dict(),
        }
        return _written(json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False), file)

    def to_markdown(self, file: str | os.PathLike[str] | None = None) -> str:
        """The table as Markdown, also written to `file` where one is given."""
        return _written(markdown_table(_HEAD, [_cells(m) for m in self.measurements]), file)

    def to_csv(self, file: str | os.PathLike[str] | None = None) -> str:
        """The numbers of `to_dict` as comma-separated values, also written to `file` where one is given."""
        told = self.to_dict()
        columns = list(next(iter(told.values()), {}))
        rows = [
            [name, *(", ".join(v) if isinstance(v, list) else v for v in row.values())]
            for name, row in told.items()
        ]
        return _written(csv_table(["estimator", *columns], rows), file)

    def plot(self, kind: str = "cost", ax: Any = None) -> Any:
        """A figure fit for a paper.

        Args:
          kind: "cost": variance × evaluations and × seconds, a dot per estimator; "samples": variance against num_samples,
            which must have been swept; "pareto": variance against the cost of one gradient, with the front that no other
            estimator beats; "coordinates": the variance of each coordinate.
          ax: matplotlib axes to draw into; None makes a figure.
        Returns:
          The `matplotlib.figure.Figure`.
        Raises:
          ImportError: matplotlib is not installed (the `plot` extra).
          ValueError: another kind, or "samples" where nothing was swept.
        """
        return _plot.figure(self, kind, ax)


def _notes(m: Measurement, reference_value: float | None) -> list[str]:
    """What one row alone would not say."""
    found = m.statistics
    if found is None:
        return []
    count = f"{found.num_replicates:,} gradients"
    notes = []
    if found.heavy_tails:
        notes.append(
            f"heavy tails. One of {count} makes {found.largest_share:.0%} of the variance: it may be much larger, and of its "
            "interval only the lower end holds."
        )
    if m.zero and found.sampled:
        notes.append(
            f"each of {count} is exactly 0. Is what the gradient depends on too rare to be seen in so many, or is the path "
            "to the parameters cut, by a stop_gradient or a step function?"
        )
    elif m.zero:
        notes.append(
            "every gradient is exactly 0. Is the path to the parameters cut, by a stop_gradient or a step function?"
        )
    elif found.unseen:
        size = sum(np.size(mean) for mean in jax.tree.leaves(found.mean))
        notes.append(
            f"{found.unseen:,} of {size:,} coordinates vanish, or do not vary, in all of {count}, away from the reference. "
            "They are cut off, or depend on outcomes too rare to be seen in so many: whether they are biased is not known."
        )
    if m.verdict == "biased" and reference_value is not None:
        off = abs(found.value - reference_value)
        if off > 5 * found.value_error and off > 1e-3 * abs(reference_value):
            notes.append(
                f"its value is {number(found.value)}, the reference's {number(reference_value)}. Is it the expectation of "
                "something else?"
            )
    return notes


def _slope(points: np.ndarray) -> float:
    """The slope of the line through points, shape (n, 2), by least squares."""
    x, y = (points - points.mean(0)).T
    return float(x @ y / (x @ x))


def _written(text: str, file: str | os.PathLike[str] | None) -> str:
    """`text`, also written to `file` where one is given."""
    if file is not None:
        ended = text if text.endswith("\n") else f"{text}\n"
        pathlib.Path(file).write_text(ended, encoding="utf-8")
    return text


def _cells(m: Measurement) -> list[str]:
    if m.statistics is None:
        return [m.name, f"refused: {m.error}"]
    low, high = m.statistics.total_interval
    interval, ratio = f"{number(low)} … {number(high)}", number(m.signal_to_noise)
    if m.statistics.heavy_tails:
        interval = f"≥ {number(low)}"
    variances = [m.variance, m.variance_x_evaluations, m.variance_x_seconds]
    if m.constant:  # what is left of the variance is rounding
        variances = [None if x is None else 0.0 for x in variances]
        interval = ratio = "–"
    variance, by_evaluations, by_seconds = map(number, variances)
    evaluations = "–" if m.evaluations is None else f"{m.evaluations:,}"
    seconds = [number(m.seconds), number(m.compile_seconds)]
    costs = [evaluations, *seconds, by_evaluations, by_seconds]
    return [m.name, _bias(m), variance, interval, ratio, *costs]


def _bias(m: Measurement) -> str:
    words = m.verdict
    if words in _SAID:
        words = f"{m.bias_z:.2f}{_SAID[words]}"
    return f"{words}, declared biased" if m.biased else words

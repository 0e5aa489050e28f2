"""Figures of races (the `plot` extra)."""

from collections.abc import Sequence
from typing import Any


def figure(racers: Sequence[Any]) -> Any:
    """Horizontal bars on logarithmic axes: the variance, and what a given accuracy costs in evaluations and in time."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Comparison.plot() needs matplotlib. Run pip install 'logtrick[plot]'."
        ) from error
    panels = [
        ("variance of one gradient", lambda r: r.variance),
        ("variance × evaluations of f", lambda r: r.variance_x_evaluations),
        ("variance × seconds", lambda r: r.variance_x_seconds),
    ]
    names = [r.name for r in racers]
    result = Figure(figsize=(4.2 * len(panels), 0.8 + 0.45 * len(racers)), layout="constrained")
    axes = result.subplots(1, len(panels), sharey=True)
    for axis, (title, measure) in zip(axes, panels):
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log")
        for row, racer in enumerate(racers):
            _bar(axis, row, racer, measure(racer))
        if not any(_shown(racer, measure(racer)) for racer in racers):
            axis.set_xlim(0.1, 10)  # nothing to scale by
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    return result


def _shown(racer: Any, value: float | None) -> bool:
    return value is not None and value > 0 and not racer.exact


def _bar(axis: Any, row: int, racer: Any, value: float | None) -> None:
    """A bar, or the word that stands for it."""
    if _shown(racer, value):
        axis.barh(row, value, color="#4878a8")
        axis.annotate(f" {value:.3g}", (value, row), va="center", fontsize=8)
        return
    word = (
        "refused"
        if racer.error is not None
        else "exact"
        if racer.exact
        else "–"
        if value is None
        else f"{value:.3g}"
    )
    axis.annotate(
        f" {word}",
        (0, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=8,
        color="#666666",
    )

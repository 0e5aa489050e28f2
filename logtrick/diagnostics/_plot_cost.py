"""Variance × cost: a dot and a stem per estimator."""

import math
from typing import Any

from logtrick.diagnostics._plot_marks import GRID, INK, PALE, color_of, cost_of, dot, tail
from logtrick.diagnostics._tables import number


def draw_cost(axes: Any, comparison: Any, measured: list[Any], by_seconds: bool = False) -> None:
    cost = cost_of(by_seconds)
    unit = "seconds" if by_seconds else "evaluations of f"
    rows = list(comparison.measurements)
    shown = [s for m in measured for s in _span(m, cost(m))]
    low, high = (min(shown), max(shown)) if shown else (1.0, 10.0)
    decades = max(math.log10(high / low), 0.5)
    left = low / 10 ** (0.12 * decades)
    axes.set(
        xscale="log",
        xlim=(left, high * 10 ** (_room(measured) * decades)),  # room for the numbers
        ylim=(0.4, len(rows) + 0.6),
        xlabel=f"variance × {unit}",
    )
    axes.set_title(f"Cost of a given accuracy in {unit}")
    axes.set_yticks(range(len(rows), 0, -1), [m.name for m in rows])
    axes.tick_params(axis="y", length=0, pad=6)
    axes.grid(axis="x", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    for i, m in enumerate(rows):
        _stem(axes, m, cost(m), len(rows) - i, left, color_of(comparison, m.base_name))


def _room(measured: list[Any]) -> float:
    """The share of the axis that the longest word beside a dot takes."""
    return 0.24 + 0.03 * max((len(tail(m)) for m in measured), default=0)


def _span(m: Any, cost: float | None) -> list[float]:
    """What the axis must show of a measurement: its dot and the ends of its interval, times the cost."""
    if cost is None or m.constant or not math.isfinite(m.variance):
        return []
    return [v * cost for v in (m.variance, *m.variance_interval) if v > 0 and math.isfinite(v)]


def _stem(axes: Any, m: Any, cost: float | None, y: int, left: float, color: str) -> None:
    span = _span(m, cost)
    if not span:
        axes.plot(left, y, "D", color=PALE, ms=6, clip_on=False)
        axes.text(left, y, f"   {_word(m)}", va="center", color=INK)
        return
    axes.plot([left, span[0]], [y, y], color=color, lw=1.2, alpha=0.35, solid_capstyle="butt")
    axes.plot([min(span), max(span)], [y, y], color=color, lw=4, alpha=0.4, solid_capstyle="butt")
    dot(axes, span[0], y, m, color)
    axes.annotate(
        f"{number(span[0])}{tail(m)}",
        (max(span), y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=INK,
        fontsize=8,
    )


def _word(m: Any) -> str:
    if m.statistics is None:
        return "refused"
    if m.zero:
        return "every gradient is 0"
    if m.constant or m.variance == 0:
        count = "" if m.evaluations is None else f", {m.evaluations:,} evaluations"
        return f"variance 0{count}"
    return "cost not known" if math.isfinite(m.variance) else "not finite"

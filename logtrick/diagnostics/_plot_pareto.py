"""Variance against the cost of one gradient, and the front that no other estimator beats."""

import math
from typing import Any

from logtrick.diagnostics._plot_marks import (
    GRID,
    INK,
    PALE,
    WIDTH_OF_A_LETTER,
    biased,
    color_of,
    cost_of,
    decades_of,
    dot,
    extent,
    legend_above,
)


def draw_pareto(axes: Any, comparison: Any, measured: list[Any]) -> None:
    by_seconds = all(m.evaluations is None for m in measured)
    cost = cost_of(by_seconds)
    known = [m for m in measured if cost(m) and math.isfinite(m.variance)]
    points = [(float(cost(m) or 0.0), float(m.variance), m) for m in known]
    moving = [v for _, v, m in points if not m.constant and v > 0]
    floor = min(moving, default=1.0) / 10 ** (0.25 * decades_of(moving))
    drawn = [(c, v if v in moving else floor, m) for c, v, m in points if not m.zero]
    costs = [c for c, _, _ in drawn]
    axes.set(xscale="log", yscale="log", ylabel="variance of one gradient")
    axes.set_xlabel("seconds per gradient" if by_seconds else "evaluations of f per gradient")
    axes.set_title("Variance against cost")
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    _margins(axes, costs, [v for _, v, _ in drawn])
    if not by_seconds and len(set(costs)) <= 8:
        axes.set_xticks(sorted(set(costs)), [f"{c:,.0f}" for c in sorted(set(costs))])
        axes.minorticks_off()
    front = _front([point for point in drawn if not biased(point[2])])
    if len(front) > 1:
        x, y = zip(*[(c, v) for c, v, _ in front])
        axes.step(x, y, where="post", color=PALE, lw=1.2, ls="--", zorder=1)
    best = {m.name for _, _, m in front}
    for c, v, m in drawn:
        color = color_of(comparison, m.base_name)
        dot(axes, c, v, m, color, "D" if v == floor else "o")
    swept = any(m.num_samples for m in measured)
    if swept:  # a color for each name, and the number of samples beside each dot
        for name in dict.fromkeys(m.base_name for _, _, m in drawn):
            axes.plot([], [], "o", color=color_of(comparison, name), label=name)
        legend_above(axes, [m.base_name for _, _, m in drawn])
    _labels(axes, drawn, best, floor, swept)


def _labels(
    axes: Any, points: list[tuple[float, float, Any]], best: set[str], floor: float, swept: bool
) -> None:
    """Names beside the dots, to the left where the axes end, moved up where they would touch."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    letter = WIDTH_OF_A_LETTER / extent(axes)[0]
    taken: list[tuple[float, float, float]] = []  # left end, right end, height, in axes' fractions
    for x, y, m in sorted(points, key=lambda p: p[1]):
        label = f"n = {m.num_samples}" if swept else m.name
        if y == floor:
            label += " (variance 0)"
        elif biased(m) and not swept:
            label += " (biased)"
        at = math.log(x / left) / math.log(right / left)
        height = math.log(y / low) / math.log(high / low)
        width = letter * len(label)
        beyond = at + width > 0.97 and at > 0.5
        span = (at - width, at) if beyond else (at, at + width)
        while any(abs(height - h) < 0.05 and span[0] < b and a < span[1] for a, b, h in taken):
            height += 0.01
        taken.append((*span, height))
        axes.annotate(
            label,
            (x, low * (high / low) ** height),
            xytext=(-6 if beyond else 6, 6),  # above the line of the front
            textcoords="offset points",
            ha="right" if beyond else "left",
            va="center",
            fontsize=8,
            color=INK if m.name in best else PALE,
            fontweight="bold" if m.name in best else "normal",
        )


def _front(points: list[tuple[float, float, Any]]) -> list[tuple[float, float, Any]]:
    """Those that no other beats in both cost and variance, by cost."""
    front: list[tuple[float, float, Any]] = []
    for point in sorted(points, key=lambda p: (p[0], p[1])):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front


def _margins(axes: Any, x: list[float], y: list[float]) -> None:
    """Room around the points for their labels, in decades."""
    if x and y:
        dx, dy = 10 ** (0.2 * decades_of(x)), 10 ** (0.15 * decades_of(y))
        axes.set(xlim=(min(x) / dx, max(x) * dx), ylim=(min(y) / dy, max(y) * dy))

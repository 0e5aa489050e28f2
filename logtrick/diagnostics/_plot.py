"""Figures of comparisons (the `plot` extra): dots and stems on logarithmic axes, every label inside the axes."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from logtrick.diagnostics._tables import number

_COLORS = ("#b5651d", "#4c5fa8", "#5f8d4e", "#8c4a8c", "#b08900", "#3d7f80", "#8d6a4e", "#707580")
_INK, _PALE, _GRID = "#30323d", "#7b8090", "#eceef1"
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text in a PDF
}


def figure(comparison: Any, kind: str, ax: Any) -> Any:
    """The figure of one kind, in new axes or in `ax`."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Comparison.plot() needs matplotlib. Run pip install 'logtrick[plot]'."
        ) from error
    draw = _KINDS.get(kind)
    if draw is None:
        raise ValueError(f"Comparison.plot(kind=…) needs one of {sorted(_KINDS)}; got {kind!r}.")
    measured = [m for m in comparison.measurements if m.statistics is not None]
    if kind == "samples" and not comparison.slopes:
        raise ValueError(
            "Comparison.plot('samples') needs measurements at several numbers of samples; got none. "
            "Pass num_samples=(2, 4, 8) to lt.compare_estimators."
        )
    with matplotlib.rc_context(_STYLE):
        if ax is not None:
            draw(ax, comparison, measured)
            return ax.figure
        height = 1.0 + 0.34 * len(comparison.measurements) if kind == "cost" else 3.8
        wide = kind == "cost" and any(m.seconds is not None for m in measured)
        size = (9.6 if wide else 5.6, height)
        result = Figure(figsize=size, layout="constrained", facecolor="white")
        if wide:
            left, right = result.subplots(1, 2, sharey=True)
            draw(left, comparison, measured)
            _cost(right, comparison, measured, by_seconds=True)
        else:
            draw(result.subplots(), comparison, measured)
    return result


# --- variance × cost: a dot and a stem per estimator


def _cost(axes: Any, comparison: Any, measured: list[Any], by_seconds: bool = False) -> None:
    cost: Callable[[Any], float | None] = (
        (lambda m: m.seconds) if by_seconds else (lambda m: m.evaluations)
    )
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
    axes.grid(axis="x", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    for i, m in enumerate(rows):
        _stem(axes, m, cost(m), len(rows) - i, left, _COLORS[i % len(_COLORS)])


def _room(measured: list[Any]) -> float:
    """The share of the axis that the longest word beside a dot takes."""
    return 0.24 + 0.03 * max((len(_tail(m)) for m in measured), default=0)


def _tail(m: Any) -> str:
    """What is said after a number."""
    words = ["heavy tails"] if m.statistics.heavy_tails else []
    if _biased(m):
        words.append("biased")
    return "".join(f", {word}" for word in words)


def _biased(m: Any) -> bool:
    return m.verdict == "biased" or bool(m.biased)


def _span(m: Any, cost: float | None) -> list[float]:
    """What the axis must show of a measurement: its dot and the ends of its interval, times the cost."""
    if cost is None or m.exact or m.zero or not math.isfinite(m.variance):
        return []
    return [v * cost for v in (m.variance, *m.variance_interval) if v > 0 and math.isfinite(v)]


def _stem(axes: Any, m: Any, cost: float | None, y: int, left: float, color: str) -> None:
    span = _span(m, cost)
    if not span:
        axes.plot(left, y, "D", color=_PALE, ms=6, clip_on=False)
        axes.text(left, y, f"   {_word(m)}", va="center", color=_INK)
        return
    axes.plot([left, span[0]], [y, y], color=color, lw=1.2, alpha=0.35, solid_capstyle="butt")
    axes.plot([min(span), max(span)], [y, y], color=color, lw=4, alpha=0.4, solid_capstyle="butt")
    _dot(axes, span[0], y, m, color)
    axes.annotate(
        f"{number(span[0])}{_tail(m)}",
        (max(span), y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=_INK,
        fontsize=8,
    )


def _dot(axes: Any, x: float, y: float, m: Any, color: str, marker: str = "o") -> None:
    """A full dot; a hollow one for what is biased."""
    if _biased(m):
        axes.plot(x, y, marker, color=color, ms=6, mfc="white", mew=1.8)
    else:
        axes.plot(x, y, marker, color=color, ms=7, mec="white", mew=0.8)


def _word(m: Any) -> str:
    if m.statistics is None:
        return "refused"
    if m.zero:
        return "every gradient is 0"
    if m.exact or m.variance == 0:
        count = "" if m.evaluations is None else f", {m.evaluations:,} evaluations"
        return f"variance 0{count}"
    return "cost not known" if math.isfinite(m.variance) else "not finite"


# --- variance against the number of samples


def _samples(axes: Any, comparison: Any, measured: list[Any]) -> None:
    from logtrick.diagnostics._comparison import base_name

    names = list(comparison.slopes)
    for i, name in enumerate(names):
        color = _COLORS[i % len(_COLORS)]
        points = [m for m in measured if m.num_samples and base_name(m) == name]
        points = [m for m in points if m.variance > 0 and not m.exact]
        n = np.array([m.num_samples for m in points])
        variance = np.array([m.variance for m in points])
        low, high = np.array([m.variance_interval for m in points]).T
        label = f"{name}: slope {comparison.slopes[name]:.2f}".replace("-", "−")
        axes.fill_between(n, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(n, variance, "o-", color=color, ms=5, mec="white", mew=0.6, lw=1.4, label=label)
    counts = sorted({m.num_samples for m in measured if m.num_samples})
    axes.set(xscale="log", yscale="log", xlabel="samples per gradient", ylabel="variance")
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.minorticks_off()
    axes.set_title("Variance against the number of samples")
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.09 * len(names)))  # room for the legend
    axes.legend(loc="upper right", fontsize=8)


# --- variance against the cost of one gradient, and the front


def _pareto(axes: Any, comparison: Any, measured: list[Any]) -> None:
    by_seconds = all(m.evaluations is None for m in measured)
    cost: Callable[[Any], float | None] = (
        (lambda m: m.seconds) if by_seconds else (lambda m: m.evaluations)
    )
    known = [m for m in measured if cost(m) and math.isfinite(m.variance)]
    points = [(float(cost(m) or 0.0), float(m.variance), m) for m in known]
    moving = [v for _, v, m in points if not (m.exact or m.zero) and v > 0]
    floor = min(moving, default=1.0) / 10 ** (0.25 * _decades(moving))
    drawn = [(c, v if v in moving else floor, m) for c, v, m in points if not m.zero]
    costs = [c for c, _, _ in drawn]
    axes.set(xscale="log", yscale="log", ylabel="variance of one gradient")
    axes.set_xlabel("seconds per gradient" if by_seconds else "evaluations of f per gradient")
    axes.set_title("Variance against cost")
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    _margins(axes, costs, [v for _, v, _ in drawn])
    if not by_seconds and len(set(costs)) <= 8:
        axes.set_xticks(sorted(set(costs)), [f"{c:,.0f}" for c in sorted(set(costs))])
        axes.minorticks_off()
    front = _front([point for point in drawn if not _biased(point[2])])
    if len(front) > 1:
        x, y = zip(*[(c, v) for c, v, _ in front])
        axes.step(x, y, where="post", color=_PALE, lw=1.2, ls="--", zorder=1)
    best = {m.name for _, _, m in front}
    for i, (c, v, m) in enumerate(drawn):
        _dot(axes, c, v, m, _COLORS[i % len(_COLORS)], "D" if v == floor else "o")
    _labels(axes, drawn, best, floor)


def _labels(
    axes: Any, points: list[tuple[float, float, Any]], best: set[str], floor: float
) -> None:
    """Names beside the dots, towards the middle, moved apart where they would touch."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    taken: dict[bool, float] = {}
    for x, y, m in sorted(points, key=lambda p: p[1]):
        beyond = math.log(x / left) / math.log(right / left) > 0.6
        at = math.log(y / low) / math.log(high / low)
        moved = max(at, taken.get(beyond, -1.0) + 0.05)
        taken[beyond] = moved
        word = " (variance 0)" if y == floor else " (biased)" if _biased(m) else ""
        axes.annotate(
            m.name + word,
            (x, low * (high / low) ** moved),
            xytext=(-6 if beyond else 6, 6),  # above the line of the front
            textcoords="offset points",
            ha="right" if beyond else "left",
            va="center",
            fontsize=8,
            color=_INK if m.name in best else _PALE,
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
        dx, dy = 10 ** (0.2 * _decades(x)), 10 ** (0.15 * _decades(y))
        axes.set(xlim=(min(x) / dx, max(x) * dx), ylim=(min(y) / dy, max(y) * dy))


def _decades(values: list[float]) -> float:
    return max(math.log10(max(values) / min(values)), 0.7) if values else 1.0


# --- the variance of each coordinate


def _coordinates(axes: Any, comparison: Any, measured: list[Any]) -> None:
    for i, m in enumerate(measured):
        leaves = [np.ravel(v) for v in jax.tree.leaves(m.statistics.variance)]
        variance = np.concatenate(leaves) if leaves else np.zeros(0)
        where = np.arange(len(variance)) + 0.5 * (i - (len(measured) - 1) / 2) / len(measured)
        positive = variance > 0
        label = m.name if positive.any() else f"{m.name}: variance 0"
        color = _COLORS[i % len(_COLORS)]
        axes.plot(where[positive], variance[positive], "o", color=color, ms=4, label=label)
        width = len(variance)
    ends = [0]
    for leaf in jax.tree.leaves(measured[0].statistics.variance) if measured else []:
        ends.append(ends[-1] + np.size(leaf))
    for end in ends[1:-1]:
        axes.axvline(end - 0.5, color=_PALE, lw=0.8, ls=":")
    axes.set(yscale="log", ylabel="variance", xlabel="coordinate of the parameters")
    if measured and width <= 20:
        axes.set_xticks(range(width))
    axes.set_title("Variance of each coordinate")
    axes.grid(axis="y", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.07 * math.ceil(len(measured) / 2) + 0.03))
    axes.legend(loc="upper right", fontsize=8, ncols=2)


_KINDS: dict[str, Callable[[Any, Any, list[Any]], None]] = {
    "cost": _cost,
    "samples": _samples,
    "pareto": _pareto,
    "coordinates": _coordinates,
}

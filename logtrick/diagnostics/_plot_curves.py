"""Variance against the number of samples, and coordinate by coordinate."""

from typing import Any

import jax
import numpy as np

from logtrick.diagnostics._plot_marks import GRID, INK, PALE, color_of, legend_above


def draw_samples(axes: Any, comparison: Any, measured: list[Any]) -> None:
    names = list(comparison.slopes)
    for name in names:
        color = color_of(comparison, name)
        points = [m for m in measured if m.num_samples and m.base_name == name]
        points = [m for m in points if m.variance > 0 and not m.constant]
        n = np.array([m.num_samples for m in points])
        variance = np.array([m.variance for m in points])
        low, high = np.array([m.variance_interval for m in points]).T
        label = f"{name}: slope " + f"{comparison.slopes[name]:.2f}".replace("-", "−")
        axes.fill_between(n, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(n, variance, "o-", color=color, ms=5, mec="white", mew=0.6, lw=1.4, label=label)
    counts = _counts(measured)
    axes.set(xscale="log", yscale="log", xlabel="samples per gradient", ylabel="variance")
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.minorticks_off()
    axes.set_title("Variance against the number of samples")
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.09 * len(names)))  # room for the legend
    axes.legend(loc="upper right", fontsize=8)


def coordinate_legend(comparison: Any, measured: list[Any]) -> dict[str, str]:
    """The legend of `draw_coordinates`, label to color: the objectives, then the numbers of samples where there are several."""
    entries: dict[str, Any] = {}
    for base in dict.fromkeys(m.base_name for m in measured):
        of = [m for m in measured if m.base_name == base]
        words = {m.name: _word(m) for m in of}
        shared = len(of) > 1 and len(set(words.values())) == 1
        names = {base: _word(of[0])} if shared else words
        entries |= dict.fromkeys(map("".join, names.items()), color_of(comparison, base))
    counts = _counts(measured)
    if len(counts) > 1:
        entries |= {f"{count} samples": _shaded(INK, counts, count) for count in counts}
    return entries


def _word(m: Any) -> str:
    """What the legend adds to the name of an objective that has dots missing."""
    variance = _variances(m)
    if not np.isfinite(variance).all():
        return ": not finite"
    return ": variance 0" if m.constant or not (variance > 0).any() else ""


def draw_coordinates(axes: Any, comparison: Any, measured: list[Any]) -> None:
    counts = _counts(measured)
    for i, m in enumerate(measured):
        variance = _variances(m)
        where = np.arange(len(variance)) + 0.5 * (i - (len(measured) - 1) / 2) / len(measured)
        positive = (variance > 0) & (not m.constant)
        color = _shaded(color_of(comparison, m.base_name), counts, m.num_samples)
        axes.plot(where[positive], variance[positive], "o", color=color, ms=4)
    entries = coordinate_legend(comparison, measured)
    for label, color in entries.items():
        axes.plot([], [], "o", color=color, ms=4, label=label)
    ends = [0]
    for leaf in jax.tree.leaves(measured[0].statistics.variance) if measured else []:
        ends.append(ends[-1] + np.size(leaf))
    width = ends[-1]
    for end in ends[1:-1]:  # between the leaves of the parameters
        axes.axvline(end - 0.5, color=PALE, lw=0.8, ls=":")
    axes.set(yscale="log", ylabel="variance", xlabel="coordinate of the parameters")
    if 0 < width <= 20:
        axes.set_xticks(range(width))
    axes.set_title("Variance of each coordinate")
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    legend_above(axes, list(entries))


def _counts(measured: list[Any]) -> list[int]:
    """The numbers of samples."""
    return sorted({m.num_samples for m in measured if m.num_samples})


def _variances(m: Any) -> Any:
    return np.concatenate([np.ravel(v) for v in jax.tree.leaves(m.statistics.variance)])


def _shaded(color: str, counts: list[int], count: int | None) -> Any:
    """`color`, the paler the fewer samples there are."""
    if count is None or len(counts) < 2:
        return color
    from matplotlib.colors import to_rgb

    strength = 0.35 + 0.65 * counts.index(count) / (len(counts) - 1)
    return tuple(1 - strength * (1 - part) for part in to_rgb(color))

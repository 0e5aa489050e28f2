"""Variance against the number of samples, and coordinate by coordinate."""

from typing import Any

import jax
import numpy as np

from logtrick.diagnostics._plot_marks import GRID, PALE, color_of, legend_above


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
    counts = sorted({m.num_samples for m in measured if m.num_samples})
    axes.set(xscale="log", yscale="log", xlabel="samples per gradient", ylabel="variance")
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.minorticks_off()
    axes.set_title("Variance against the number of samples")
    axes.grid(color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (0.09 * len(names)))  # room for the legend
    axes.legend(loc="upper right", fontsize=8)


def draw_coordinates(axes: Any, comparison: Any, measured: list[Any]) -> None:
    for i, m in enumerate(measured):
        variance = np.concatenate([np.ravel(v) for v in jax.tree.leaves(m.statistics.variance)])
        where = np.arange(len(variance)) + 0.5 * (i - (len(measured) - 1) / 2) / len(measured)
        positive = (variance > 0) & (not m.constant)
        label = m.name
        if not np.isfinite(variance).all():
            label += ": not finite"
        elif not positive.any():
            label += ": variance 0"
        color = color_of(comparison, m.base_name)
        axes.plot(where[positive], variance[positive], "o", color=color, ms=4, label=label)
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
    if measured:
        legend_above(axes, [m.name for m in measured])

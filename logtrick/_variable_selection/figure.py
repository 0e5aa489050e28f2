"""The figure of the job: the fit on the way, the inclusion probabilities, the race."""

import itertools
import textwrap
from typing import Any

import numpy as np

from logtrick._variable_selection.fit import Fitted
from logtrick._variable_selection.job import Result
from logtrick._variable_selection.model import Posterior
from logtrick._variable_selection.race import OTHER, RACERS, RacePoint

_GUIDES = ("#d1495b", "#00798c")
_RACERS = ("#b5651d", "#4c5fa8", "#5f8d4e", "#8c4a8c", "#b08900", "#3d7f80", "#8d6a4e", "#707580")
_EXACT = "#30323d"


def save(result: Result, path: str) -> None:
    """Write the figure into the PNG file `path`, without a window."""
    draw(result).savefig(path, dpi=140, format="png")


def draw(result: Result) -> Any:
    """The figure, a `matplotlib.figure.Figure`."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: Any = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.titlesize": 11,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(12, 8.2), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        halves: Any = figure.subfigures(2, 1, hspace=0.04)
        above, below = halves
        way, inclusion = above.subplots(1, 2, width_ratios=(1.0, 1.25))
        _way(way, result)
        _inclusion(inclusion, result)
        _race(below, result)
        about = textwrap.fill(_plain(result.table.question), 105)
        figure.suptitle(about, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def _way(axes: Any, result: Result) -> None:
    """How far the ELBO is below the log evidence, against the step; without an exact evidence, the ELBO itself."""
    exact = result.posterior
    curves = [_curves(fit, exact) for fit in result.fits]
    for fit, (noisy, smooth, end), color in zip(result.fits, curves, _GUIDES):
        steps = np.arange(1, len(noisy) + 1)
        begun = "" if fit.guide.containing is None else ", begun there"
        label = f"{fit.guide.name}{begun}: {end:.3f} at the end"
        axes.fill_between(*_band(noisy), color=color, alpha=0.18, lw=0)
        axes.plot(steps, smooth, color=color, lw=1.8, label=label)
        axes.plot(steps[-1], end, "o", color=color, mec="white", ms=8, zorder=5)
    if exact is None:
        title = "The ELBO on the way"
        low, high = np.quantile(np.concatenate([noisy for noisy, _, _ in curves]), (0.02, 1.0))
        axes.set(ylim=(low, high + 0.05 * (high - low)), ylabel="ELBO, nats above the null model")
    else:
        title = "How far the ELBO is below the log evidence"
        _distance_axis(axes, curves)
    most = max(len(fit.history) for fit in result.fits)
    axes.set(xscale="log", xlim=(1, 1.25 * most), xlabel="step (shaded: 80 % of the values)")
    _title_and_legend(axes, title)


def _title_and_legend(axes: Any, title: str) -> None:
    """The legend between the title and the axes, where it covers nothing."""
    axes.set_title(title, pad=26)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.99),
        ncols=3,
        handletextpad=0.5,
        columnspacing=1.2,
    )


def _curves(fit: Fitted, exact: Posterior | None) -> tuple[np.ndarray, np.ndarray, float]:
    """The noisy values at the steps, their running mean, and the value at the end."""
    smooth = _smooth(fit.history)
    if exact is None:
        return fit.history, smooth, fit.worth.elbo
    top = exact.log_evidence
    return top - fit.history, top - smooth, top - fit.worth.elbo


def _band(noisy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where 80 % of the noisy values lie: steps, lower and upper ends."""
    edges = np.unique(np.geomspace(1, len(noisy) + 1, 80).astype(int)) - 1
    parts = [noisy[a:b] for a, b in itertools.pairwise(edges)]
    low, high = (np.array([np.quantile(part, level) for part in parts]) for level in (0.1, 0.9))
    return (edges[:-1] + edges[1:] + 1) / 2, low, high


def _distance_axis(axes: Any, curves: list[tuple[np.ndarray, np.ndarray, float]]) -> None:
    """A distance from the evidence: logarithmic, but linear about 0, since noise goes below."""
    smallest = min(end for _, _, end in curves)
    linear = 10.0 ** np.clip(np.floor(np.log10(max(smallest, 1e-9))), -3, 0)
    lowest = min(_band(noisy)[1].min() for noisy, _, _ in curves)
    axes.set_yscale("symlog", linthresh=linear, linscale=0.6)
    top = max(noisy.max() for noisy, _, _ in curves)
    axes.set_ylim(min(-linear, 1.5 * lowest), 1.5 * max(top, linear))
    axes.axhline(0.0, color=_EXACT, lw=1.0, ls=(0, (4, 3)))
    axes.annotate(
        "log evidence",
        (0.0, 0.0),
        (4, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=_EXACT,
        fontsize=9,
    )
    axes.set_ylabel("log evidence − ELBO, nats")


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of the last tenth of the steps so far (at most 100 of them)."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    upper = np.arange(1, len(values) + 1)
    lower = upper - np.clip(upper // 10, 1, 100)
    return (total[upper] - total[lower]) / (upper - lower)


def _inclusion(axes: Any, result: Result) -> None:
    """Inclusion probabilities: the exact ones as bars, the guides' as marks."""
    names = [_plain(name) for name in result.model.names]
    where = np.arange(len(names))
    if result.posterior is not None:
        axes.bar(where, result.posterior.inclusion, width=0.62, color="#d9dce1", label="exact")
    for fit, color, marker, shift in zip(result.fits, _GUIDES, "so", (-0.13, 0.13)):
        axes.plot(
            where + shift,
            fit.worth.inclusion,
            marker,
            color=color,
            ms=7,
            mec="white",
            mew=0.8,
            label=fit.guide.name,
        )
    crowded = len(names) > 12
    axes.set_xticks(where, names)
    if crowded or max(map(len, names)) > 6:
        axes.tick_params(axis="x", rotation=60)
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor", fontsize=8 if crowded else 10)
    axes.set(ylim=(-0.03, 1.05), xlim=(-0.6, len(names) - 0.4), ylabel="inclusion probability")
    _title_and_legend(axes, "Which predictors belong in the model")


def _race(figure: Any, result: Result) -> None:
    """Variance × evaluations of each estimator at each point of the race."""
    panels = figure.subplots(1, len(result.race), sharex=True, sharey=True, squeeze=False)[0]
    names = [name for name, row in result.race[0].rows.items() if row.error is None]
    costs = [_cost(point, name) for point in result.race for name in names]
    shown = [cost for cost in costs if cost]
    low = min(shown) / 4
    high = max(shown) * (max(shown) / low) ** 0.3  # room for the last number
    for point, axes in zip(result.race, panels):
        axes.set_title(point.where)
        axes.set(
            xscale="log",
            xlim=(low, high),
            ylim=(0.4, len(names) + 0.6),
            xlabel="variance × evaluations of f",
        )
        axes.set_yticks(range(len(names), 0, -1), names)
        axes.tick_params(axis="y", length=0, pad=8)
        axes.grid(axis="x", color="#eceef1", lw=0.8)
        axes.set_axisbelow(True)
        for i, name in enumerate(names):
            _lollipop(axes, name, point, len(names) - i, low)
    title = "The race: the cost of a gradient of the independent guide's ELBO (left is better)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    note = "other constant: f relative to the full model, not to the model without predictors"
    figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color="#5a5f6b")


def _cost(point: RacePoint, name: str) -> float:
    """Variance × evaluations; 0 for what is exact."""
    row = point.rows[name]
    return 0.0 if row.exact else row.variance_x_evaluations or 0.0


def _lollipop(axes: Any, name: str, point: RacePoint, y: int, low: float) -> None:
    cost, base = _cost(point, name), name.removesuffix(OTHER)
    if cost == 0:
        axes.plot(low, y, "D", color=_EXACT, ms=8, clip_on=False)
        evaluations = point.rows[name].evaluations
        _beside(axes, low, y, f"exact: variance 0, {evaluations:,} evaluations")
        return
    color = _RACERS[list(RACERS).index(base) % len(_RACERS)]
    axes.plot([low, cost], [y, y], color=color, lw=2.5, alpha=0.45, solid_capstyle="butt")
    axes.plot(cost, y, "o", color=color, ms=9, mfc=color if name == base else "white", mew=2)
    _beside(axes, cost, y, _number(cost))


def _beside(axes: Any, x: float, y: float, text: str) -> None:
    """A text to the right of a mark, whatever the scale of the axis."""
    style = {"va": "center", "color": _EXACT, "annotation_clip": False}
    axes.annotate(text, (x, y), (9, 0), textcoords="offset points", **style)


def _plain(text: str) -> str:
    """A user's text, no formula."""
    return text.replace("$", r"\$")


def _number(value: float) -> str:
    if value >= 1e6:
        return f"{value:.1e}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"

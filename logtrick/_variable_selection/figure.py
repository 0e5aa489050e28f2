"""The figure of the job: the fit on the way, the inclusion probabilities, the race."""

from typing import Any

import numpy as np

from logtrick._variable_selection.job import Result
from logtrick._variable_selection.race import OTHER, RACERS, Heat

_GUIDES = ("#d1495b", "#00798c")
_RACERS = ("#b5651d", "#4c5fa8", "#5f8d4e", "#8c4a8c", "#b08900", "#3d7f80", "#8d6a4e", "#707580")
_EXACT = "#30323d"


def save(result: Result, path: str) -> None:
    """Draw the figure into the PNG file `path`, without a window."""
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
        figure.suptitle(_plain(result.table.about), x=0.01, ha="left", fontsize=13)
        figure.savefig(path, dpi=140, format="png")


def _way(axes: Any, result: Result) -> None:
    """How far the ELBO is below the log evidence, against the step; without an exact evidence, the ELBO itself."""
    exact = result.posterior
    ends = []
    for fit, color in zip(result.fits, _GUIDES):
        steps = np.arange(1, len(fit.history) + 1)
        noisy, smooth, end = fit.history, _smooth(fit.history), fit.elbo
        label, note = f"{fit.guide.name}: {end:.2f}", ""
        if exact is not None:
            top = exact.log_evidence
            noisy, smooth, end = top - noisy, top - smooth, max(top - end, 1e-4)
            label, note = fit.guide.name, f"  {end:.3f}"
        axes.plot(steps, noisy, color=color, alpha=0.16, lw=0.5, rasterized=True)
        axes.plot(steps, smooth, color=color, lw=1.8, label=label)
        axes.plot(steps[-1], end, "o", color=color, mec="white", ms=8, zorder=5)
        axes.text(steps[-1], end, note, color=color, va="center", fontweight="bold")
        ends.append(end)
    if exact is None:
        low, high = np.quantile(np.concatenate([fit.history for fit in result.fits]), (0.02, 1.0))
        axes.set(ylim=(low, high + 0.05 * (high - low)), ylabel="ELBO, nats above the null model")
    else:
        axes.set(
            yscale="log", ylim=(min(0.01, min(ends) / 3), None), ylabel="log evidence − ELBO, nats"
        )
    axes.set(
        xscale="log", xlim=(1, 3 * max(len(fit.history) for fit in result.fits)), xlabel="step"
    )
    axes.set_title(
        "The ELBO on the way" if exact is None else "How far the ELBO is below the log evidence",
        pad=26,
    )
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.99),
        ncols=2,
        handletextpad=0.5,
        columnspacing=1.2,
    )


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
            fit.inclusion,
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
    axes.set_title("Which predictors belong in the model", pad=26)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.99),
        ncols=3,
        handletextpad=0.3,
        columnspacing=1.2,
    )


def _race(figure: Any, result: Result) -> None:
    """Variance × evaluations of each estimator at each point of the race."""
    panels = figure.subplots(1, len(result.race), sharex=True, sharey=True, squeeze=False)[0]
    names = [name for name, racer in result.race[0].rows.items() if racer.error is None]
    costs = [_cost(heat, name) for heat in result.race for name in names]
    shown = [cost for cost in costs if cost]
    low, high = min(shown) / 4, max(shown) * 20
    for heat, axes in zip(result.race, panels):
        axes.set_title(heat.where)
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
            _lollipop(axes, name, heat, len(names) - i, low)
    title = "The race: the cost of a gradient of the independent guide's ELBO (left is better)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    note = "other constant: f relative to the full model, not to the model without predictors"
    figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color="#5a5f6b")


def _cost(heat: Heat, name: str) -> float:
    """Variance × evaluations; 0 for what is exact."""
    racer = heat.rows[name]
    return 0.0 if racer.exact else racer.variance_x_evaluations or 0.0


def _lollipop(axes: Any, name: str, heat: Heat, y: int, low: float) -> None:
    cost, base = _cost(heat, name), name.removesuffix(OTHER)
    if cost == 0:
        axes.plot(low, y, "D", color=_EXACT, ms=8, clip_on=False)
        evaluations = heat.rows[name].evaluations
        axes.text(
            low * 1.6,
            y,
            f"exact: variance 0, {evaluations:,} evaluations",
            va="center",
            color=_EXACT,
        )
        return
    color = _RACERS[list(RACERS).index(base) % len(_RACERS)]
    axes.plot([low, cost], [y, y], color=color, lw=2.5, alpha=0.45, solid_capstyle="butt")
    axes.plot(cost, y, "o", color=color, ms=9, mfc=color if name == base else "white", mew=2)
    axes.text(cost * 1.6, y, _number(cost), va="center", color=_EXACT)


def _plain(text: str) -> str:
    """A user's text, no formula."""
    return text.replace("$", r"\$")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"

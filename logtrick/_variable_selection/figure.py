"""The figure of the job: the fit on the way, the inclusion probabilities, the race."""

from typing import Any

import numpy as np

from logtrick._variable_selection.job import Result

_COLORS = ("#d1495b", "#00798c", "#edae49", "#66629c", "#5f8d4e", "#8d6a4e", "#3d5a80")
_EXACT = "#30323d"


def save(result: Result, path: str) -> None:
    """Draw the figure into the PNG file `path`, without a window."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style = {
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
        fit, race = figure.subfigures(2, 1, height_ratios=(1.0, 1.0), hspace=0.04)
        way, inclusion = fit.subplots(1, 2, width_ratios=(1.0, 1.25))
        _way(way, result)
        _inclusion(inclusion, result)
        _race(race, result)
        figure.suptitle(result.table.about, x=0.01, ha="left", fontsize=13)
        figure.savefig(path, dpi=140, format="png")


def _way(axes: Any, result: Result) -> None:
    """The ELBO against the step, noisy and smoothed, under the log evidence."""
    ends = [fit.elbo for fit in result.fits]
    top = max(ends) if result.posterior is None else result.posterior.log_evidence
    for fit, color in zip(result.fits, _COLORS):
        steps = np.arange(1, len(fit.history) + 1)
        axes.plot(steps, fit.history, color=color, alpha=0.18, lw=0.5, rasterized=True)
        axes.plot(steps, _smooth(fit.history), color=color, lw=1.8, label=f"{fit.guide.name}: ELBO {fit.elbo:.2f}")
    if result.posterior is not None:
        axes.axhline(top, color=_EXACT, lw=1.2, ls=(0, (4, 2)), label=f"exact log evidence {top:.2f}")
    early = min(float(_smooth(fit.history)[len(fit.history) // 40]) for fit in result.fits)
    span = max(top - early, 2.0)
    axes.set(xscale="log", xlim=(1, None), ylim=(top - 1.6 * span, top + 0.35 * span), xlabel="step")
    axes.set_title("Fitting by the score function")
    axes.set_ylabel("ELBO, nats above the null model")
    axes.legend(loc="lower right")


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean of the last tenth of the steps so far (at most 100 of them)."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    upper = np.arange(1, len(values) + 1)
    lower = upper - np.clip(upper // 10, 1, 100)
    return (total[upper] - total[lower]) / (upper - lower)


def _inclusion(axes: Any, result: Result) -> None:
    """Inclusion probabilities: the exact ones as bars, the guides' as marks."""
    names = result.model.names
    where = np.arange(len(names))
    if result.posterior is not None:
        axes.bar(where, result.posterior.inclusion, width=0.62, color="#d9dce1", label="exact")
    for fit, color, marker, shift in zip(result.fits, _COLORS, "so", (-0.13, 0.13)):
        axes.plot(where + shift, fit.inclusion, marker, color=color, ms=7, mec="white", mew=0.8, label=fit.guide.name)
    crowded = len(names) > 12
    axes.set_xticks(where, names, rotation=60 if crowded else 0, ha="right" if crowded else "center")
    axes.set(ylim=(-0.03, 1.05), xlim=(-0.6, len(names) - 0.4), ylabel="inclusion probability")
    axes.set_title("Which predictors belong in the model", pad=26)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=3, handletextpad=0.3, columnspacing=1.2)


def _race(figure: Any, result: Result) -> None:
    """Variance × evaluations of each estimator at each point of the race."""
    panels = figure.subplots(1, len(result.race), sharex=True, sharey=True, squeeze=False)[0]
    names = [row.name for row in result.race[0].rows]
    work = np.array([row.work for heat in result.race for row in heat.rows if row.work > 0])
    low, high = work.min() / 4, work.max() * 12
    for heat, axes in zip(result.race, panels):
        for i, row in enumerate(heat.rows):
            y = len(names) - i
            if row.exact:
                axes.text(low * 1.2, y, f"exact: variance 0, {row.evaluations:,} evaluations", va="center", color=_EXACT)
                continue
            axes.barh(y, row.work - low, left=low, height=0.6, color=_COLORS[i % len(_COLORS)])
            axes.text(row.work * 1.15, y, f"{row.work:,.3g}", va="center", color=_EXACT)
        axes.set(xscale="log", xlim=(low, high), xlabel="variance × evaluations of f")
        axes.set_yticks(range(len(names), 0, -1), names)
        axes.tick_params(axis="y", length=0)
        axes.set_title(heat.where)
    figure.suptitle("The race: what a gradient of the independent guide's ELBO costs (less is better)", x=0.01, ha="left",
                    fontsize=11, fontweight="bold")

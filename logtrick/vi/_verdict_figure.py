"""The figure of a verdict (the `plot` extra)."""

from typing import Any

import numpy as np

from logtrick.vi._psis import tail_length

_BLUE, _ORANGE = "#4878a8", "#d1742f"
_MOST_MARGINALS = 3


def figure(report: Any, history: Any) -> Any:
    """Panels: the ELBO of the fit, marginals of the worst coordinates, their pair, the tail of the weights."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Report.plot() needs matplotlib. Run pip install 'logtrick[plot]'."
        ) from error
    weights = _weights(report)
    worst = _worst(report, weights)
    panels = (history is not None) + len(worst) + (len(worst) > 1) + 1
    columns = min(panels, 3)
    rows = -(-panels // columns)
    result = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    axes = iter(np.ravel(result.subplots(rows, columns)))
    if history is not None:
        _elbo(next(axes), history)
    for coordinate in worst:
        _marginal(next(axes), report, coordinate, weights)
    if len(worst) > 1:
        _pair(next(axes), report, worst[0], worst[1], weights)
    _tail(next(axes), report)
    for unused in axes:
        unused.set_axis_off()
    result.suptitle(report.verdict)
    return result


def _weights(report: Any) -> np.ndarray:
    log_weights = np.asarray(report.log_weights)
    if not np.isfinite(log_weights).any():
        return np.full(len(log_weights), 1 / len(log_weights))
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def _worst(report: Any, weights: np.ndarray) -> list[int]:
    """The coordinates that the weights move the most."""
    draws = np.asarray(report.draws)
    spread = np.maximum(draws.std(0), 1e-300)
    moved = np.abs(weights @ draws - draws.mean(0)) / spread
    return [int(i) for i in np.argsort(-moved)[:_MOST_MARGINALS]]


def _elbo(axis: Any, history: Any) -> None:
    elbo = np.asarray(getattr(history, "value", history), float)
    axis.plot(np.arange(1, len(elbo) + 1), elbo, color=_BLUE, marker="." if len(elbo) < 50 else "")
    axis.axvline(len(elbo), color="#888888", linestyle=":")
    finite = elbo[np.isfinite(elbo)]
    if len(finite) > 4:
        # The first iterations may be thousands of nats lower: show where it ends.
        low = np.quantile(finite, 0.25)
        axis.set_ylim(low - 0.1 * (finite.max() - low) - 1e-6, None)
    axis.set_title("ELBO, and where the fit stopped", fontsize=10)
    axis.set_xlabel("iteration")


def _marginal(axis: Any, report: Any, coordinate: int, weights: np.ndarray) -> None:
    values = np.asarray(report.draws)[:, coordinate]
    bins = np.linspace(values.min(), values.max() + 1e-12, 41)
    axis.hist(values, bins=bins, density=True, color=_BLUE, alpha=0.5, label="q")
    axis.hist(
        values,
        bins=bins,
        density=True,
        weights=weights,
        histtype="step",
        color=_ORANGE,
        label="weighted",
    )
    axis.set_title(report.names[coordinate], fontsize=10)
    axis.legend(fontsize=8)


def _pair(axis: Any, report: Any, first: int, second: int, weights: np.ndarray) -> None:
    draws = np.asarray(report.draws)
    sizes = 4 + 200 * weights / weights.max()
    axis.scatter(draws[:, first], draws[:, second], s=4, color=_BLUE, alpha=0.3)
    heavy = np.argsort(-weights)[:200]
    axis.scatter(
        draws[heavy, first],
        draws[heavy, second],
        s=sizes[heavy],
        facecolors="none",
        edgecolors=_ORANGE,
    )
    axis.set_xlabel(report.names[first])
    axis.set_ylabel(report.names[second])
    axis.set_title("draws; circles: the largest weights", fontsize=10)


def _tail(axis: Any, report: Any) -> None:
    """The largest weights against their rank, on logarithmic axes: a Pareto tail is a line of slope −k."""
    log_weights = np.sort(np.asarray(report.log_weights))[::-1][: tail_length(report.num_draws)]
    finite = log_weights[np.isfinite(log_weights)]
    if len(finite):
        axis.plot(np.arange(1, len(finite) + 1), np.exp(finite - finite[0]), ".", color=_BLUE)
        axis.set_xscale("log")
        axis.set_yscale("log")
    axis.set_title(f"largest weights, k-hat {report.khat:.2f}", fontsize=10)
    axis.set_xlabel("rank")

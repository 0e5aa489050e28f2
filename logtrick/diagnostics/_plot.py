"""Figures of comparisons (the `plot` extra): dots and stems on logarithmic axes, every label inside the axes."""

from collections.abc import Callable
from typing import Any

from logtrick.diagnostics._plot_cost import draw_cost
from logtrick.diagnostics._plot_curves import coordinate_legend, draw_coordinates, draw_samples
from logtrick.diagnostics._plot_marks import HEIGHT_OF_A_LINE, WIDTH_OF_A_LETTER
from logtrick.diagnostics._plot_pareto import draw_pareto

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
        timed = any(m.seconds is not None for m in measured)
        width, height = _size(kind, comparison, timed)
        result = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        if kind == "cost" and timed:
            left, right = result.subplots(1, 2, sharey=True)
            draw(left, comparison, measured)
            draw_cost(right, comparison, measured, by_seconds=True)
        else:
            draw(result.subplots(), comparison, measured)
    return result


def _size(kind: str, comparison: Any, timed: bool) -> tuple[float, float]:
    """Width and height in inches, with room for long names and for many of them."""
    names = [m.name for m in comparison.measurements]  # none after Ctrl-C
    rows, letters = len(names), max(map(len, names), default=0)
    wider = WIDTH_OF_A_LETTER * max(0, letters - 20)
    if kind == "cost":
        return (9.6 if timed else 5.6) + wider, 1.0 + 0.34 * rows
    if kind == "coordinates":
        measured = [m for m in comparison.measurements if m.statistics is not None]
        entries = len(coordinate_legend(comparison, measured))
        return 5.6 + wider, 3.8 + HEIGHT_OF_A_LINE * max(0, entries - 6)
    if kind == "pareto":
        if comparison.slopes:  # the names are in a legend
            return 5.6, 3.8 + HEIGHT_OF_A_LINE * len(comparison.slopes)
        return 5.6 + wider, 3.8
    return 5.6, 3.8


_KINDS: dict[str, Callable[[Any, Any, list[Any]], None]] = {
    "cost": draw_cost,
    "samples": draw_samples,
    "pareto": draw_pareto,
    "coordinates": draw_coordinates,
}

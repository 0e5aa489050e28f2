"""What the figures of comparisons share: colors, dots, words."""

import math
from collections.abc import Callable
from typing import Any

COLORS = ("#b5651d", "#4c5fa8", "#5f8d4e", "#8c4a8c", "#b08900", "#3d7f80", "#8d6a4e", "#707580")
# Of small text, in inches.
WIDTH_OF_A_LETTER, HEIGHT_OF_A_LINE = 0.085, 0.18
INK, PALE, GRID = "#30323d", "#7b8090", "#eceef1"


def color_of(comparison: Any, name: str) -> str:
    """The color of an objective, the same in every figure; `name` without its number of samples."""
    names = list(dict.fromkeys(m.base_name for m in comparison.measurements))
    return COLORS[names.index(name) % len(COLORS)]


def cost_of(by_seconds: bool) -> Callable[[Any], float | None]:
    """The cost of one gradient, a function of a measurement: None where it is not known."""
    if by_seconds:
        return lambda m: m.seconds
    return lambda m: m.evaluations


def biased(m: Any) -> bool:
    return m.verdict == "biased" or bool(m.biased)


def tail(m: Any) -> str:
    """The words after a number."""
    words = ["heavy tails"] if m.statistics.heavy_tails else []
    if biased(m):
        words.append("biased")
    return "".join(f", {word}" for word in words)


def dot(axes: Any, x: float, y: float, m: Any, color: str, marker: str = "o") -> None:
    """A full dot; a hollow one for what is biased."""
    if biased(m):
        axes.plot(x, y, marker, color=color, ms=6, mfc="white", mew=1.8)
    else:
        axes.plot(x, y, marker, color=color, ms=7, mec="white", mew=0.8)


def extent(axes: Any) -> tuple[float, float]:
    """About the width and the height of axes, in inches."""
    width, height = axes.figure.get_size_inches()
    place = axes.get_position()
    return width * place.width, height * place.height


def legend_above(axes: Any, names: list[str]) -> None:
    """A legend of one or two columns, and room for it above the dots."""
    names = list(dict.fromkeys(names))
    if not names:
        return
    width, height = extent(axes)
    entry = WIDTH_OF_A_LETTER * max(map(len, names)) + 0.5
    columns = 2 if 2 * entry < width else 1
    share = (HEIGHT_OF_A_LINE * math.ceil(len(names) / columns) + 0.1) / height
    share = min(share, 0.75)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high * (high / low) ** (share / (1 - share)))
    axes.legend(loc="upper right", fontsize=8, ncols=columns)


def decades_of(values: list[float]) -> float:
    """The powers of ten that positive values span, at least 0.7."""
    return max(math.log10(max(values) / min(values)), 0.7) if values else 1.0

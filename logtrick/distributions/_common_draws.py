"""Draws of several distributions in one form, so that one of them can be chosen by a traced index.

The components of a mixture may make their draws in different coordinates, or in none: a normal beside a beta. A draw
of the mixture then has the coordinates of every kind that occurs among its components: those in which it was made, and
the others computed from these. Each component reads the coordinates of its own kind. Where a draw has none, since it is
outside of what a chart can reach, they are nan, and the component reads the value.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import Module
from logtrick._core.smooth import log_sigmoid
from logtrick.bijectors import Exp, Interval, Sigmoid, Softplus, is_bijector
from logtrick.distributions._draw import Draw, charts_of, is_draw, same_charts, value_of

Array = jax.Array


def kinds_of_charts(declared: list[Any]) -> list[Any]:
    """The different kinds among the `charts` that distributions declare; draws without coordinates have none."""
    kinds: dict[Any, Any] = {}
    for charts in declared:
        if jax.tree.leaves(charts, is_leaf=_is_module):
            kinds.setdefault(jax.tree.structure(charts), charts)
    return list(kinds.values())


def common_charts(declared: list[Any]) -> Any:
    """The charts of the draws that `in_common_form` makes of draws with the `declared` charts."""
    kinds = kinds_of_charts(declared)
    if len(kinds) > 1:
        return None, tuple(kinds)
    return kinds[0] if kinds else None


def in_common_form(draws: list[Any], declared: list[Any]) -> list[Any]:
    """The draws, each with coordinates in every kind of chart that occurs among the `declared`."""
    kinds = kinds_of_charts(declared)
    if not kinds:
        return [value_of(draw) for draw in draws]
    likes = [next(draw for draw in draws if same_charts(draw, charts)) for charts in kinds]
    if len(kinds) == 1:
        return [_like(draw, likes[0]) for draw in draws]
    return [
        Draw(value_of(draw), tuple(_like(draw, like) for like in likes), None) for draw in draws
    ]


def view(draw: Any, charts: Any) -> Any:
    """What a distribution with these `charts` reads of a draw in common form: coordinates of its kind, or the value."""
    if same_charts(draw, charts):
        return draw
    if is_draw(draw) and draw.chart is None:
        for each in draw.coordinates:
            if same_charts(each, charts):
                return each
    return value_of(draw)


def log_prob_of(part: Any, draw: Any, declared: list[Any]) -> Array:
    """log p of the component `part` at a draw in common form, which another component may have made.

    Args:
      part: a component.
      draw: a value, or a draw of the mixture.
      declared: the `charts` of all components.
    """
    seen = view(draw, part.charts)
    kind = charts_of(seen)
    if not jax.tree.leaves(kind, is_leaf=_is_module) or _has_several(seen):
        return part.log_prob(seen)
    made_alike = np.bool_(all(same_charts(draw, charts) for charts in declared))
    if made_alike and not jax.tree.leaves(kind):
        return part.log_prob(seen)
    reached = made_alike | _reached(seen)
    legible = _same_numbers(seen, part.charts) & reached
    # another library's log-prob is not asked outside of the image of its own bijectors: it may be nan there
    impossible = ~reached & (not all(map(is_bijector, jax.tree.leaves(kind, is_leaf=_is_module))))
    # an inner point takes the place of what is not chosen, whose derivative may be nan
    by_coordinates = part.log_prob(_coordinates_or_zero(legible, seen))
    by_value = part.log_prob(_inner_or_value(legible | impossible, seen))
    return jnp.where(legible, by_coordinates, jnp.where(impossible, -jnp.inf, by_value))


def _is_module(x: Any) -> bool:
    return isinstance(x, Module)


def _has_several(draw: Any) -> bool:
    """Whether coordinates of several kinds are in it: those of a mixture within a mixture, which chooses itself."""
    found = [leaf for leaf in jax.tree.leaves(draw, is_leaf=is_draw) if is_draw(leaf)]
    return any(each.chart is None for each in found)


def _like(draw: Any, like: Any) -> Any:
    """`draw` with coordinates in the charts of the draw `like`."""
    if same_charts(draw, charts_of(like)):
        return draw
    if is_draw(draw) and not is_draw(like):
        draw = draw.value
    return jax.tree.map(_one_like, like, draw, is_leaf=is_draw)


def _one_like(like: Any, draw: Any) -> Any:
    if not is_draw(like):
        return value_of(draw)
    if same_charts(draw, charts_of(like)):
        return draw
    if like.chart is None:
        return Draw(value_of(draw), tuple(_like(draw, each) for each in like.coordinates), None)
    coordinates = _converted(draw, like.chart)
    if is_draw(like.coordinates):
        coordinates = _one_like(like.coordinates, coordinates)
    return Draw(value_of(draw), coordinates, like.chart)


def _converted(draw: Any, chart: Any) -> Array:
    """The coordinates of a draw in `chart`; nan outside of its image."""
    if is_draw(draw) and type(draw.chart) in (Exp, Sigmoid, Softplus):
        # from the logarithm: a value that rounds to 0 has none
        log_value = _log_value(draw)
        if isinstance(chart, Softplus):  # of a small y its inverse is log y
            small = log_value < _SMALL
            return jnp.where(small, log_value, chart.inverse(jnp.where(small, 1.0, draw.value)))
        if isinstance(chart, Exp):
            return log_value
        if isinstance(chart, Sigmoid):
            return log_value - jnp.log(-jnp.expm1(log_value))
    ends = _ends(chart)
    if is_draw(draw) and ends and (made_between := _ends(draw.chart)):
        return _between_other_ends(draw, made_between, ends)
    return jnp.asarray(chart.inverse(value_of(draw)))


_SMALL = -40.0  # log(1 + eˣ) is eˣ below, to rounding


def _log_value(draw: Draw) -> Array:
    """The logarithm of a draw that was made by Exp, Sigmoid or Softplus."""
    made = value_of(draw.coordinates)
    if isinstance(draw.chart, Exp):
        return made
    if isinstance(draw.chart, Sigmoid):
        return log_sigmoid(made)
    small = made < _SMALL
    return jnp.where(small, made, jnp.log(jnp.where(small, 1.0, draw.value)))


def _ends(chart: Any) -> tuple[Any, Any] | None:
    """The ends of the interval that is the chart's image; None where it is none."""
    if isinstance(chart, Sigmoid):
        return 0.0, 1.0
    return (chart.low, chart.high) if isinstance(chart, Interval) else None


def _between_other_ends(draw: Draw, made: tuple[Any, Any], ends: tuple[Any, Any]) -> Array:
    """The logit of a draw between other `ends` than those between which it was `made`; nan outside of them.

    The distance from an end that both have in common is that of the coordinates: the value may have rounded onto it.
    """
    x, value = value_of(draw.coordinates), draw.value
    log_width = jnp.log(made[1] - made[0])
    from_low = jnp.where(ends[0] == made[0], log_width + log_sigmoid(x), jnp.log(value - ends[0]))
    from_high = jnp.where(ends[1] == made[1], log_width + log_sigmoid(-x), jnp.log(ends[1] - value))
    return from_low - from_high


def _draws(draw: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(draw, is_leaf=is_draw) if is_draw(leaf)]


def _reached(draw: Any) -> Array:
    """Whether no coordinate is missing; those of a value that is nan count as there, so that log p is nan."""
    reached = jnp.array(True)
    for each in _draws(draw):
        lost = [jnp.any(_missing(leaf)) for leaf in jax.tree.leaves(value_of(each.coordinates))]
        nowhere = [jnp.any(jnp.isnan(leaf)) for leaf in jax.tree.leaves(each.value)]
        reached = reached & (~jnp.stack(lost).any() | jnp.stack(nowhere).any())
    return reached


def _missing(coordinates: Array) -> Array:
    """Where there are no coordinates: nan, or −1 in whole numbers."""
    whole = jnp.issubdtype(coordinates.dtype, jnp.integer)
    return coordinates < 0 if whole else jnp.isnan(coordinates)


def _same_numbers(draw: Any, charts: Any) -> Array:
    """Whether the charts have the same numbers, as an interval its ends: coordinates then mean the same."""
    pairs = zip(jax.tree.leaves(charts_of(draw)), jax.tree.leaves(charts))
    same = [jnp.all(a == b) for a, b in pairs]
    return jnp.stack(same).all() if same else jnp.array(True)


def _coordinates_or_zero(chosen: Array, draw: Any) -> Any:
    def one(x: Any) -> Any:
        if not is_draw(x):
            return x
        inner = jax.tree.map(lambda c: jnp.where(chosen, c, 0), _coordinates(x))
        return _with_coordinates(x, inner)

    return jax.tree.map(one, draw, is_leaf=is_draw)


def _inner_or_value(chosen: Array, draw: Any) -> Any:
    def one(x: Any) -> Any:
        if not is_draw(x):
            return x
        inner = _with_coordinates(x, jnp.zeros_like(_coordinates(x))).value
        return jnp.where(chosen, inner, x.value)

    return jax.tree.map(one, draw, is_leaf=is_draw)


def _coordinates(draw: Draw) -> Any:
    """The coordinates in which everything was made."""
    return _coordinates(draw.coordinates) if is_draw(draw.coordinates) else draw.coordinates


def _with_coordinates(draw: Draw, coordinates: Any) -> Draw:
    """The draw that other innermost coordinates make."""
    inner = coordinates
    if is_draw(draw.coordinates):
        inner = _with_coordinates(draw.coordinates, coordinates)
    value = jnp.asarray(draw.chart.forward(value_of(inner)), jnp.result_type(draw.value))
    return Draw(value, inner, draw.chart)

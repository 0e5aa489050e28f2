"""Every point of a finite support, listed from what the support says and not from what the distribution enumerates.

An oracle that asked a distribution for its points would miss every point that the distribution misses. So nothing of
`dist.enumerate()` is used here, but for supports that say no more than that they are finite; and probabilities have to
sum to 1, whoever listed the points.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import noise as _noise, supports
from logtrick._core import checks
from logtrick._core.kernel import stop
from logtrick.distributions import Distribution, value_of
from logtrick.testing._nodes import digits

Array = jax.Array
_POINTS = 2**20


def draw_form(dist: Distribution) -> Any:
    """The shapes and dtypes of a draw, a pytree of `jax.ShapeDtypeStruct`."""
    return jax.eval_shape(lambda: value_of(dist.draw(_noise.example(dist.noise_spec))))


def atoms(where: str, dist: Distribution) -> Any:
    """Every point of the finite support of `dist`, stacked, in the form of its draws."""
    leaves, tree = jax.tree.flatten(draw_form(dist))
    listed = _points(where, dist.support, leaves)
    if listed is None:
        return dist.enumerate()
    return tree.unflatten([jnp.asarray(rows, leaf.dtype) for rows, leaf in zip(listed, leaves)])


def weighted_atoms(where: str, dist: Distribution) -> tuple[Any, Array, Array]:
    """The points, their log-probs, and 1; nan in place of 1 where traced probabilities do not sum to 1.

    Raises:
      ValueError: known probabilities do not sum to 1.
    """
    points = atoms(where, dist)
    log_p = jax.vmap(dist.log_prob)(points)
    total = stop(jnp.sum(jnp.exp(log_p)))
    legal = jnp.abs(total - 1) <= jnp.finfo(log_p.dtype).eps ** 0.5
    known = checks.concrete(total)
    if known is not None and not bool(legal) and not np.isnan(known):
        raise ValueError(
            f"{where}: the probabilities of the {len(log_p)} points in the support of {type(dist).__name__}, "
            f"{dist.support!r}, sum to {float(known):.6g}, not to 1. Mend its support or its log-prob."
        )
    return points, log_p, jnp.where(legal, 1.0, jnp.nan).astype(log_p.dtype)


def _points(where: str, support: Any, leaves: list[Any]) -> list[np.ndarray] | None:
    """For each leaf of a draw the stack of its values; None where the support does not say what they are."""
    if isinstance(support, supports.Product):
        return _of_parts(where, support, leaves)
    if isinstance(support, supports.OneHot):
        rows = [leaf.shape[:-1] for leaf in leaves]
        return [np.eye(support.size)[index] for index in _entries(where, support.size, rows)]
    if isinstance(support, supports.Boolean | supports.IntegerBelow):
        size = support.size if isinstance(support, supports.IntegerBelow) else 2
        return _entries(where, size, [leaf.shape for leaf in leaves])
    if isinstance(support, supports.Permutation):
        length = support.size if support.length is None else support.length
        _check_count(where, math.perm(support.size, length))
        return [np.array(list(itertools.permutations(range(support.size), length)))]
    return None


def _entries(where: str, size: int, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """Whole numbers below `size` in every entry of every leaf, in all combinations."""
    counts = [math.prod(shape) for shape in shapes]
    _check_count(where, size ** sum(counts))
    parts = np.split(digits(size, sum(counts)), np.cumsum(counts)[:-1], axis=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes)]


def _of_parts(where: str, support: Any, leaves: list[Any]) -> list[np.ndarray] | None:
    """Every combination of the points of the parts of a product, each of which has its own leaves."""
    counts = [_leaf_count(part) for part in support.parts]
    if sum(counts) != len(leaves):
        return None
    ends = list(itertools.accumulate(counts))
    each = [
        _points(where, part, leaves[end - count : end])
        for part, count, end in zip(support.parts, counts, ends)
    ]
    listed = [points for points in each if points is not None]
    if len(listed) < len(each):
        return None
    lengths = [len(points[0]) for points in listed]
    _check_count(where, math.prod(lengths))
    chosen = np.unravel_index(np.arange(math.prod(lengths)), lengths)
    return [rows[index] for points, index in zip(listed, chosen) for rows in points]


def _leaf_count(support: Any) -> int:
    if isinstance(support, supports.Product):
        return sum(_leaf_count(part) for part in support.parts)
    return 1


def _check_count(where: str, count: int) -> None:
    if count > _POINTS:
        raise ValueError(
            f"{where}: the support has {count} points; at most {_POINTS} are summed. Use fewer dimensions."
        )

"""Points and log-weights that stand for a distribution: the whole of a finite support, or quadrature nodes of its noise."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import noise as _noise
from logtrick.distributions import Distribution

Array = jax.Array


def digits(base: int, size: int) -> np.ndarray:
    """Every row of `size` whole numbers below `base`, (base ** size, size): the digits of 0, 1, 2, …."""
    place = base ** np.arange(size - 1, -1, -1, dtype=np.int64)
    return np.arange(base**size)[:, None] // place[None] % base


def normal_rule(size: int, order: int | None, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Hermite for `size` independent standard normals: (count, size) nodes and the logs of their weights.

    Exact for polynomials of degree 2 · order − 1 in each.
    """
    fitting = int(limit ** (1 / max(size, 1)) + 1e-9)
    order = min(64, fitting) if order is None else order
    if order < 8 or order > fitting:
        raise ValueError(
            f"quadrature with {order} nodes in each of {size} dimensions needs 8 or more of them and at most {limit} points "
            "in all. Use fewer dimensions or samples."
        )
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    index = digits(order, size)
    return nodes[index], np.log(weights / math.sqrt(2 * math.pi))[index].sum(1)


def cell_rule(breaks: list[Any], order: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre in every cell between the breaks of every coordinate of [0, 1)ᵈ: (count, d) and log-weights."""
    unit, weights = np.polynomial.legendre.leggauss(order)
    points, logs = np.zeros((1, 0)), np.zeros(1)
    for edges in breaks:
        cuts = np.unique([0.0, *np.clip(np.ravel(edges), 0.0, 1.0), 1.0])
        low, width = cuts[:-1, None], np.diff(cuts)[:, None]
        x, w = (low + width * (unit + 1) / 2).ravel(), (width * weights / 2).ravel()
        points = np.concatenate([np.repeat(points, len(x), 0), np.tile(x, len(points))[:, None]], 1)
        logs = np.repeat(logs, len(x)) + np.tile(np.log(w), len(logs))
    return points, logs


def leaves_of(spec: Any) -> list[Any]:
    return jax.tree.leaves(spec, is_leaf=_noise.is_noise)


def is_normal(dist: Distribution) -> bool:
    """Whether all of its noise is standard normal."""
    leaves = leaves_of(dist.noise_spec)
    return bool(leaves) and all(isinstance(leaf, _noise.StandardNormal) for leaf in leaves)


def spread(spec: Any, flat: np.ndarray) -> Any:
    """Columns of `flat` (count, size), in the shapes and dtypes of the noise `spec`."""
    leaves, tree = jax.tree.flatten(spec, is_leaf=_noise.is_noise)
    out, at = [], 0
    for leaf in leaves:
        size = math.prod(leaf.shape)
        out.append(jnp.asarray(flat[:, at : at + size].reshape(len(flat), *leaf.shape), leaf.dtype))
        at += size
    return tree.unflatten(out)


def size_of(spec: Any) -> int:
    return sum(math.prod(leaf.shape) for leaf in leaves_of(spec))


def unsupported(where: str, dist: Distribution) -> ValueError:
    name = type(dist).__name__.lstrip("_")
    return ValueError(
        f"{where} needs a finite support or standard-normal noise; {name} has neither. Use lt.testing.assert_unbiased on draws."
    )

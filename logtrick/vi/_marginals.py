"""Means and variances of variables whose unconstrained coordinates are normal."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.supports import Interval, Positive, Real, UnitInterval
from logtrick.vi._guide import Guide, moments_of

Array = jax.Array
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(64)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def normal_marginals(q: Guide, loc: Array, scale: Array) -> tuple[Any, Any]:
    """Mean and variance of every variable, from the marginals N(loc, scale²) of the flat vector.

    Closed forms for real and positive (log-normal) variables, Gauss–Hermite for intervals, draws by a fixed key for
    variables whose entries depend on each other (simplex, ordered, Cholesky factors).
    """
    layout = q.layout
    locs, scales = layout.parts(loc), layout.parts(scale)
    drawn = None
    means, variances = [], []
    for i, v in enumerate(layout.variables):
        if isinstance(v.support, Real):
            mean, variance = locs[i], scales[i] ** 2
        elif isinstance(v.support, Positive):
            mean = jnp.exp(locs[i] + scales[i] ** 2 / 2)
            variance = mean**2 * jnp.expm1(scales[i] ** 2)
        elif isinstance(v.support, Interval | UnitInterval):
            mean, variance = _quadrature(v.bijector.forward, locs[i], scales[i])
        else:
            drawn = moments_of(q) if drawn is None else drawn
            mean, variance = (layout.tree.flatten_up_to(moment)[i] for moment in drawn)
        means.append(mean.reshape(v.shape))
        variances.append(variance.reshape(v.shape))
    return layout.tree.unflatten(means), layout.tree.unflatten(variances)


def _quadrature(forward: Any, loc: Array, scale: Array) -> tuple[Array, Array]:
    at = jax.vmap(lambda node: forward(loc + scale * node))(jnp.asarray(_NODES, loc.dtype))
    weights = jnp.asarray(_WEIGHTS, loc.dtype)
    mean = jnp.tensordot(weights, at, 1)
    return mean, jnp.tensordot(weights, (at - mean[None]) ** 2, 1)

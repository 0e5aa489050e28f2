"""Pareto smoothed importance sampling: smoothed weights and k-hat."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

Array = jax.Array

# A weakly informative prior on k, worth ten draws at k = ½ (Vehtari et al. 2024, appendix C).
_PRIOR_DRAWS, _PRIOR_K = 10, 0.5
# log weights that differ by no more than this many units of rounding are equal: the fit is exact.
_ROUNDING = 64


class Smoothed(NamedTuple):
    """Importance weights after smoothing.

    Attributes:
      log_weights: normalized, shape (n,): their exponentials sum to 1.
      khat: the shape parameter of the weights' tail; −inf where all weights are equal to rounding, or the tail has so few
        different values that it is bounded (discrete draws); +inf where there are too few draws for a tail or no finite weight.
      khat_interval: a 95 % interval from the standard error (1 + k) / √(tail length) of a generalized Pareto fit.
      ess: the effective sample size (Σw)² / Σw² of the smoothed weights.
    """

    log_weights: Array
    khat: Array
    khat_interval: tuple[Array, Array]
    ess: Array


def tail_length(num_draws: int) -> int:
    """How many of the largest weights are the tail: min(n/5, 3 √n), rounded down."""
    return math.floor(min(num_draws / 5, 3 * math.sqrt(num_draws)))


@jax.jit
def psis(log_weights: Array, resolution: Array | float = 0.0) -> Smoothed:
    """Smooth the largest importance weights by a generalized Pareto distribution, and estimate its shape k̂.

    The M = min(n/5, 3√n) largest weights are replaced by the quantiles at (i − ½)/M of the distribution fitted to them,
    none larger than the largest raw weight. With k̂ < ½ the weights have a finite variance; above .7 estimates from them
    are not to be relied on.

    Args:
      log_weights: log p − log q of independent draws of q, shape (n,), up to a constant. −inf and nan count as weight 0.
      resolution: differences between log weights that are rounding; weights that differ by no more are equal.
    Returns:
      A `Smoothed`.
    References:
      Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling"; Zhang & Stephens (2009), "A New and
      Efficient Estimation Method for the Generalized Pareto Distribution".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick.vi._psis import psis
      >>> u = (jnp.arange(4096) + 0.5) / 4096
      >>> heavy = psis(-0.6 * jnp.log(u))                         # Pareto weights with k = 0.6
      >>> round(float(heavy.khat), 1), float(psis(jnp.zeros(4096)).khat)
      (0.6, -inf)
    """
    count = log_weights.shape[0]
    tail = tail_length(count)
    raw = jnp.where(jnp.isnan(log_weights), -jnp.inf, log_weights)
    largest = jnp.max(raw)
    shifted = jnp.where(jnp.isfinite(largest), raw - largest, -jnp.inf)
    if tail < 5:
        normal = shifted - logsumexp(shifted)
        infinity = jnp.full((), jnp.inf, raw.dtype)
        return Smoothed(normal, infinity, (infinity, infinity), _ess(normal))
    order = jnp.argsort(shifted)
    ordered = jnp.exp(shifted[order])
    cutoff = ordered[count - tail - 1]
    excess = ordered[count - tail :] - cutoff
    shape, scale = _generalized_pareto(excess)
    at = (jnp.arange(tail, dtype=raw.dtype) + 0.5) / tail
    smooth = jnp.minimum(cutoff + _quantile(at, shape, scale), ordered[-1])
    smooth = jnp.where(jnp.isfinite(shape) & (scale > 0), smooth, ordered[count - tail :])
    replaced = shifted[order].at[count - tail :].set(jnp.log(smooth))
    smoothed = jnp.zeros_like(shifted).at[order].set(replaced)
    normal = smoothed - logsumexp(smoothed)
    shape = jnp.where(_few_values(ordered[count - tail :]), -jnp.inf, shape)
    shape = _limits(shape, raw, largest, resolution)
    error = jnp.where(jnp.isfinite(shape), 1.96 * (1 + shape) / math.sqrt(tail), 0.0)
    return Smoothed(normal, shape, (shape - error, shape + error), _ess(normal))


def _limits(shape: Array, raw: Array, largest: Array, resolution: Array | float) -> Array:
    """k̂ of an exact fit is −inf; of weights that are all 0 or infinite, +inf."""
    rounding = _ROUNDING * jnp.finfo(raw.dtype).eps * jnp.maximum(1.0, jnp.abs(largest))
    exact = largest - jnp.min(raw) <= jnp.maximum(rounding, resolution)
    shape = jnp.where(jnp.isnan(shape), jnp.inf, shape)  # a fit that did not succeed
    shape = jnp.where(exact, -jnp.inf, shape)
    return jnp.where(jnp.isfinite(largest), shape, jnp.inf)


def _few_values(tail: Array) -> Array:
    """Whether fewer than a quarter of an ascending tail's values differ: discrete draws, whose weights are bounded.

    Each value is compared with its neighbor: beside one huge weight all others would be equal to its rounding.
    """
    steps = jnp.diff(tail) > 16 * jnp.finfo(tail.dtype).eps * tail[1:]
    return (jnp.sum(steps) + 1) * 4 < tail.shape[0]


def _generalized_pareto(excess: Array) -> tuple[Array, Array]:
    """Shape and scale fitted to ascending excesses: a posterior mean over a grid of the rate b (Zhang & Stephens 2009)."""
    count = excess.shape[0]
    grid = 30 + int(math.sqrt(count))
    excess = jnp.where(excess[-1] > 0, excess, jnp.ones_like(excess))
    quartile = excess[int(count / 4 + 0.5) - 1]
    tiny = jnp.finfo(excess.dtype).tiny
    steps = 1 - jnp.sqrt(grid / (jnp.arange(1, grid + 1, dtype=excess.dtype) - 0.5))
    rates = steps / (3 * jnp.maximum(quartile, tiny)) + 1 / excess[-1]
    shapes = jnp.mean(jnp.log1p(-rates[:, None] * excess[None, :]), axis=1)
    log_likelihood = count * (jnp.log(-rates / shapes) - shapes - 1)
    log_likelihood = jnp.where(jnp.isnan(log_likelihood), -jnp.inf, log_likelihood)
    weights = jax.nn.softmax(log_likelihood)
    rate = jnp.sum(rates * weights)
    shape = jnp.mean(jnp.log1p(-rate * excess))
    scale = -shape / rate
    return (count * shape + _PRIOR_DRAWS * _PRIOR_K) / (count + _PRIOR_DRAWS), scale


def _quantile(probability: Array, shape: Array, scale: Array) -> Array:
    """Of the generalized Pareto distribution; exponential at shape 0."""
    tail = jnp.log1p(-probability)
    safe = jnp.where(jnp.abs(shape) < 1e-8, 1.0, shape)
    return jnp.where(jnp.abs(shape) < 1e-8, -scale * tail, scale * jnp.expm1(-shape * tail) / safe)


def _ess(normal: Array) -> Array:
    return jnp.exp(-logsumexp(2 * normal))

"""The freeze guard: one huge gradient must not freeze an adaptive optimizer.

Adam divides by the root of a running mean of squared gradients; one gradient of norm 1e8 keeps that mean large, and the
updates near zero, for thousands of steps. So a gradient whose norm is beyond `factor` times the running median of norms is
scaled down to that bound.
"""

import jax
import jax.numpy as jnp

Array = jax.Array

_SEEN = 10  # norms before the median is trusted
_SLOWEST = 0.1  # the least step of the running median, in the norm's logarithm


def start() -> tuple[Array, Array]:
    """The state before any norm was seen."""
    return jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)


def bound(scale: tuple[Array, Array], factor: float) -> Array:
    """The largest norm that passes unchanged."""
    log_median, count = scale
    return jnp.where(count >= _SEEN, factor * jnp.exp(log_median), jnp.inf)


def observe(scale: tuple[Array, Array], norm: Array) -> tuple[Array, Array]:
    """Update the running median of the finite norms that are not zero by `norm`.

    Stochastic approximation of the median of log ‖g‖ (Robbins & Monro 1951): one step towards each norm, of length 1/n at
    the n-th norm and of at least 0.1, so that the median follows a drift by a factor of 1000 within 70 steps.
    """
    log_median, count = scale
    log_norm = jnp.log(norm).astype(jnp.float32)
    seen = count + 1
    rate = jnp.maximum(1.0 / seen, _SLOWEST)
    moved = log_median + rate * jnp.sign(log_norm - log_median)
    usable = jnp.isfinite(log_norm)  # a norm of zero tells nothing about the scale
    log_median = jnp.where(usable, jnp.where(count == 0, log_norm, moved), log_median)
    return log_median, jnp.where(usable, jnp.minimum(seen, 10**6), count)

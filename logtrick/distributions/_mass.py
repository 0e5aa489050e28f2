"""Probabilities themselves, and not their logarithms: their derivative does not vanish where they are 0."""

from typing import Any

import jax.numpy as jnp

from logtrick.distributions._parameters import Array, widened


def probability(dist: Any, x: Any) -> Array:
    """p(x) of one draw of a discrete distribution; its derivative is right also where p(x) = 0, if `slopes_at_zero`.

    Args:
      dist: the distribution.
      x: a value.
    Returns:
      The probability, shape (), in at least float32.
    Example:
      >>> import jax, logtrick as lt
      >>> of_one = lambda p: lt.distributions.probability(lt.Bernoulli(probs=p), 1.0)
      >>> jax.grad(of_one)(0.0).item()
      1.0
    """
    if dist.slopes_at_zero:
        return widened(dist)._prob(x)
    log_p = dist.log_prob(x)
    empty = log_p == -jnp.inf
    return jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_p)))

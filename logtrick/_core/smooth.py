"""Log-sigmoid and softplus whose derivatives are right at every order, at 0 too, wherever they stand.

`jax.nn.softplus` and `log_sigmoid` are custom_jvp functions of max(x, 0) + log1p(exp(−|x|)): at
x = 0 exactly only the custom rule is right, and forward over reverse mode through nested scans
loses it, so that the second derivative there is silently 0 for ¼. Here a select takes one of two
branches that are both analytic at 0, and no rule is needed.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


@jax.jit  # traced once
def log_sigmoid(x: Any) -> Array:
    """log σ(x) = min(x, 0) − log(1 + exp(−|x|)), without overflow."""
    positive = x > 0
    return jnp.where(positive, 0.0, x) - jnp.log1p(jnp.exp(jnp.where(positive, -x, x)))


@jax.jit
def softplus(x: Any) -> Array:
    """log(1 + eˣ) = −log σ(−x)."""
    return -log_sigmoid(-x)


def at_most(x: Array, bound: float) -> Array:
    """min(x, bound), nan where x is. Its derivative is a select; that of `jnp.minimum` shares ties, by a division."""
    return lax.select(x > bound, lax.full_like(x, bound), x)


def at_least(x: Array, bound: float) -> Array:
    """max(x, bound), nan where x is; see `at_most`."""
    return lax.select(x < bound, lax.full_like(x, bound), x)

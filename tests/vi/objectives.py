"""Objectives of a user's own, as one would write them outside of the package."""

import jax
import jax.numpy as jnp

from logtrick import vi
from logtrick._core.module import static


def log_ratio(log_weights):
    """log p/q with p normalized among the draws."""
    return log_weights - (jax.nn.logsumexp(log_weights) - jnp.log(log_weights.size))


class JensenShannon(vi.Objective):
    """The Jensen–Shannon divergence by weights normalized among k draws."""

    k: int = static(default=2)
    maximize = False

    @property
    def num_draws(self):
        return self.k

    def value(self, log_weights):
        log_r = log_ratio(log_weights)
        r = jnp.exp(log_r)
        return 0.5 * jnp.mean(r * log_r - (1 + r) * (jax.nn.softplus(log_r) - jnp.log(2.0)))


class ChiSquare(vi.Objective):
    """The χ² divergence by weights normalized among k draws."""

    k: int = static(default=2)
    maximize = False

    @property
    def num_draws(self):
        return self.k

    def value(self, log_weights):
        return jnp.mean(jnp.exp(2 * log_ratio(log_weights))) - 1


class ForwardKL(vi.Objective):
    """E_q[w log w] of one draw, right where log p is normalized."""

    maximize = False

    def value(self, log_weights):
        return jnp.exp(log_weights[0]) * log_weights[0]


class NormalizedChiSquare(vi.Objective):
    """E_q[w²] − 1 of one draw, right where log p is normalized."""

    maximize = False

    def value(self, log_weights):
        return jnp.exp(2 * log_weights[0]) - 1

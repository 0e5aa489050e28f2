"""Independent Bernoullis, by logits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.smooth import log_sigmoid, softplus
from logtrick.distributions._base import Factorized
from logtrick.distributions._links import Sigmoid
from logtrick.distributions._parameters import Array, finite, parameters, where_inside, wide
from logtrick.noise import Uniform
from logtrick.supports import Boolean, Support, grid


class Bernoulli(Factorized):
    """Independent Bernoullis, P(x = 1) = σ(logits) in every coordinate.

    Draws are 0. and 1. in the dtype of the logits.

    Args:
      logits: log odds, finite, any shape; no overflow at |logit| = 1e3.
    Raises:
      ValueError: a concrete logit is not finite. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Bernoulli(0.0).log_prob(1.0).item(), 4)          # log ½
      -0.6931
    """

    logits: Any
    provides = frozenset({"mean", "variance", "entropy", "kl_divergence", "cdf", "inverse_cdf"})
    weak_parameters = ("logits",)
    link = Sigmoid()

    def __post_init__(self) -> None:
        parameters(self, logits=self.logits)
        finite(self, "logits")

    @property
    def support(self) -> Support:
        return Boolean()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.logits.shape, wide(self.logits.dtype))

    def _transform(self, noise: Array) -> Array:
        return (noise < jax.nn.sigmoid(self.logits)).astype(self.logits.dtype)

    def _log_kernel(self, x: Any) -> Array:
        # Linear in x: with x inside the log-sigmoid, or selecting one, XLA recomputes the chain of earlier sites for
        # every consumer, and a chain of 100 sites compiles three times as long.
        x = jnp.asarray(x)
        log_p = x * log_sigmoid(self.logits) + (1 - x) * log_sigmoid(-self.logits)
        return where_inside((x == 0) | (x == 1), log_p)

    def _mean(self) -> Array:
        return jax.nn.sigmoid(self.logits)

    def _variance(self) -> Array:
        return jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits)

    def _entropy(self) -> Array:
        # log(1 + eˡ) − p l, with l of the sign that makes both terms small
        size = jnp.abs(self.logits)
        return jnp.sum(softplus(-size) + size * jax.nn.sigmoid(-size))

    def _kl_divergence(self, other: Any) -> Array:
        l, m = self.logits, other.logits
        one = jax.nn.sigmoid(l) * (log_sigmoid(l) - log_sigmoid(m))
        return jnp.sum(one + jax.nn.sigmoid(-l) * (log_sigmoid(-l) - log_sigmoid(-m)))

    def _cdf(self, x: Any) -> Array:
        return jnp.where(x < 0, 0.0, jnp.where(x < 1, jax.nn.sigmoid(-self.logits), 1.0))

    def _inverse_cdf(self, u: Array) -> Array:
        return (u > jax.nn.sigmoid(-self.logits)).astype(self.logits.dtype)

    def _weak_noise_spec(self, coupled: bool) -> None:
        return None

    def _weak_derivatives(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        one = jnp.ones_like(self.logits)
        return {"logits": (self._variance(), one, jnp.zeros_like(one))}

    def _points(self) -> np.ndarray:
        return grid(np.array([0.0, 1.0]), self.logits.shape, self.logits.dtype)

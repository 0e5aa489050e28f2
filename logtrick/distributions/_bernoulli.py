"""Independent Bernoullis, by logits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.noise import Uniform
from logtrick._core.supports import Boolean, Support, grid
from logtrick.distributions._base import Array, Factorized, finite, parameters, where_inside, wide


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

    def __post_init__(self) -> None:
        parameters(self, logits=self.logits)
        finite(self, "logits")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape

    @property
    def support(self) -> Support:
        return Boolean()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.logits.shape, wide(self.logits.dtype))

    def _transform(self, noise: Array) -> Array:
        return (noise < jax.nn.sigmoid(self.logits)).astype(self.logits.dtype)

    def _log_factors(self, x: Any) -> Array:
        # Linear in x: with x inside the log-sigmoid, or selecting one, XLA recomputes the chain of earlier sites for
        # every consumer, and a chain of 100 sites compiles three times as long.
        x = jnp.asarray(x)
        log_p = x * jax.nn.log_sigmoid(self.logits) + (1 - x) * jax.nn.log_sigmoid(-self.logits)
        return where_inside((x == 0) | (x == 1), log_p)

    def _points(self) -> Array:
        return grid(np.array([0.0, 1.0]), self.logits.shape, self.logits.dtype)

"""The uniform distribution on an interval."""

from typing import Any

import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick.distributions._capabilities import ClosedForms, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._parameters import Array, broadcasting, finite, where_inside
from logtrick.noise import Uniform as UniformNoise, wide
from logtrick.supports import Interval, Support


class Uniform(Factorized):
    """Independent uniforms, p(x) = 1 / (high − low) for low ≤ x ≤ high, in every coordinate.

    Its support moves with both parameters, so the score function refuses their derivative; Pathwise() is legal.

    Args:
      low: lower ends, in the units of x.
      high: upper ends > low; both broadcast to the event.
    Raises:
      ValueError: a concrete end is not finite, or a concrete `high` is not above `low`. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> dist = lt.Uniform(0.0, 4.0)
      >>> round(dist.log_prob(1.0).item(), 4), dist.log_prob(5.0).item()      # −log 4; outside
      (-1.3863, -inf)
    """

    low: Any
    high: Any
    reparameterized = True
    moving_support = ("low", "high")

    def __post_init__(self) -> None:
        broadcasting(self, low=self.low, high=self.high)
        finite(self, "low", "high")
        width = self.high - self.low
        known = checks.require("Uniform", "high - low", width, lambda w: w > 0, "high above low")
        if known is not width:  # traced: nan where it is illegal
            # by a divisor, since the derivative of a `where` would be 0 and not nan
            divisor = jnp.where(jnp.isnan(known), jnp.nan, jnp.ones((), self.high.dtype))
            assign(self, high=self.high / divisor)

    @property
    def support(self) -> Support:
        return Interval(self.low, self.high)

    @property
    def noise_spec(self) -> UniformNoise:
        return UniformNoise(self.event_shape, wide(self.low.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, inverse=self._inverse_cdf, differentiable=True)

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(noise)

    def _log_kernel(self, x: Any) -> Array:
        width = self.high - self.low
        inside = (x >= self.low) & (x <= self.high) | jnp.isnan(width)
        return where_inside(inside, -jnp.log(width))

    def _mean(self) -> Array:
        return (self.low + self.high) / 2

    def _variance(self) -> Array:
        return (self.high - self.low) ** 2 / 12

    def _entropy(self) -> Array:
        return jnp.sum(jnp.log(self.high - self.low))

    def _kl_divergence(self, other: Any) -> Array:
        log_ratio = jnp.log((other.high - other.low) / (self.high - self.low))
        inside = (other.low <= self.low) & (self.high <= other.high)
        return jnp.sum(jnp.where(inside | jnp.isnan(log_ratio), log_ratio, jnp.inf))

    def _cdf(self, x: Any) -> Array:
        return jnp.clip((x - self.low) / (self.high - self.low), 0.0, 1.0)

    def _inverse_cdf(self, u: Array) -> Array:
        return self.low + (self.high - self.low) * u

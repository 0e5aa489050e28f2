"""The gamma distribution and its special case, the exponential."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, xlogy

from logtrick._core.noise import KeyPerRun, Uniform
from logtrick._core.supports import Positive, Support
from logtrick.distributions._base import Array, Factorized, broadcast_shape, parameters, positive, where_inside, wide


class Gamma(Factorized):
    """Independent gammas, p(x) = rateᵃ xᵃ⁻¹ e^(−rate x) / Γ(a), a = concentration, in every coordinate.

    Reparameterised implicitly: dx/da = −∂ₐF(x; a) / p(x; a). Drawn in log space; where a draw underflows to 0 (shapes
    of 1e-3), its log-prob is +inf and the gradient of an estimate is nan, not a wrong number.

    Args:
      concentration: shapes a > 0, dimensionless.
      rate: inverse scales > 0, in units of 1/x; broadcasts with `concentration` to the event.
    Raises:
      ValueError: a concrete parameter is not positive and finite. (Traced ones give nan.)
    References:
      Figurnov, Mohamed & Mnih (2018), "Implicit Reparameterization Gradients".
    Example:
      >>> import logtrick as lt
      >>> round(lt.Gamma(3.0, 2.0).log_prob(1.0).item(), 4)         # log(8/2) − 2
      -0.6137
    """

    concentration: Any
    rate: Any
    reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        parameters(self, concentration=self.concentration, rate=self.rate)
        broadcast_shape(self, self.concentration, self.rate)
        positive(self, "concentration", "rate")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return broadcast_shape(self, self.concentration, self.rate)

    @property
    def support(self) -> Support:
        return Positive()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    def _transform(self, noise: Array) -> Array:
        concentration = jnp.broadcast_to(self.concentration, self.event_shape)
        return jnp.exp(jax.random.loggamma(noise, concentration, dtype=concentration.dtype) - jnp.log(self.rate))

    def _log_factors(self, x: Any) -> Array:
        # Written out: stats.gamma.logpdf takes a scale, and 1/rate loses the smallest and largest rates.
        inside = jnp.asarray(x) >= 0
        scaled = jnp.where(inside, x, 1.0) * self.rate
        log_density = xlogy(self.concentration - 1, scaled) - scaled + jnp.log(self.rate) - gammaln(self.concentration)
        return where_inside(inside, log_density)


class Exponential(Factorized):
    """Independent exponentials, p(x) = rate e^(−rate x) in every coordinate.

    Args:
      rate: inverse means > 0, in units of 1/x, any shape.
    Raises:
      ValueError: a concrete rate is not positive and finite. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Exponential(2.0).log_prob(1.0).item(), 4)        # log 2 − 2
      -1.3069
    """

    rate: Any
    reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        parameters(self, rate=self.rate)
        positive(self, "rate")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.rate.shape

    @property
    def support(self) -> Support:
        return Positive()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.rate.shape, wide(self.rate.dtype))

    def _transform(self, noise: Array) -> Array:
        return -jnp.log1p(-noise) / self.rate

    def _log_factors(self, x: Any) -> Array:
        return where_inside(jnp.asarray(x) >= 0, jnp.log(self.rate) - self.rate * x)

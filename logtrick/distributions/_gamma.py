"""The gamma distribution and its special case, the exponential."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma, polygamma

from logtrick._core.module import replace
from logtrick.bijectors import Exp
from logtrick.distributions._capabilities import ClosedForms, Quantiles
from logtrick.distributions._draw import Draw
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._implicit import implicit_log_gamma
from logtrick.distributions._incomplete import gamma_cdf
from logtrick.distributions._log_densities import gamma_log_density
from logtrick.distributions._parameters import Array, broadcasting, positive, where_inside
from logtrick.distributions._special import gamma_divergence, gamma_entropy
from logtrick.distributions._weak import WeakDerivatives
from logtrick.noise import KeyPerRun, Uniform, wide
from logtrick.supports import Positive, Support


class Gamma(Factorized):
    """Independent gammas, p(x) = rateᵃ xᵃ⁻¹ e^(−rate x) / Γ(a), a = concentration, in every coordinate.

    Reparameterized implicitly: dx/da = −∂ₐF(x; a) / p(x; a). Drawn in log space, and scored there: a draw that underflows
    to 0 (shapes of 1e-3) keeps its finite score.

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
    reparameterized = True
    charts = (Exp(), None)

    def __post_init__(self) -> None:
        broadcasting(self, concentration=self.concentration, rate=self.rate)
        positive(self, "concentration", "rate")

    @property
    def support(self) -> Support:
        return Positive()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(
            self._mean, self._variance, self._entropy, self._kl_divergence, self._standardization
        )

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, differentiable=True)

    @property
    def weak_derivatives(self) -> WeakDerivatives:
        return WeakDerivatives(("rate",), self._weak_noise, self._weak_parts)

    def _transform(self, noise: Array) -> Draw:
        a = jnp.broadcast_to(self.concentration, self.event_shape)
        log_m = jax.random.loggamma(noise, lax.stop_gradient(a), dtype=a.dtype)
        log_x = implicit_log_gamma(log_m, a) - jnp.log(self.rate)
        return Draw(jnp.exp(log_x), log_x, Exp())

    def _log_kernel(self, x: Any) -> Array:
        # Not stats.gamma.logpdf: it takes a scale, and 1/rate loses the smallest and largest rates; it loses all digits for
        # concentrations of 1e7, too.
        inside = jnp.asarray(x) >= 0
        x = jnp.where(inside, x, 1.0)
        log_rate = jnp.log(self.rate)
        log_m = jnp.log(x) + log_rate
        log_p = gamma_log_density(self.concentration, x * self.rate, log_m) + log_rate
        return where_inside(inside, log_p)

    def _log_kernel_at(self, coordinates: Any) -> Array:
        log_rate = jnp.log(self.rate)
        log_m = coordinates + log_rate
        return gamma_log_density(self.concentration, jnp.exp(log_m), log_m) + log_rate

    def _mean(self) -> Array:
        return self.concentration / self.rate

    def _variance(self) -> Array:
        return self.concentration / self.rate**2

    def _standardization(self) -> tuple[Array, Array]:
        deviation = jnp.sqrt(polygamma(1, self.concentration))
        return digamma(self.concentration) - jnp.log(self.rate), deviation

    def _entropy(self) -> Array:
        return jnp.sum(gamma_entropy(self.concentration) - jnp.log(self.rate))

    def _kl_divergence(self, other: Any) -> Array:
        ratio = other.rate / self.rate
        return jnp.sum(gamma_divergence(self.concentration, other.concentration, ratio))

    def _cdf(self, x: Any) -> Array:
        return gamma_cdf(self.concentration, jnp.maximum(x, 0.0) * self.rate)

    def _weak_noise(self, coupled: bool) -> Any:
        return Uniform(self.event_shape, wide(self.rate.dtype)) if coupled else KeyPerRun()

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        # d/drate E f = (a / rate) E[f(x) − f(x⁻)], x⁻ ~ Gamma(a + 1, rate), which x + Exponential(rate) is
        coefficient = jnp.broadcast_to(self.concentration / self.rate, self.event_shape)
        if coupled:
            minus = x - jnp.log1p(-noise) / self.rate
        else:
            minus = replace(self, concentration=self.concentration + 1)._transform(noise).value
        return {"rate": (coefficient, None, minus)}


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
    reparameterized = True

    def __post_init__(self) -> None:
        broadcasting(self, rate=self.rate)
        positive(self, "rate")

    @property
    def support(self) -> Support:
        return Positive()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.rate.shape, wide(self.rate.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, inverse=self._inverse_cdf, differentiable=True)

    @property
    def weak_derivatives(self) -> WeakDerivatives:
        return WeakDerivatives(("rate",), self._weak_noise, self._weak_parts)

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(noise)

    def _log_kernel(self, x: Any) -> Array:
        return where_inside(jnp.asarray(x) >= 0, jnp.log(self.rate) - self.rate * x)

    def _mean(self) -> Array:
        return 1 / self.rate

    def _variance(self) -> Array:
        return 1 / self.rate**2

    def _entropy(self) -> Array:
        return jnp.sum(1 - jnp.log(self.rate))

    def _kl_divergence(self, other: Any) -> Array:
        ratio = other.rate / self.rate
        return jnp.sum(ratio - 1 - jnp.log(ratio))

    def _cdf(self, x: Any) -> Array:
        return -jnp.expm1(-self.rate * jnp.maximum(x, 0.0))

    def _inverse_cdf(self, u: Array) -> Array:
        return -jnp.log1p(-u) / self.rate

    def _weak_noise(self, coupled: bool) -> Any:
        spec = Uniform(self.event_shape, wide(self.rate.dtype))
        return {"second": spec} if coupled else {"first": spec, "second": spec}

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        # d/drate E f = (1 / rate) E[f(x) − f(x⁻)], x⁻ ~ Gamma(2, rate), the sum of two exponentials
        first = x if coupled else self._inverse_cdf(noise["first"])
        return {"rate": (1 / self.rate, None, first + self._inverse_cdf(noise["second"]))}

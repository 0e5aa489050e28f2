"""The Poisson distribution."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick.distributions._capabilities import ClosedForms, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._incomplete import poisson_cdf
from logtrick.distributions._log_densities import poisson_log_density
from logtrick.distributions._parameters import Array, broadcasting, is_count, where_inside
from logtrick.distributions._special import deviance
from logtrick.distributions._weak import WeakDerivatives
from logtrick.noise import KeyPerRun
from logtrick.supports import NonNegativeInteger, Support


class Poisson(Factorized):
    """Independent Poissons, P(x) = rateˣ e^(−rate) / x! in every coordinate.

    Draws are whole numbers in the dtype of the rate. The sampler rejects, so the noise is one key per sample.

    Args:
      rate: mean counts, 0 ≤ rate < 2³⁰, any shape; 0 is the point mass at 0.
    Raises:
      ValueError: a concrete rate is out of range. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Poisson(2.0).log_prob(1.0).item(), 4)            # log 2 − 2
      -1.3069
    """

    rate: Any
    draws_nan = True

    def __post_init__(self) -> None:
        broadcasting(self, rate=self.rate)
        legal = lambda r: (r >= 0) & (r / 2.0**15 < 2.0**15)  # a float16 holds 2**15, not 2**30
        assign(
            self,
            rate=checks.require("Poisson", "rate", self.rate, legal, "numbers between 0 and 2**30"),
        )

    @property
    def support(self) -> Support:
        return NonNegativeInteger()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, kl_divergence=self._kl_divergence)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf)

    @property
    def weak_derivatives(self) -> WeakDerivatives:
        return WeakDerivatives(("rate",), self._weak_noise, self._weak_parts)

    def _transform(self, noise: Array) -> Array:
        counts = jax.random.poisson(noise, self.rate).astype(self.rate.dtype)
        return jnp.where(counts >= 0, counts, jnp.nan)  # jax.random.poisson(nan) is -1

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x, self.rate.dtype)
        inside = is_count(x)
        none = self.rate == 0
        rate = jnp.where(none, 1.0, self.rate)
        # Not stats.poisson.logpmf: its terms, x log rate of 1e7 say, leave an error of a nat in float32.
        log_p = poisson_log_density(jnp.where(inside, x, 0.0), rate)
        return where_inside(inside & ~(none & (x > 0)), jnp.where(none, -self.rate, log_p))

    def _mean(self) -> Array:
        return self.rate

    def _variance(self) -> Array:
        return self.rate

    def _kl_divergence(self, other: Any) -> Array:
        none = self.rate == 0
        rate = jnp.where(none, 1.0, self.rate)
        per = deviance(rate, other.rate, jnp.log(rate) - jnp.log(other.rate))
        return jnp.sum(jnp.where(none, other.rate, per))

    def _cdf(self, x: Any) -> Array:
        none = self.rate == 0
        below = poisson_cdf(x, jnp.where(none, 1.0, self.rate))
        return jnp.where(none, jnp.where(jnp.asarray(x) >= 0, 1.0, 0.0), below)

    def _weak_noise(self, coupled: bool) -> KeyPerRun | None:
        return None if coupled else KeyPerRun()

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        # d/drate E f(x) = E[f(x + 1) − f(x)]
        one = jnp.ones_like(self.rate)
        return {"rate": (one, x + 1, None) if coupled else (one, self._transform(noise) + 1, None)}

"""Student's t."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick.distributions._capabilities import ClosedForms, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._implicit import implicit_logit
from logtrick.distributions._incomplete import beta_cdf
from logtrick.distributions._location_scale import log_one_plus_square
from logtrick.distributions._parameters import Array, broadcasting, finite, positive, standardized
from logtrick.distributions._special import digamma_difference, log_beta
from logtrick.noise import KeyPerRun
from logtrick.supports import Real, Support


class StudentT(Factorized):
    """Independent Student's t variates, p(x) ∝ (1 + z²/df)^(−(df + 1)/2), z = (x − loc) / scale, in every coordinate.

    Reparameterized; in `df` implicitly, dx/ddf = −∂F/p, to first order: z²/(df + z²) ~ Beta(½, df/2).

    Args:
      df: degrees of freedom > 0.
      loc: medians, in the units of x.
      scale: scales > 0, in the units of x; all three broadcast to the event.
    Raises:
      ValueError: a concrete parameter is not finite, or a concrete df or scale is not positive. (Traced ones give nan.)
    References:
      Figurnov, Mohamed & Mnih (2018), "Implicit Reparameterization Gradients".
    Example:
      >>> import logtrick as lt
      >>> round(lt.StudentT(1.0, 0.0, 1.0).log_prob(1.0).item(), 4) # Cauchy: −log 2π
      -1.8379
    """

    df: Any
    loc: Any = 0.0
    scale: Any = 1.0
    reparameterized = True

    def __post_init__(self) -> None:
        broadcasting(self, df=self.df, loc=self.loc, scale=self.scale)
        finite(self, "loc")
        positive(self, "df", "scale")

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(mean=self._mean, variance=self._variance, entropy=self._entropy)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf)

    def _transform(self, noise: Array) -> Array:
        key_normal, key_gamma = jax.random.split(noise)
        half = jnp.broadcast_to(self.df / 2, self.event_shape)
        normal = jax.random.normal(key_normal, half.shape, half.dtype)
        log_square = jnp.log(jnp.maximum(normal**2, jnp.finfo(half.dtype).tiny) / 2)
        logit = log_square - jax.random.loggamma(
            key_gamma, lax.stop_gradient(half), dtype=half.dtype
        )
        size = jnp.exp(implicit_logit(logit, jnp.full_like(half, 0.5), half) / 2)
        return self.loc + self.scale * jnp.sqrt(self.df) * jnp.sign(normal) * size

    def _log_kernel(self, x: Any) -> Array:
        # stats.t.logpdf squares z.
        z = standardized(x, self.loc, self.scale * jnp.sqrt(self.df))
        return -(self.df + 1) / 2 * log_one_plus_square(z)

    def _log_normalizer(self) -> Array:
        # stats.t.logpdf subtracts two log-gammas, which loses all digits for a large df.
        return log_beta(0.5, self.df / 2) + jnp.log(self.df) / 2 + jnp.log(self.scale)

    def _mean(self) -> Array:
        return jnp.broadcast_to(jnp.where(self.df > 1, self.loc, jnp.nan), self.event_shape)

    def _variance(self) -> Array:
        finite = self.scale**2 * self.df / jnp.where(self.df > 2, self.df - 2, 1.0)
        tail = jnp.where(self.df > 1, jnp.inf, jnp.nan)
        return jnp.broadcast_to(jnp.where(self.df > 2, finite, tail), self.event_shape)

    def _entropy(self) -> Array:
        half = (self.df + 1) / 2
        per = half * (digamma_difference(self.df / 2, 0.5)) + log_beta(0.5, self.df / 2)
        return jnp.sum(
            jnp.broadcast_to(per + jnp.log(self.df) / 2 + jnp.log(self.scale), self.event_shape)
        )

    def _cdf(self, x: Any) -> Array:
        # df/(df + z²) ~ Beta(df/2, ½)
        z = standardized(x, self.loc, self.scale * jnp.sqrt(self.df))
        away = jnp.where(z == 0, 1.0, jnp.abs(z))
        log_x = -log_one_plus_square(away)
        tail = 0.5 * beta_cdf(self.df / 2, 0.5, log_x, 2 * jnp.log(away) + log_x)
        tail = jnp.where(z == 0, 0.5, tail)
        return jnp.where(z < 0, tail, 1 - tail)

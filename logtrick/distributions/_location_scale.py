"""Laplace, Cauchy and Student's t: a location, a scale, heavier tails than the normal."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import betainc

from logtrick.distributions._base import Factorized
from logtrick.distributions._implicit import implicit_logit
from logtrick.distributions._parameters import (
    Array,
    broadcasting,
    finite,
    positive,
    standardized,
    wide,
)
from logtrick.distributions._special import digamma_difference, log_beta
from logtrick.noise import KeyPerRun, Uniform, interior
from logtrick.supports import Real, Support


class Laplace(Factorized):
    """Independent Laplace variates, p(x) = exp(−|x − loc| / scale) / (2 scale) in every coordinate.

    Args:
      loc: medians, in the units of x.
      scale: mean absolute deviations > 0, in the units of x; broadcasts with `loc` to the event.
    Raises:
      ValueError: a concrete parameter is not finite, or a concrete scale is not positive. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Laplace(0.0, 2.0).log_prob(1.0).item(), 4)       # −½ − log 4
      -1.8863
    """

    loc: Any
    scale: Any
    reparameterized = True
    provides = frozenset(
        {"mean", "variance", "entropy", "kl_divergence", "cdf", "cdf_derivative", "inverse_cdf"}
    )

    def __post_init__(self) -> None:
        broadcasting(self, loc=self.loc, scale=self.scale)
        finite(self, "loc")
        positive(self, "scale")

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.event_shape, wide(self.loc.dtype))

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(interior(noise))

    def _log_kernel(self, x: Any) -> Array:
        return -jnp.abs(standardized(x, self.loc, self.scale))

    def _log_normalizer(self) -> Array:
        return jnp.log(self.scale) + math.log(2)

    def _mean(self) -> Array:
        return jnp.broadcast_to(self.loc, self.event_shape)

    def _variance(self) -> Array:
        return jnp.broadcast_to(2 * self.scale**2, self.event_shape)

    def _entropy(self) -> Array:
        return jnp.sum(jnp.broadcast_to(1 + jnp.log(2 * self.scale), self.event_shape))

    def _kl_divergence(self, other: Any) -> Array:
        ratio, shift = self.scale / other.scale, jnp.abs(self.loc - other.loc)
        return jnp.sum(
            ratio * jnp.exp(-shift / self.scale) + shift / other.scale - 1 - jnp.log(ratio)
        )

    def _cdf(self, x: Any) -> Array:
        z = standardized(x, self.loc, self.scale)
        tail = 0.5 * jnp.exp(-jnp.abs(z))
        return jnp.where(z < 0, tail, 1 - tail)

    def _inverse_cdf(self, u: Array) -> Array:
        tail = jnp.log(2 * jnp.minimum(u, 1 - u))
        return self.loc + self.scale * jnp.where(u < 0.5, tail, -tail)


class Cauchy(Factorized):
    """Independent Cauchy variates, p(x) = 1 / (π scale (1 + z²)), z = (x − loc) / scale, in every coordinate.

    It has no mean: use it for what is bounded, or through its log-prob.

    Args:
      loc: medians, in the units of x.
      scale: half widths at half maximum > 0, in the units of x; broadcasts with `loc` to the event.
    Raises:
      ValueError: a concrete parameter is not finite, or a concrete scale is not positive. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Cauchy(0.0, 1.0).log_prob(1.0).item(), 4)        # −log 2π
      -1.8379
    """

    loc: Any
    scale: Any
    reparameterized = True
    provides = frozenset({"entropy", "kl_divergence", "cdf", "cdf_derivative", "inverse_cdf"})

    def __post_init__(self) -> None:
        broadcasting(self, loc=self.loc, scale=self.scale)
        finite(self, "loc")
        positive(self, "scale")

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.event_shape, wide(self.loc.dtype))

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(interior(noise))

    def _log_kernel(self, x: Any) -> Array:
        # stats.cauchy.logpdf squares z, which overflows in its own tails.
        return -_log_one_plus_square(standardized(x, self.loc, self.scale))

    def _log_normalizer(self) -> Array:
        return jnp.log(self.scale) + math.log(math.pi)

    def _entropy(self) -> Array:
        return jnp.sum(jnp.broadcast_to(jnp.log(4 * jnp.pi * self.scale), self.event_shape))

    def _kl_divergence(self, other: Any) -> Array:
        total, shift = self.scale + other.scale, self.loc - other.loc
        return jnp.sum(jnp.log((total**2 + shift**2) / (4 * self.scale * other.scale)))

    def _cdf(self, x: Any) -> Array:
        return (
            jnp.arctan2(jnp.ones(self.event_shape, self.loc.dtype), (self.loc - x) / self.scale)
            / jnp.pi
        )

    def _inverse_cdf(self, u: Array) -> Array:
        # tan(π (u − ½)) = −1 / tan(π u): π u is exact near the end, π/2 is not
        cotangent = 1 / jnp.tan(jnp.pi * jnp.minimum(u, 1 - u))
        return self.loc + self.scale * jnp.where(u < 0.5, -cotangent, cotangent)


class StudentT(Factorized):
    """Independent Student's t variates, p(x) ∝ (1 + z²/df)^(−(df + 1)/2), z = (x − loc) / scale, in every coordinate.

    Reparameterised; in `df` implicitly, dx/ddf = −∂F/p, to first order: z²/(df + z²) ~ Beta(½, df/2).

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
    provides = frozenset({"mean", "variance", "entropy", "cdf"})

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
        return -(self.df + 1) / 2 * _log_one_plus_square(z)

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
        z = standardized(x, self.loc, self.scale)
        tail = 0.5 * betainc(self.df / 2, jnp.full_like(self.df, 0.5), self.df / (self.df + z**2))
        return jnp.where(z < 0, tail, 1 - tail)


def _log_one_plus_square(z: Array) -> Array:
    """log(1 + z²) with one logarithm, without squaring a large z: log(1 + z²) is 2 log|z| from 1e9 on."""
    large = jnp.abs(z) > 1e9
    squared = jnp.where(large, 0.0, z) ** 2
    return jnp.where(large, 2.0, 1.0).astype(z.dtype) * jnp.log1p(
        jnp.where(large, jnp.abs(z) - 1, squared)
    )

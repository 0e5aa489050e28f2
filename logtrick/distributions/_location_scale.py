"""Families of a location and a scale: Laplace, Cauchy and Gumbel."""

import abc
import math
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln

from logtrick.distributions._capabilities import ClosedForms, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._parameters import Array, broadcasting, finite, positive, standardized
from logtrick.noise import Noise, Uniform, interior, wide
from logtrick.supports import Real, Support


class LocationScale(Factorized, abstract=True):
    """x = loc + scale z, z of a standard law, in every coordinate; drawn by the quantile function of z.

    Subclasses define `_standard_kernel(z)`, `_standard_quantile(u)` and `_standard_cdf(z)`, and declare the attributes below.

    Attributes:
      standard_log_normalizer: the constant in log p(z) = kernel − constant.
      standard_mean, standard_variance, standard_entropy: of z.
    """

    loc: Any
    scale: Any
    reparameterized = True
    standard_log_normalizer: ClassVar[float]
    standard_mean: ClassVar[float] = 0.0
    standard_variance: ClassVar[float] = 1.0
    standard_entropy: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        broadcasting(self, loc=self.loc, scale=self.scale)
        finite(self, "loc")
        positive(self, "scale")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.loc.shape, self.scale.shape)

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> Noise:
        return Uniform(self.event_shape, wide(self.loc.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(self._cdf, self._inverse_cdf, differentiable=True)

    @abc.abstractmethod
    def _standard_kernel(self, z: Array) -> Array:
        """log p(z) without its constant."""

    @abc.abstractmethod
    def _standard_quantile(self, u: Array) -> Array:
        """The z below which z is with probability u."""

    @abc.abstractmethod
    def _standard_cdf(self, z: Array) -> Array:
        """The distribution function of z."""

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(interior(noise))

    def _log_kernel(self, x: Any) -> Array:
        return self._standard_kernel(standardized(x, self.loc, self.scale))

    def _log_normalizer(self) -> Array:
        return jnp.log(self.scale) + self.standard_log_normalizer

    def _mean(self) -> Array:
        mean = self.loc if self.standard_mean == 0 else self.loc + self.scale * self.standard_mean
        return jnp.broadcast_to(mean, self.event_shape)

    def _variance(self) -> Array:
        return jnp.broadcast_to(self.standard_variance * self.scale**2, self.event_shape)

    def _entropy(self) -> Array:
        log_scale = jnp.broadcast_to(jnp.log(self.scale), self.event_shape)
        return jnp.sum(log_scale + self.standard_entropy)

    def _cdf(self, x: Any) -> Array:
        return self._standard_cdf(standardized(x, self.loc, self.scale))

    def _inverse_cdf(self, u: Array) -> Array:
        return self.loc + self.scale * self._standard_quantile(u)


class Laplace(LocationScale):
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

    standard_log_normalizer = math.log(2)
    standard_variance = 2.0
    standard_entropy = 1 + math.log(2)

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    def _standard_kernel(self, z: Array) -> Array:
        return -jnp.abs(z)

    def _standard_cdf(self, z: Array) -> Array:
        tail = 0.5 * jnp.exp(-jnp.abs(z))
        return jnp.where(z < 0, tail, 1 - tail)

    def _standard_quantile(self, u: Array) -> Array:
        tail = jnp.log(2 * jnp.minimum(u, 1 - u))
        return jnp.where(u < 0.5, tail, -tail)

    def _kl_divergence(self, other: Any) -> Array:
        ratio = self.scale / other.scale
        shift = jnp.abs(self.loc - other.loc)
        return jnp.sum(
            ratio * jnp.exp(-shift / self.scale) + shift / other.scale - 1 - jnp.log(ratio)
        )


class Cauchy(LocationScale):
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

    standard_log_normalizer = math.log(math.pi)
    standard_entropy = math.log(4 * math.pi)

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(entropy=self._entropy, kl_divergence=self._kl_divergence)

    def _standard_kernel(self, z: Array) -> Array:
        # stats.cauchy.logpdf squares z, which overflows in its own tails.
        return -log_one_plus_square(z)

    def _standard_cdf(self, z: Array) -> Array:
        return jnp.arctan2(jnp.ones_like(z), -z) / jnp.pi

    def _standard_quantile(self, u: Array) -> Array:
        # tan(π (u − ½)) = −1 / tan(π u): π u is exact near the end, π/2 is not
        cotangent = 1 / jnp.tan(jnp.pi * jnp.minimum(u, 1 - u))
        return jnp.where(u < 0.5, -cotangent, cotangent)

    def _kl_divergence(self, other: Any) -> Array:
        total = self.scale + other.scale
        shift = self.loc - other.loc
        return jnp.sum(jnp.log((total**2 + shift**2) / (4 * self.scale * other.scale)))


class Gumbel(LocationScale):
    """Independent Gumbels (of maxima), p(x) = exp(−z − e^(−z)) / scale, z = (x − loc) / scale, in every coordinate.

    The argmax of logits + Gumbel noise is a draw from softmax(logits), so that an expectation over Gumbels of a solver's
    result is a perturbed optimizer.

    Args:
      loc: modes, in the units of x; the mean is loc + 0.5772 scale.
      scale: scales > 0, in the units of x; broadcasts with `loc` to the event.
    Raises:
      ValueError: a concrete parameter is not finite, or a concrete scale is not positive. (Traced ones give nan.)
    References:
      Gumbel (1958), "Statistics of Extremes"; Berthet, Blondel, Teboul, Cuturi, Vert & Bach (2020), "Learning with
      Differentiable Perturbed Optimizers".
    Example:
      >>> import logtrick as lt
      >>> round(lt.Gumbel(0.0, 1.0).log_prob(0.0).item(), 4), round(lt.Gumbel(0.0, 1.0).mean().item(), 4)
      (-1.0, 0.5772)
    """

    standard_log_normalizer = 0.0
    standard_mean = float(np.euler_gamma)
    standard_variance = math.pi**2 / 6
    standard_entropy = 1 + float(np.euler_gamma)

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    def _standard_kernel(self, z: Array) -> Array:
        # far below the mode, where no draw is, e^(−z) stops at the largest numbers instead of overflowing
        return -z - jnp.exp(jnp.minimum(-z, 0.95 * math.log(jnp.finfo(z.dtype).max)))

    def _standard_cdf(self, z: Array) -> Array:
        return jnp.exp(-jnp.exp(-z))

    def _standard_quantile(self, u: Array) -> Array:
        return -jnp.log(-jnp.log(u))

    def _kl_divergence(self, other: Any) -> Array:
        ratio = self.scale / other.scale
        shift = (self.loc - other.loc) / other.scale
        moment = jnp.exp(gammaln(1 + ratio) - shift)  # E exp(−(x − loc of the other) / its scale)
        return jnp.sum(shift + (ratio - 1) * np.euler_gamma + moment - 1 - jnp.log(ratio))


def log_one_plus_square(z: Array) -> Array:
    """log(1 + z²) with one logarithm, without squaring a large z: log(1 + z²) is 2 log|z| from 1e9 on."""
    large = jnp.abs(z) > 1e9
    squared = jnp.where(large, 0.0, z) ** 2
    factor = jnp.where(large, 2.0, 1.0).astype(z.dtype)
    return factor * jnp.log1p(jnp.where(large, jnp.abs(z) - 1, squared))

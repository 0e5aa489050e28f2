"""The log-normal distribution."""

from typing import Any

import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from logtrick.bijectors import Exp
from logtrick.distributions._capabilities import ClosedForms, Quantiles
from logtrick.distributions._draw import Draw
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._normal import LOG_ROOT_2PI, divergence_of_normals
from logtrick.distributions._parameters import (
    Array,
    broadcasting,
    finite,
    positive,
    standardized,
    where_inside,
)
from logtrick.noise import StandardNormal, wide
from logtrick.supports import Positive, Support


class LogNormal(Factorized):
    """Independent log-normals: log x ~ N(loc, scale²) in every coordinate.

    Args:
      loc: means of log x.
      scale: standard deviations of log x, > 0; broadcasts with `loc` to the event.
    Raises:
      ValueError: a concrete parameter is not finite, or a concrete scale is not positive. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.LogNormal(0.0, 2.0).log_prob(1.0).item(), 4)     # −log 2 − log √2π
      -1.6121
    """

    loc: Any
    scale: Any
    reparameterized = True
    charts = (Exp(), None)

    def __post_init__(self) -> None:
        broadcasting(self, loc=self.loc, scale=self.scale)
        finite(self, "loc")
        positive(self, "scale")

    @property
    def support(self) -> Support:
        return Positive()

    @property
    def noise_spec(self) -> StandardNormal:
        return StandardNormal(self.event_shape, wide(self.loc.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(
            self._mean, self._variance, self._entropy, self._kl_divergence, self._standardization
        )

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, inverse=self._inverse_cdf, differentiable=True)

    def _transform(self, noise: Array) -> Draw:
        log_x = self.loc + self.scale * noise
        return Draw(jnp.exp(log_x), log_x, Exp())

    def _log_kernel(self, x: Any) -> Array:
        inside = jnp.asarray(x) > 0
        return where_inside(inside, self._log_kernel_at(jnp.log(jnp.where(inside, x, 1.0))))

    def _log_kernel_at(self, coordinates: Any) -> Array:
        z = standardized(coordinates, self.loc, self.scale)
        return -0.5 * z**2 - (jnp.log(self.scale) + LOG_ROOT_2PI) - coordinates

    def _mean(self) -> Array:
        return jnp.exp(self.loc + self.scale**2 / 2)

    def _variance(self) -> Array:
        return jnp.expm1(self.scale**2) * self._mean() ** 2

    def _standardization(self) -> tuple[Array, Array]:
        return self.loc, self.scale

    def _entropy(self) -> Array:
        per = self.loc + jnp.log(self.scale) + (0.5 + 0.5 * jnp.log(2 * jnp.pi))
        return jnp.sum(jnp.broadcast_to(per, self.event_shape))

    def _kl_divergence(self, other: Any) -> Array:
        return divergence_of_normals(self, other)

    def _cdf(self, x: Any) -> Array:
        inside = jnp.asarray(x) > 0
        log_x = jnp.log(jnp.where(inside, x, 1.0))
        return jnp.where(inside, ndtr((log_x - self.loc) / self.scale), 0.0)

    def _inverse_cdf(self, u: Array) -> Array:
        return jnp.exp(self.loc + self.scale * ndtri(u))

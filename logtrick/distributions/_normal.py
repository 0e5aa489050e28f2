"""The normal distribution, factorized and with a full covariance."""

import math
from typing import Any

import jax.numpy as jnp
from jax.scipy import linalg
from jax.scipy.special import ndtr, ndtri

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick.distributions._base import Distribution
from logtrick.distributions._capabilities import ClosedForms
from logtrick.distributions._location_scale import LocationScale
from logtrick.distributions._parameters import Array, finite, parameters
from logtrick.distributions._weak import WeakDerivatives
from logtrick.noise import Noise, StandardNormal, Uniform, wide
from logtrick.supports import Real, Support

LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)


class Normal(LocationScale):
    """Independent normals, N(x; loc, scale²) in every coordinate.

    Args:
      loc: means, in the units of x.
      scale: standard deviations > 0, in the units of x; broadcasts with `loc` to the event.
    Raises:
      ValueError: a concrete parameter is not finite, or a concrete scale is not positive. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Normal(0.0, 2.0).log_prob(1.0).item(), 4)        # −1/8 − log 2 − log √2π
      -1.7371
    """

    standard_log_normalizer = LOG_ROOT_2PI
    standard_entropy = 0.5 + LOG_ROOT_2PI

    @property
    def noise_spec(self) -> Noise:
        return StandardNormal(self.event_shape, wide(self.loc.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(
            self._mean, self._variance, self._entropy, self._kl_divergence, self._standardization
        )

    @property
    def weak_derivatives(self) -> WeakDerivatives:
        return WeakDerivatives(("loc", "scale"), self._weak_noise, self._weak_parts)

    def _transform(self, noise: Array) -> Array:
        return self.loc + self.scale * noise

    def _standard_kernel(self, z: Array) -> Array:
        # Of z: stats.norm.logpdf(x, loc, scale) squares the scale, which over- and underflows.
        return -0.5 * z**2

    def _standard_cdf(self, z: Array) -> Array:
        return ndtr(z)

    def _standard_quantile(self, u: Array) -> Array:
        return ndtri(u)

    def _standardization(self) -> tuple[Array, Array]:
        return self.loc, self.scale

    def _kl_divergence(self, other: Any) -> Array:
        return divergence_of_normals(self, other)

    def _weak_noise(self, coupled: bool) -> dict[str, Any]:
        shape = self.event_shape
        dtype = wide(self.loc.dtype)
        shared = {
            "shared": Uniform(shape, dtype),
            "maxwell": StandardNormal((*shape, 3), dtype),
            "fraction": Uniform(shape, dtype),
        }
        if coupled:
            return shared
        return shared | {"weibull": Uniform(shape, dtype), "normal": StandardNormal(shape, dtype)}

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        # In loc: Weibull(2, √2) above against below. In scale: double-sided Maxwell, z² φ(z), against normal; a uniform
        # fraction of the former is the latter.
        weibull = lambda u: jnp.sqrt(-2 * jnp.log1p(-u))
        above = weibull(noise["shared"])
        below = above if coupled else weibull(noise["weibull"])
        wide_z = jnp.sign(noise["maxwell"][..., 0]) * jnp.linalg.norm(noise["maxwell"], axis=-1)
        z = wide_z * noise["fraction"] if coupled else noise["normal"]
        at = lambda z: self.loc + self.scale * z
        one = jnp.ones(self.event_shape, self.loc.dtype)
        in_loc = (one / (self.scale * math.sqrt(2 * math.pi)), at(above), at(-below))
        return {"loc": in_loc, "scale": (one / self.scale, at(wide_z), at(z))}


def divergence_of_normals(p: Any, q: Any) -> Array:
    """KL(N(p.loc, p.scale²) ‖ N(q.loc, q.scale²)), summed over coordinates; that of their exponentials, too."""
    ratio = p.scale / q.scale
    shift = (p.loc - q.loc) / q.scale
    return jnp.sum(0.5 * (ratio**2 + shift**2 - 1) - jnp.log(ratio))


class MultivariateNormal(Distribution):
    """A normal vector with covariance L Lᵀ.

    Args:
      loc: mean, shape (D,).
      scale_tril: L, shape (D, D), lower triangular with a positive diagonal; what is above the diagonal is not read.
    Raises:
      ValueError: the shapes do not fit, or a concrete mean is not finite, or a concrete diagonal not positive. (Traced ones
        give nan.)
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> round(lt.MultivariateNormal(jnp.zeros(2), 2.0 * jnp.eye(2)).log_prob(jnp.ones(2)).item(), 4)
      -3.4742
    """

    loc: Any
    scale_tril: Any
    reparameterized = True

    def __post_init__(self) -> None:
        parameters(self, loc=self.loc, scale_tril=self.scale_tril)
        shape = self.scale_tril.shape
        if len(shape) != 2 or shape[0] != shape[1] or self.loc.shape != shape[:1]:
            raise ValueError(
                f"MultivariateNormal(loc=…, scale_tril=…) needs shapes (D,) and (D, D); "
                f"got {self.loc.shape} and {shape}."
            )
        finite(self, "loc")
        diagonal = jnp.diagonal(self.scale_tril)
        known = checks.require(
            "MultivariateNormal", "scale_tril", diagonal, lambda d: d > 0, "a positive diagonal"
        )
        if known is not diagonal:  # traced: nan where it is illegal
            # by a divisor, since the derivative of a `where` would be 0 and not nan
            divisor = jnp.where(jnp.isnan(known), jnp.nan, jnp.ones((), known.dtype))
            assign(self, scale_tril=self.scale_tril / divisor[:, None])

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> StandardNormal:
        return StandardNormal(self.loc.shape, wide(self.loc.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    def _transform(self, noise: Array) -> Array:
        return self.loc + jnp.tril(self.scale_tril) @ noise

    def _log_prob(self, x: Any) -> Array:
        whitened = linalg.solve_triangular(self.scale_tril, x - self.loc, lower=True)
        diagonal = jnp.diagonal(self.scale_tril)
        return -0.5 * jnp.sum(whitened**2) - jnp.sum(jnp.log(diagonal) + LOG_ROOT_2PI)

    def _mean(self) -> Array:
        return self.loc

    def _variance(self) -> Array:
        return jnp.sum(jnp.tril(self.scale_tril) ** 2, axis=-1)

    def _entropy(self) -> Array:
        return jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)) + (0.5 + LOG_ROOT_2PI))

    def _kl_divergence(self, other: Any) -> Array:
        whiten = lambda y: linalg.solve_triangular(other.scale_tril, y, lower=True)
        ratio = whiten(jnp.tril(self.scale_tril))
        shift = whiten(self.loc - other.loc)
        trace = jnp.sum(ratio**2) - self.loc.shape[0]
        return 0.5 * (trace + jnp.sum(shift**2)) - jnp.sum(jnp.log(jnp.diagonal(ratio)))

"""The normal distribution, factorised and with a full covariance."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jax.scipy import linalg, stats

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick._core.noise import StandardNormal
from logtrick._core.supports import Real, Support
from logtrick.distributions._base import Array, Distribution, Factorized, broadcast_shape, parameters, positive, wide


class Normal(Factorized):
    """Independent normals, N(x; loc, scale²) in every coordinate.

    Args:
      loc: means, in the units of x.
      scale: standard deviations > 0, in the units of x; broadcasts with `loc` to the event.
    Raises:
      ValueError: a concrete scale is not positive. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Normal(0.0, 2.0).log_prob(1.0).item(), 4)        # −1/8 − log 2 − log √2π
      -1.7371
    """

    loc: Any
    scale: Any
    reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        parameters(self, loc=self.loc, scale=self.scale)
        broadcast_shape(self, self.loc, self.scale)
        positive(self, "scale")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return broadcast_shape(self, self.loc, self.scale)

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> StandardNormal:
        return StandardNormal(self.event_shape, wide(self.loc.dtype))

    def _transform(self, noise: Array) -> Array:
        return self.loc + self.scale * noise

    def _log_factors(self, x: Any) -> Array:
        # Standardised first: stats.norm.logpdf(x, loc, scale) squares the scale, which over- and underflows.
        return stats.norm.logpdf((x - self.loc) / self.scale) - jnp.log(self.scale)


class MultivariateNormal(Distribution):
    """A normal vector with covariance L Lᵀ.

    Args:
      loc: mean, shape (D,).
      scale_tril: L, shape (D, D), lower triangular with a positive diagonal; what is above the diagonal is not read.
    Raises:
      ValueError: the shapes do not fit, or a concrete diagonal is not positive.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> round(lt.MultivariateNormal(jnp.zeros(2), 2.0 * jnp.eye(2)).log_prob(jnp.ones(2)).item(), 4)
      -3.4742
    """

    loc: Any
    scale_tril: Any
    reparameterized: ClassVar[bool] = True

    def __post_init__(self) -> None:
        parameters(self, loc=self.loc, scale_tril=self.scale_tril)
        shape = self.scale_tril.shape
        if len(shape) != 2 or shape[0] != shape[1] or self.loc.shape != shape[:1]:
            raise ValueError(
                f"MultivariateNormal(loc=…, scale_tril=…) needs shapes (D,) and (D, D); "
                f"got {self.loc.shape} and {shape}."
            )
        diagonal = jnp.diagonal(self.scale_tril)
        known = checks.require("MultivariateNormal", "scale_tril", diagonal, lambda d: d > 0, "a positive diagonal")
        if known is not diagonal:  # traced: nan where it is illegal
            assign(self, scale_tril=jnp.where(jnp.isnan(known)[:, None], jnp.nan, self.scale_tril))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> StandardNormal:
        return StandardNormal(self.loc.shape, wide(self.loc.dtype))

    def _transform(self, noise: Array) -> Array:
        return self.loc + jnp.tril(self.scale_tril) @ noise

    def _log_prob(self, x: Any) -> Array:
        whitened = linalg.solve_triangular(self.scale_tril, x - self.loc, lower=True)
        diagonal = jnp.diagonal(self.scale_tril)
        return jnp.sum(stats.norm.logpdf(whitened) - jnp.log(diagonal))

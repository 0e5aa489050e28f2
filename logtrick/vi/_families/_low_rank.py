"""A normal guide with a covariance of low rank plus a diagonal."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import linalg

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick.distributions import Distribution
from logtrick.noise import StandardNormal
from logtrick.supports import Real, Support
from logtrick.vi._families._framed import Framed
from logtrick.vi._families._normal import deviations, independent, start
from logtrick.vi._flat import layout_of
from logtrick.vi._marginals import normal_marginals

Array = jax.Array
_LOG_2PI = math.log(2 * math.pi)


class LowRankNormal(Framed):
    """A normal with covariance D + W Wᵀ in the unconstrained space, W of shape (d, rank): z = T(m + √D ε + W η).

    log q by Woodbury's identity: O(d rank²), nothing of size d × d.

    Args:
      rank: columns of W, at least 1.
      like: a pytree of numbers or arrays in the constrained space: the shapes, and where q starts (as for `MeanFieldNormal`).
      support: a support, or a pytree of supports like `like` in which names may be left out (real).
      scale: standard deviations to start from, shape () or (d,), in the unconstrained space.
    Raises:
      TypeError: variables that are not floats; a rank that is no static int.
      ValueError: names that `like` does not have; shapes that do not fit; a scale that is not positive.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.LowRankNormal(2, like=jnp.zeros(100))
      >>> q.factor.shape, q.log_prob(jnp.zeros(100)).shape
      ((100, 2), ())
    """

    flat_normal = True

    loc: Any
    log_scale: Any
    factor: Any

    def __init__(self, rank: int, like: Any, support: Any = None, *, scale: Any = 1.0) -> None:
        rank = checks.positive_int("LowRankNormal", "rank", rank)
        layout = layout_of("LowRankNormal", like, support)
        zeros = jnp.zeros((layout.dim,), layout.dtype)
        # Not W = 0, where the derivative in W is 0 for a symmetric posterior: small columns of alternating signs.
        index = jnp.arange(layout.dim * rank).reshape(layout.dim, rank)
        assign(
            self,
            layout=layout,
            center=start("LowRankNormal", None, like, layout),
            frame=deviations("LowRankNormal", scale, layout),
            loc=zeros,
            log_scale=zeros,
            factor=(0.1 * jnp.cos(2.4 * index)).astype(layout.dtype),
        )

    @property
    def base(self) -> Distribution:
        return DiagonalPlusLowRank(self.loc, jnp.exp(self.log_scale), self.factor)

    def covariance(self) -> Array:
        """The covariance of the flat unconstrained vector, shape (d, d)."""
        rows = self.frame[:, None] * self.factor
        return jnp.diag((self.frame * jnp.exp(self.log_scale)) ** 2) + rows @ rows.T

    def at_normal(self, mean: Any, scale: Any) -> "Framed":
        return super().at_normal(mean, independent(scale))

    def normal(self) -> tuple[Array, Array]:
        variance = jnp.exp(2 * self.log_scale) + jnp.sum(self.factor**2, axis=1)
        return self.center + self.frame * self.loc, jnp.abs(self.frame) * jnp.sqrt(variance)

    def _mean(self) -> Any:
        return normal_marginals(self, *self.normal())[0]

    def _variance(self) -> Any:
        return normal_marginals(self, *self.normal())[1]


class DiagonalPlusLowRank(Distribution):
    """N(loc, diag(scale²) + W Wᵀ) of a vector."""

    loc: Any
    scale: Any
    factor: Any

    @property
    def reparameterized(self) -> bool:
        return True

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.loc.shape

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> StandardNormal:
        return StandardNormal((sum(self.factor.shape),), self.loc.dtype)

    def _transform(self, noise: Array) -> Array:
        dim = self.loc.shape[0]
        return self.loc + self.scale * noise[:dim] + self.factor @ noise[dim:]

    def _log_prob(self, x: Array) -> Array:
        # with V = W / scale: log det = Σ log scale² + log det(I + VᵀV), and Woodbury's identity for the square
        v, away = self.factor / self.scale[:, None], (x - self.loc) / self.scale
        inner = jnp.eye(v.shape[1], dtype=v.dtype) + v.T @ v
        lower = jnp.linalg.cholesky(inner)
        explained = linalg.solve_triangular(lower, v.T @ away, lower=True)
        log_det = jnp.sum(jnp.log(self.scale)) + jnp.sum(jnp.log(jnp.diagonal(lower)))
        square = jnp.sum(away**2) - jnp.sum(explained**2)
        return -0.5 * (square + x.shape[0] * _LOG_2PI) - log_det

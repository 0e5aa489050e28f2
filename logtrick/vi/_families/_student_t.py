"""A heavy-tailed guide."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import linalg
from jax.scipy.special import gammaln

from logtrick._core import checks
from logtrick._core.module import assign, static
from logtrick.distributions import Distribution, StudentT as UnivariateT
from logtrick.noise import StandardNormal
from logtrick.supports import Ordered, Positive, Real, Support
from logtrick.vi._families._framed import Framed, exponentiated
from logtrick.vi._families._normal import deviations, start
from logtrick.vi._flat import layout_of
from logtrick.vi._guide import moments_of

Array = jax.Array


class StudentT(Framed):
    """A multivariate Student t with any scale matrix in the unconstrained space: z = T(m + L ε √(ν/s)), s ∼ χ²(ν).

    The degrees of freedom are a fixed whole number, so that s is a sum of ν squared normals and a draw is pathwise. Positive
    variables have no finite mean under it, whatever ν: E[e^u] is infinite.

    Args:
      like: a pytree of numbers or arrays in the constrained space: the shapes, and where q starts (as for `MeanFieldNormal`).
      support: a support, or a pytree of supports like `like` in which names may be left out (real).
      df: ν, degrees of freedom, a static int of at least 1.
      scale: scales to start from, shape () or (d,), in the unconstrained space.
    Raises:
      TypeError: variables that are not floats; degrees of freedom that are no static int.
      ValueError: names that `like` does not have; shapes that do not fit; a scale that is not positive.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.StudentT(like=jnp.zeros(1), df=3)
      >>> round(q.log_prob(jnp.zeros(1)).item(), 4), round(q.stddev()[0].item(), 4)      # √3
      (-1.0009, 1.7321)
    """

    loc: Any
    factor: Any
    df: int = static()

    def __init__(self, like: Any, support: Any = None, *, df: int = 5, scale: Any = 1.0) -> None:
        df = checks.positive_int("StudentT", "df", df)
        layout = layout_of("StudentT", like, support)
        assign(
            self,
            layout=layout,
            center=start("StudentT", None, like, layout),
            frame=deviations("StudentT", scale, layout),
            loc=jnp.zeros((layout.dim,), layout.dtype),
            factor=jnp.zeros((layout.dim, layout.dim), layout.dtype),
            df=df,
        )

    @property
    def base(self) -> Distribution:
        tril = exponentiated(self.factor)
        return MultivariateT(self.loc, tril, self.df)

    def _mean(self) -> Any:
        return self._moments()[0]

    def _variance(self) -> Any:
        return self._moments()[1]

    def _moments(self) -> tuple[Any, Any]:
        """Mean and variance: in closed form, infinite where a tail is mapped by exp; of bounded variables from draws."""
        layout = self.layout
        frame = jnp.diag(self.frame) if self.frame.ndim == 1 else self.frame
        deviations = jnp.linalg.norm(frame @ exponentiated(self.factor), axis=1)
        marginal = UnivariateT(self.df, self.unwhitened(self.loc), deviations)
        locs, squares = layout.parts(marginal.mean()), layout.parts(marginal.variance())
        drawn = [layout.tree.flatten_up_to(moment) for moment in moments_of(self)]
        means, variances = [], []
        for i, v in enumerate(layout.variables):
            mean, variance = drawn[0][i], drawn[1][i]
            if isinstance(v.support, Real):
                mean, variance = locs[i], squares[i]
            elif isinstance(v.support, Positive):
                mean = variance = jnp.full(v.shape, jnp.inf, v.dtype)
            elif isinstance(
                v.support, Ordered
            ):  # all entries but the first are sums of exponentials
                mean, variance = (
                    jnp.full(v.shape, jnp.inf, v.dtype).at[..., 0].set(moments[i][..., 0])
                    for moments in (locs, squares)
                )
            means.append(mean)
            variances.append(variance)
        return layout.tree.unflatten(means), layout.tree.unflatten(variances)


class MultivariateT(Distribution):
    """The Student t with location, scale matrix L Lᵀ and fixed degrees of freedom."""

    loc: Any
    scale_tril: Any
    df: int = static()

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
        return StandardNormal((self.loc.shape[0] + self.df,), self.loc.dtype)

    def _transform(self, noise: Array) -> Array:
        dim = self.loc.shape[0]
        stretch = jnp.sqrt(self.df / jnp.sum(noise[dim:] ** 2))
        return self.loc + self.scale_tril @ (noise[:dim] * stretch)

    def _log_prob(self, x: Array) -> Array:
        dim, df = x.shape[0], self.df
        whitened = linalg.solve_triangular(self.scale_tril, x - self.loc, lower=True)
        constant = gammaln((df + dim) / 2) - gammaln(df / 2) - 0.5 * dim * math.log(df * math.pi)
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))
        return constant - log_det - 0.5 * (df + dim) * jnp.log1p(jnp.sum(whitened**2) / df)

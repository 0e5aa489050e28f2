"""Normal guides in the unconstrained space: mean-field and full-rank."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.module import assign, replace
from logtrick.distributions import ClosedForms, Distribution, MultivariateNormal, Normal
from logtrick.supports import Positive, Real
from logtrick.vi._engines._gaussian import square
from logtrick.vi._families._framed import exponentiated, logarithmic
from logtrick.vi._flat import Layout, layout_of
from logtrick.vi._guide import Guide
from logtrick.vi._marginals import normal_marginals

Array = jax.Array


class _Normal(Guide, abstract=True):
    """A normal in the unconstrained space, by its mean and a scale."""

    flat_normal = True

    loc: Any

    @property
    @abc.abstractmethod
    def _deviations(self) -> Array:
        """The standard deviations of the flat vector, shape (d,)."""

    @property
    def closed_forms(self) -> ClosedForms:
        # E log |det| is linear in the means for these supports alone.
        linear = all(isinstance(v.support, Real | Positive) for v in self.layout.variables)
        return ClosedForms(self._mean, self._variance, self._entropy if linear else None)

    def _mean(self) -> Any:
        return normal_marginals(self, self.loc, self._deviations)[0]

    def _variance(self) -> Any:
        return normal_marginals(self, self.loc, self._deviations)[1]

    def _entropy(self) -> Array:
        """H(z) = H(u) + E log |det ∂T/∂u|, and log |det| = Σ u over positive variables."""
        layout = self.layout
        parts = zip(layout.variables, layout.parts(self.loc))
        shifts = [jnp.sum(part) for v, part in parts if isinstance(v.support, Positive)]
        return self.base.entropy() + sum(shifts, jnp.zeros((), self.loc.dtype))


class MeanFieldNormal(_Normal):
    """Independent normals in the unconstrained space: z = T(m + s ⊙ ε), ε ∼ N(0, I).

    Args:
      like: a pytree of numbers or arrays in the constrained space, or of `jax.ShapeDtypeStruct`s: the shapes, and where q
        starts. A value outside of its support counts as none, and q starts at T(0) there.
      support: a support, or a pytree of supports like `like` in which names may be left out (real).
      loc: m, shape (d,), the unconstrained means; T⁻¹(like) unless said otherwise.
      scale: s > 0, shape () or (d,), the unconstrained standard deviations.
    Raises:
      TypeError: variables that are not floats; supports that are none.
      ValueError: names that `like` does not have; shapes that do not fit; a scale that is not positive.
    Example:
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like={"mu": 0.0, "tau": 1.0}, support={"tau": vi.positive}, scale=0.5)
      >>> {name: round(float(x), 4) for name, x in q.mean().items()}               # e^(½ · 0.25)
      {'mu': 0.0, 'tau': 1.1331}
    """

    log_scale: Any

    def __init__(
        self, like: Any, support: Any = None, *, loc: Any = None, scale: Any = 1.0
    ) -> None:
        layout = layout_of("MeanFieldNormal", like, support)
        assign(
            self,
            loc=start("MeanFieldNormal", loc, like, layout),
            log_scale=jnp.log(deviations("MeanFieldNormal", scale, layout)),
            layout=layout,
        )

    @property
    def scale(self) -> Array:
        """s, shape (d,)."""
        return jnp.exp(self.log_scale)

    @property
    def base(self) -> Distribution:
        return Normal(self.loc, self.scale)

    def normal(self) -> tuple[Array, Array]:
        return self.loc, self.scale

    def at_normal(self, mean: Any, scale: Any) -> "MeanFieldNormal":
        dtype = self.layout.dtype
        log_scale = jnp.log(jnp.asarray(independent(scale), dtype))
        return replace(self, loc=jnp.asarray(mean, dtype), log_scale=log_scale)

    @property
    def _deviations(self) -> Array:
        return self.scale


class FullRankNormal(_Normal):
    """A normal with any covariance in the unconstrained space: z = T(m + L ε), ε ∼ N(0, I).

    L is held lower triangular, its diagonal by logarithms.

    Args:
      like: a pytree of numbers or arrays in the constrained space: the shapes, and where q starts (as for `MeanFieldNormal`).
      support: a support, or a pytree of supports like `like` in which names may be left out (real).
      loc: m, shape (d,), the unconstrained means; T⁻¹(like) unless said otherwise.
      scale: a number or (d,) for a diagonal, or any invertible (d, d) matrix C with covariance C Cᵀ, triangular or not.
    Raises:
      TypeError: variables that are not floats; supports that are none.
      ValueError: names that `like` does not have; shapes that do not fit; a scale that is not positive.
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.FullRankNormal(like=jnp.zeros(2), scale=jnp.array([[0.0, 2.0], [1.0, 0.0]]))
      >>> q.stddev().round(4).tolist()                                             # of C Cᵀ = diag(4, 1)
      [2.0, 1.0]
    """

    factor: Any

    def __init__(
        self, like: Any, support: Any = None, *, loc: Any = None, scale: Any = 1.0
    ) -> None:
        layout = layout_of("FullRankNormal", like, support)
        loc = start("FullRankNormal", loc, like, layout)
        scale = jnp.asarray(scale, layout.dtype)
        if scale.ndim < 2:
            scale = jnp.diag(vector("FullRankNormal", "scale", scale, layout))
        if scale.shape != (layout.dim, layout.dim):
            raise ValueError(
                f"FullRankNormal(scale=…) needs shape (), ({layout.dim},) or ({layout.dim}, {layout.dim}); "
                f"got {scale.shape}."
            )
        tril = triangular(scale)
        diagonal = checks.require(
            "FullRankNormal", "scale", jnp.diagonal(tril), _is_positive, "an invertible matrix"
        )
        factor = jnp.tril(tril, -1) + jnp.diag(jnp.log(diagonal))
        assign(self, loc=loc, factor=factor, layout=layout)

    @property
    def scale_tril(self) -> Array:
        """L, shape (d, d)."""
        return exponentiated(self.factor)

    @property
    def base(self) -> Distribution:
        return MultivariateNormal(self.loc, self.scale_tril)

    def normal(self) -> tuple[Array, Array]:
        return self.loc, self.scale_tril

    def at_normal(self, mean: Any, scale: Any) -> "FullRankNormal":
        factor = logarithmic(square(scale))
        dtype = self.layout.dtype
        return replace(self, loc=jnp.asarray(mean, dtype), factor=jnp.asarray(factor, dtype))

    def covariance(self) -> Array:
        """L Lᵀ, the covariance of the flat unconstrained vector, shape (d, d)."""
        return self.scale_tril @ self.scale_tril.T

    @property
    def _deviations(self) -> Array:
        return jnp.linalg.norm(self.scale_tril, axis=1)


def triangular(scale: Array) -> Array:
    """L, lower triangular with a positive diagonal, L Lᵀ = C Cᵀ: by QR of Cᵀ, right at any condition number.

    A Cholesky factor of C Cᵀ squares the condition number, and fails at 1e8 in double precision.
    """
    upper = jnp.asarray(jnp.linalg.qr(scale.T, mode="r"))
    sign = jnp.where(jnp.diagonal(upper) < 0, -1.0, 1.0).astype(upper.dtype)
    return (sign[:, None] * upper).T


def full_rank(layout: Layout) -> FullRankNormal:
    """N(0, I) over the variables of a layout."""
    q = FullRankNormal(jnp.zeros((layout.dim,), layout.dtype))
    return replace(q, layout=layout)


def independent(scale: Any) -> Any:
    """The standard deviations of the best independent normal: 1/√ of the diagonal of the precision of C Cᵀ."""
    scale = np.asarray(scale, np.float64)
    if scale.ndim == 1:
        return scale
    return 1 / np.linalg.norm(np.linalg.inv(scale), axis=0)


def start(where: str, loc: Any, like: Any, layout: Layout) -> Array:
    """The unconstrained means to start from: `loc`, or T⁻¹(like)."""
    return layout.start(like) if loc is None else vector(where, "loc", loc, layout)


def deviations(where: str, scale: Any, layout: Layout) -> Array:
    """The unconstrained standard deviations to start from, a number or a vector, as a vector."""
    scale = vector(where, "scale", scale, layout)
    return checks.require(where, "scale", scale, _is_positive, "positive numbers")


def vector(where: str, name: str, value: Any, layout: Layout) -> Array:
    """A number or a vector as a vector of the layout's length and dtype."""
    value = checks.numbers(where, name, value).astype(layout.dtype)
    if value.shape not in ((), (layout.dim,)):
        raise ValueError(f"{where}({name}=…) needs shape () or ({layout.dim},); got {value.shape}.")
    return jnp.broadcast_to(value, (layout.dim,))


def _is_positive(x: Any) -> Any:
    return (x > 0) & (x < np.inf)

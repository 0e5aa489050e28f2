"""Guides with parameters in whitened coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.kernel import stop
from logtrick._core.module import replace
from logtrick.distributions import Distribution, MultivariateNormal, Normal
from logtrick.vi._engines._gaussian import triangular
from logtrick.vi._flat import Layout
from logtrick.vi._guide import Guide

Array = jax.Array


class Framed(Guide, abstract=True):
    """A guide over whitened coordinates x, u = center + frame x, z = T(u): x is what the family's parameters speak of.

    Center and frame are held constant. A Gaussian fit puts them where first-order optimizers work well, whatever the
    scales of the variables.

    Attributes:
      center: shape (d,).
      frame: shape (d,) for a diagonal, or (d, d), invertible.
    """

    center: Any
    frame: Any

    def normal(self) -> tuple[Array, Array]:
        return self.center, self.frame

    def at_normal(self, mean: Any, scale: Any) -> "Framed":
        dtype = self.layout.dtype
        return replace(self, center=jnp.asarray(mean, dtype), frame=jnp.asarray(scale, dtype))

    def at_modes(self, modes: Sequence[Mapping[str, Any]]) -> "Framed":
        """The guide where the modes of the density are known: dicts of `mean`, `scale` and `log_ratio`, the largest first.

        Only families with several components make use of them.
        """
        return self

    def unwhitened(self, x: Array) -> Array:
        """The flat unconstrained vector u of x."""
        frame = stop(self.frame)
        moved = frame * x if frame.ndim == 1 else frame @ x
        return stop(self.center) + moved

    def whitened(self, u: Array) -> Array:
        """x of the flat unconstrained vector u."""
        frame, shift = stop(self.frame), u - stop(self.center)
        return shift / frame if frame.ndim == 1 else jnp.linalg.solve(frame, shift)

    def log_det_frame(self) -> Array:
        """log |det frame|."""
        frame = stop(self.frame)
        return jnp.sum(jnp.log(jnp.abs(frame))) if frame.ndim == 1 else jnp.linalg.slogdet(frame)[1]

    def constrain(self, x: Any) -> Any:
        return self.layout.constrain(self.unwhitened(x))

    def unconstrain(self, z: Any) -> Any:
        return self.whitened(self.layout.unconstrain(z))

    def log_det(self, x: Any) -> Array:
        return self.layout.log_det(self.unwhitened(x)) + self.log_det_frame()

    def flatten(self, x: Any) -> tuple[Array, Array]:
        return self.unwhitened(x), self.log_det_frame()


class FramedNormal(Framed):
    """A normal in a frame: what `MeanFieldNormal` and `FullRankNormal` are trained as, in whitened coordinates.

    Attributes:
      loc: the mean of x, shape (d,).
      factor: shape (d,), log standard deviations, where the frame is diagonal; else (d, d), lower triangular with a
        logarithmic diagonal.
    """

    flat_normal = True

    loc: Any
    factor: Any

    @property
    def base(self) -> Distribution:
        if self.factor.ndim == 1:
            return Normal(self.loc, jnp.exp(self.factor))
        return MultivariateNormal(self.loc, exponentiated(self.factor))

    def normal(self) -> tuple[Array, Array]:
        mean = self.unwhitened(self.loc)
        if self.factor.ndim == 1:
            return mean, self.frame * jnp.exp(self.factor)
        return mean, self.frame @ exponentiated(self.factor)


def framed_normal(layout: Layout, mean: Any, scale: Any) -> FramedNormal:
    """N(mean, scale scaleᵀ) as the standard normal in its own frame."""
    center, frame = jnp.asarray(mean, layout.dtype), jnp.asarray(scale, layout.dtype)
    return FramedNormal(layout, center, frame, jnp.zeros_like(center), jnp.zeros_like(frame))


def logarithmic(scale: np.ndarray) -> np.ndarray:
    """The triangular factor of C Cᵀ, by QR of Cᵀ (Cholesky would square the condition number), its diagonal by logarithms."""
    lower = triangular(scale)
    return np.tril(lower, -1) + np.diag(np.log(np.diag(lower)))


def exponentiated(factor: Array) -> Array:
    """A triangular factor with its diagonal exponentiated."""
    return jnp.tril(factor, -1) + jnp.diag(jnp.exp(jnp.diagonal(factor)))

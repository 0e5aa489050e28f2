"""The gradient that estimates are judged against, and the judgment of each coordinate by its own scale."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick.diagnostics._moments import Moments
from logtrick.training import partition

# A spread, or an error, counts as zero to rounding within this multiple of the epsilon of the float type.
_ROUNDING = 64
# The multiple of 16-bit floats: expectations are computed in float32, and only the gradient is rounded to them.
_ROUNDING_OF_16_BITS = 2
# Gradients of at most this part of the exact one count as vanished: rounding, where an outcome is unseen.
_VANISHING = 1e-3
# Standard errors of the reference beyond which a coordinate that vanishes is away from it.
_AWAY = 5


@dataclasses.dataclass(frozen=True)
class Reference:
    """A gradient to compare with, as a list of float64 leaves.

    Attributes:
      leaves: the gradient.
      errors: its standard errors; None where it is exact.
      origin: where it comes from, in words.
      value: the objective's value there; None where it is not known.
    """

    leaves: list[np.ndarray]
    errors: list[np.ndarray] | None = None
    origin: str = "given"
    value: float | None = None

    @property
    def exact(self) -> bool:
        return self.errors is None

    def error(self, leaf: int) -> np.ndarray:
        """The standard errors of a leaf, zeros where it is exact."""
        return np.zeros_like(self.leaves[leaf]) if self.errors is None else self.errors[leaf]


def given(where: str, reference: Any, params: Any) -> Reference | None:
    """The user's reference, checked: a pytree like `params`, or a function of `params` to be differentiated."""
    if reference is None:
        return None
    trained = partition(params)[0]
    value = None
    if callable(reference):
        value, reference = _differentiated(where, reference, params)
    want = jax.tree.map(np.shape, trained)
    if jax.tree.structure(reference) == jax.tree.structure(params):
        reference = partition(reference)[0]
    same_tree = jax.tree.structure(reference) == jax.tree.structure(trained)
    if not same_tree or jax.tree.map(np.shape, reference) != want:
        raise ValueError(
            f"{where}(reference=…) needs a pytree like params, of shapes {want}; got "
            f"{jax.tree.map(np.shape, reference)}."
        )
    arrays = [checks.array(where, "reference", x) for x in jax.tree.leaves(reference)]
    return Reference([np.asarray(x, np.float64) for x in arrays], value=value)


def _differentiated(where: str, exact: Callable[[Any], Any], params: Any) -> tuple[float, Any]:
    """The value of a function of the parameters, and its gradient."""
    shape = jax.eval_shape(exact, params).shape
    if shape:
        raise ValueError(
            f"{where}(reference=…) needs a function whose value is a scalar; got shape {shape}."
        )
    value, gradient = jax.value_and_grad(exact)(params)
    return float(value), gradient


def rounding_of(dtype: Any) -> float:
    """The relative error of gradients in parameters of a float type that counts as rounding.

    Example:
      >>> rounding_of("float32") < 1e-5, rounding_of("bfloat16")
      (True, 0.015625)
    """
    kind = jnp.finfo(dtype)
    return float(kind.eps) * (_ROUNDING_OF_16_BITS if kind.bits <= 16 else _ROUNDING)


def constant(moment: Moments, rounding: float) -> np.ndarray:
    """Whether a coordinate does not vary, to rounding."""
    return np.asarray(np.sqrt(moment.variance) <= rounding * moment.peak)


@dataclasses.dataclass(frozen=True)
class Judgment:
    """What the coordinates of one leaf are, beside a reference.

    Attributes:
      z: (mean − reference) / standard error.
      exact: whether variance and error are 0 to rounding.
      unseen: whether the gradients are sampled and the coordinate (almost) vanished or did not vary in all of them, away
        from the reference: it is cut off, or depends on outcomes too rare to be seen in so many gradients.
    """

    z: np.ndarray
    exact: np.ndarray
    unseen: np.ndarray


def judge(
    moment: Moments, reference: Reference, leaf: int, rounding: float, value: float, sampled: bool
) -> Judgment:
    """Compare every coordinate of a leaf with the reference.

    Rounding adds to the standard error, in proportion to the coordinate's own size and not to that of the value or of its
    neighbors, beside which a small coordinate could be wrong altogether. Only a coordinate that does not vary and whose
    exact gradient is 0 has no such size: there, the sizes of the value and of the leaf are taken. Where an outcome of
    probability 1/n occurs in one of n gradients, the standard error of their mean is as large as what the outcome
    contributes: so the coordinate's own size is added where the outcome is unseen.

    Args:
      moment: of the leaf.
      reference: the gradient to compare with.
      leaf: the leaf's index.
      rounding: the relative error that counts as rounding.
      value: the size of the objective's value.
      sampled: whether the gradients depend on the key.
    """
    want, want_error = reference.leaves[leaf], reference.error(leaf)
    error = np.asarray(moment.mean - want)
    still = constant(moment, rounding)
    own = np.maximum(np.abs(want), np.abs(moment.mean))
    largest = np.max(np.abs(want), initial=0.0)
    none = np.abs(want) <= _ROUNDING * np.finfo(np.float64).eps * largest
    without = value + np.max(moment.peak, initial=0.0) + largest
    scale = np.where(none & (moment.peak > 0), without, own)
    rounded = rounding * np.where(still, scale, own)
    within = still & (np.abs(error) <= rounded)
    vanishing = moment.peak <= _VANISHING * np.abs(want)
    away = ~within & (np.abs(error) > _AWAY * want_error)
    unseen = sampled & (still | vanishing) & away
    rare = np.where(unseen, own, 0.0)
    spread = np.sqrt(moment.variance / moment.count + rounded**2 + want_error**2 + rare**2)
    z = np.divide(error, spread, out=np.zeros_like(error), where=(spread > 0) & ~within)
    return Judgment(np.where(np.isfinite(error), z, np.nan), within & reference.exact, unseen)

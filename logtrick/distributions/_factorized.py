"""Distributions of independent coordinates."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.distributions._base import Distribution
from logtrick.distributions._capabilities import Factors
from logtrick.distributions._draw import is_draw
from logtrick.distributions._parameters import nan_where_any

Array = jax.Array


class Factorized(Distribution, abstract=True):
    """A distribution of independent coordinates, as many as its parameters have.

    Subclasses define `_log_kernel(x)`, and `_log_normalizer()` where log p = kernel − normalizer with terms of the
    parameters alone, which are then summed once and not for every draw. (Not where large terms cancel in each factor, nor
    where x can be outside of the support: there the derivative is 0.)

    Attributes:
      draws_nan: whether what `transform` makes is nan wherever a parameter of its coordinate is.
    """

    draws_nan: ClassVar[bool] = False

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(np.shape(leaf) for leaf in jax.tree.leaves(self)))

    @property
    def independent_factors(self) -> Factors:
        return Factors(self._log_factors)

    def nan_unless_legal(self, x: Any = None) -> Array | None:
        # Discrete draws do not show it: whole numbers cannot be nan, and f may compare a nan, or read one coordinate only.
        if not self.support.discrete:
            return None
        return nan_where_any(self, x if self.draws_nan else None)

    @abc.abstractmethod
    def _log_kernel(self, x: Any) -> Array:
        """The terms of log p(x) that depend on x, shaped like the factors."""

    def _log_kernel_at(self, coordinates: Any) -> Array:
        """`_log_kernel` of the value that these coordinates make, for families with `charts`."""
        raise NotImplementedError(
            f"{type(self).__name__} makes draws with coordinates and lacks _log_kernel_at. Define it."
        )

    def _log_normalizer(self) -> Array | None:
        return None

    def _kernel(self, x: Any) -> Array:
        return self._log_kernel_at(x.coordinates) if is_draw(x) else self._log_kernel(x)

    def _log_factors(self, x: Any) -> Array:
        kernel = self._kernel(x)
        normalizer = self._log_normalizer()
        return kernel if normalizer is None else kernel - normalizer

    def _log_prob(self, x: Any) -> Array:
        kernel = self._kernel(x)
        normalizer = self._log_normalizer()
        if normalizer is None:
            return jnp.sum(kernel)
        return jnp.sum(kernel) - jnp.sum(jnp.broadcast_to(normalizer, kernel.shape))

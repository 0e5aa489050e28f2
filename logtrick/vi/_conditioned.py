"""A log density of a draw and of data, which compiled functions take as an argument."""

from collections.abc import Callable
from typing import Any

import jax

from logtrick._core.calls import constructor_in_words
from logtrick._core.show import show_arguments
from logtrick.vi._over_data import OverData


@constructor_in_words
class Conditioned(OverData):
    """log p(z | data) by `log_density(z, data)`: a second fit of the same function to other data compiles nothing.

    Args:
      log_density: `log_density(z, data) -> scalar`.
      data: a pytree of arrays.
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> log_density = lambda z, x: -0.5 * jnp.sum((x - z) ** 2)
      >>> densities = [vi.Conditioned(log_density, jnp.full(4, x)) for x in (3.0, 5.0)]
      >>> fits = [vi.fit(jax.random.key(0), density, vi.MeanFieldNormal(like=0.0)) for density in densities]
      >>> [round(fit.q.mean().item(), 2) for fit in fits]
      [3.0, 5.0]
    """

    __repr__ = show_arguments
    compared_by = ("log_density", "data")

    def __init__(self, log_density: Callable[[Any, Any], Any], data: Any) -> None:
        self.log_density, self.data = log_density, data

    def __call__(self, z: Any) -> jax.Array:
        """The log density given the data, shape ()."""
        return self.log_density(z, self.data)

    def given(self, z: Any, data: Any) -> jax.Array:
        """The log density given other data, shape ()."""
        return self.log_density(z, data)

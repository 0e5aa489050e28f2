"""A log density that is a function of data as well, which is handed on as an argument."""

from collections.abc import Callable
from typing import Any

import jax

from logtrick._core.calls import constructor_in_words


@constructor_in_words
class Conditioned:
    """log p(z | data) by `log_density(z, data)`: equal to others of the same function, so that other data compile nothing.

    Args:
      log_density: `log_density(z, data) -> scalar`.
      data: a pytree of arrays.
    Example:
      >>> from logtrick import vi
      >>> log_density = lambda z, x: -0.5 * (x - z) ** 2
      >>> vi.Conditioned(log_density, 3.0)(1.0), vi.Conditioned(log_density, 3.0) == vi.Conditioned(log_density, 4.0)
      (-2.0, True)
    """

    batch_size = None

    def __init__(self, log_density: Callable[[Any, Any], Any], data: Any) -> None:
        self.function, self.data = log_density, data

    def __call__(self, z: Any) -> jax.Array:
        """The log density given the data, shape ()."""
        return self.function(z, self.data)

    def on(self, z: Any, batch: Any) -> jax.Array:
        """The log density given other data."""
        return self.function(z, batch)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conditioned) and self.function == other.function

    def __hash__(self) -> int:
        return hash((Conditioned, self.function))

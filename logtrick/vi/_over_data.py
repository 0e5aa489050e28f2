"""Log densities that are functions of data as well, which compiled functions take as an argument."""

import copy
from typing import Any, ClassVar, Self

import jax


class OverData:
    """A log density of a draw and of data.

    Compiled functions are kept for a log density without its data, so that other data compile nothing. They must take the
    data as an argument: if they closed over data, these would be the data of the first log density that came by.

    Attributes:
      data: a pytree of arrays; None in what `without_data` returns.
      batch_size: the rows that a step of a stochastic fit sees; None for all.
      compared_by: names of the attributes in which equal ones agree.
    """

    data: Any
    batch_size: int | None = None
    compared_by: ClassVar[tuple[str, ...]] = ("data",)

    def without_data(self) -> Self:
        """The same function without its data."""
        bare = copy.copy(self)
        bare.data = None
        return bare

    def given(self, z: Any, data: Any) -> jax.Array:
        """The log density of one draw given all of some data, shape ()."""
        raise NotImplementedError

    def on(self, z: Any, batch: Any) -> jax.Array:
        """What a step of a stochastic fit sees of it, given the rows of a batch, shape ()."""
        return self.given(z, batch)


def apart(log_density: Any) -> tuple[Any, Any]:
    """A log density without its data, and the data; any other function as it is, and None."""
    if isinstance(log_density, OverData):
        return log_density.without_data(), log_density.data
    return log_density, None


def evaluated(log_density: Any, z: Any, data: Any) -> Any:
    """The value at one draw of a log density that `apart` returned, given the data that it returned."""
    return log_density.given(z, data) if isinstance(log_density, OverData) else log_density(z)

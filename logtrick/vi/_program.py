"""What compiled functions of a log density are kept by: its program, apart from its data."""

from collections.abc import Callable
from typing import Any


class OverData:
    """A log density that is a function of data as well, which compiled functions take as an argument.

    Attributes:
      data: a pytree of arrays.
      identity: a hashable tuple of all else that it consists of.
    """

    data: Any

    @property
    def identity(self) -> tuple[Any, ...]:
        raise NotImplementedError

    def given(self, z: Any, data: Any) -> Any:
        """The log density of one draw given some data."""
        raise NotImplementedError


class Program:
    """A log density without its data: equal to others of the same functions, so that other data compile nothing.

    What is kept by a program must take the data as an argument. If it closed over data, these would be the data of the first
    log density that came by.
    """

    def __init__(self, density: OverData) -> None:
        self.density = density
        self.identity = (type(density), *density.identity)

    def __call__(self, z: Any, data: Any) -> Any:
        return self.density.given(z, data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


def program_of(log_density: Any) -> Any:
    """The `Program` of a log density over data; other functions as they are."""
    return Program(log_density) if isinstance(log_density, OverData) else log_density


def identity_of(log_density: Any) -> Any:
    """What two log densities over data are compared by; None for other functions."""
    return program_of(log_density).identity if isinstance(log_density, OverData) else None


def with_data(log_density: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """A log density as a function of a draw and the data, and its data; None where there are none."""
    if isinstance(log_density, OverData):
        return log_density.given, log_density.data
    return lambda z, _: log_density(z), None


def kept(make: Callable[..., Any], *settings: Any) -> Any:
    """`make(*settings)` of a function with an `lru_cache`; made anew where a setting cannot be hashed.

    Callable objects that hold arrays (modules of a neural network, say) often cannot.
    """
    try:
        hash(settings)
    except TypeError:
        return make.__wrapped__(*settings)  # type: ignore[attr-defined]  # of lru_cache
    return make(*settings)

"""Looking at jaxprs, the inner ones of jit, scan and their kin included."""

from collections.abc import Iterable, Iterator
from typing import Any


def inner_jaxprs(eqn: Any) -> Iterator[Any]:
    """The jaxprs in the parameters of one equation."""
    # An inner jaxpr is a parameter, or one of a tuple or dictionary of them. Not by jax.tree, which is slow: every equation
    # of every program passes here.
    for value in eqn.params.values():
        if isinstance(value, dict):
            value = tuple(value.values())
        for part in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield inner


def equations(eqns: Iterable[Any]) -> Iterator[Any]:
    """Equations and, after each, those inside it."""
    for eqn in eqns:
        yield eqn
        for inner in inner_jaxprs(eqn):
            yield from equations(inner.eqns)


def largest_bytes(eqns: Iterable[Any]) -> int:
    """The bytes of the largest array that equations make, inner ones included; at least 1."""
    made = (v.aval for eqn in equations(eqns) for v in eqn.outvars)
    sized = (aval for aval in made if hasattr(aval, "size"))
    return max((aval.size * getattr(aval.dtype, "itemsize", 4) for aval in sized), default=1) or 1

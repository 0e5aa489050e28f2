"""Looking at jaxprs, the inner ones of jit, scan and their kin included."""

from collections.abc import Iterable, Iterator
from typing import Any

import jax


def equations(eqns: Iterable[Any]) -> Iterator[Any]:
    """Equations and, after each, those inside it."""
    for eqn in eqns:
        yield eqn
        for value in jax.tree.leaves(
            eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")
        ):
            yield from equations(getattr(getattr(value, "jaxpr", value), "eqns", ()))


def largest(eqns: Iterable[Any]) -> int:
    """The elements of the largest array that equations make, inner ones included; at least 1."""
    made = (v.aval for eqn in equations(eqns) for v in eqn.outvars)
    return max((aval.size for aval in made if hasattr(aval, "size")), default=1)

"""Looking at jaxprs, the inner ones of jit, scan and their kin included."""

from collections.abc import Iterable
from typing import Any

import jax


def largest(eqns: Iterable[Any]) -> int:
    """The elements of the largest array that equations make, inner ones included; at least 1."""
    sizes = [1]
    for eqn in eqns:
        sizes += [v.aval.size for v in eqn.outvars if hasattr(v.aval, "size")]
        for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns") or hasattr(x, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                sizes.append(largest(inner.eqns))
    return max(sizes)

"""Sums over all entries of a tree, in few reductions: leaves of one shape are added before they are summed.

XLA compiles a kernel for every reduction, and these are most of the cost of a loop's checks: so there is one for each shape,
not for each leaf.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def wide(x: Array) -> Array:
    """`x` in at least float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def total(terms: Iterable[Array]) -> Array:
    """The sum of all entries of `terms`, in the widest of their dtypes, at least float32."""
    groups: dict[tuple[int, ...], Array] = {}
    dtype = jnp.dtype(jnp.float32)
    for term in terms:
        term = wide(term)
        dtype = jnp.promote_types(dtype, term.dtype)
        groups[term.shape] = groups[term.shape] + term if term.shape in groups else term
    return sum((jnp.sum(group).astype(dtype) for group in groups.values()), jnp.zeros((), dtype))


def euclidean_norm(tree: Any) -> Array:
    """√Σ x², in at least float32; nan where an entry is, inf where the sum overflows."""
    return jnp.sqrt(total(jnp.square(wide(x)) for x in jax.tree.leaves(tree)))


def lost(new: Array, old: Array) -> Array:
    """Where a finite entry became one that is not finite. An infinity that was there before is no fault."""
    if not jnp.issubdtype(old.dtype, jnp.inexact):
        return jnp.zeros(old.shape, bool)
    return jnp.isfinite(old) & ~jnp.isfinite(new)


def not_finite(grads: Any, new: Any, old: Any) -> tuple[Array, Array]:
    """Whether an entry of `grads` is not finite, and whether an entry of `new` is not finite that was so in `old`.

    One sum for both: x · 0 is nan exactly where x is not finite (a sum of squares could overflow), and every entry of `new`
    that is no longer finite counts 1.
    """
    zeros = [g * 0 for g in jax.tree.leaves(grads)]
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old))
    inexact = [(n, o) for n, o in pairs if jnp.issubdtype(o.dtype, jnp.inexact)]
    found = total([*zeros, *(lost(n, o).astype(jnp.float32) for n, o in inexact)])
    return jnp.isnan(found), found > 0

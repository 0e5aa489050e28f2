"""Loops inside a user's `shard_map`: a carry varies over the mesh axes over which its steps make it vary."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from logtrick._core.compat import cast_varying, in_shard_map, varying

Body = Callable[[Any, Any], tuple[Any, Any]]


def scan(body: Body, carry: Any, xs: Any, length: int | None) -> tuple[Any, Any]:
    """`lax.scan`; it may start from a constant, and hand on a constant, where the steps see one device's own numbers."""
    if not in_shard_map():
        return lax.scan(body, carry, xs, length)
    carry = _settled(body, carry, xs)
    axes = [varying(leaf) for leaf in jax.tree.leaves(carry)]

    def alike(carry: Any, x: Any) -> tuple[Any, Any]:
        carry, y = body(carry, x)
        leaves, tree = jax.tree.flatten(carry)
        if len(leaves) == len(axes):  # else lax.scan has a word to say
            carry = tree.unflatten([cast_varying(leaf, own) for leaf, own in zip(leaves, axes)])
        return carry, y

    return lax.scan(alike, carry, xs, length)


def _settled(body: Body, carry: Any, xs: Any) -> Any:
    """The first carry, varying as it will after any number of steps."""
    if any(jax.numpy.shape(x)[:1] == (0,) for x in jax.tree.leaves(xs)):
        return carry
    first = jax.tree.map(lambda x: jax.numpy.asarray(x)[0], xs)
    leaves, tree = jax.tree.flatten(jax.tree.map(jax.numpy.asarray, carry))
    while True:
        after: list[frozenset[Any]] = []

        def once(leaves: list[Any] = leaves, after: list[Any] = after) -> None:
            after[:] = [
                varying(leaf) for leaf in jax.tree.leaves(body(tree.unflatten(leaves), first)[0])
            ]

        jax.eval_shape(once)
        if len(after) != len(leaves) or all(
            new <= varying(leaf) for new, leaf in zip(after, leaves)
        ):
            return tree.unflatten(leaves)
        leaves = [cast_varying(leaf, new) for leaf, new in zip(leaves, after)]

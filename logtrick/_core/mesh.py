"""Everything that knows of a user's `shard_map`: which mesh axes a value varies over, and loops whose carry varies."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, Mesh

from logtrick._core.calls import described
from logtrick._core.compat import to_varying, varying_axes


def varying(x: Any) -> frozenset[Any]:
    """The mesh axes of an enclosing `shard_map` over which `x` varies."""
    return varying_axes(jax.typeof(x))


def in_shard_map() -> bool:
    """Whether the caller is traced inside a `shard_map`."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def cast_varying(tree: Any, axes: frozenset[Any]) -> Any:
    """`tree`, every leaf made to vary over `axes` of an enclosing `shard_map` too."""

    def cast(x: Any) -> Any:
        more = tuple(axes - varying(x))
        if not more:
            return x
        return to_varying(x, more)

    return jax.tree.map(cast, tree) if axes else tree


def alike(*xs: Any) -> list[Any]:
    """Operands that vary over the same mesh axes.

    jnp functions do this by themselves; a primitive that is bound directly does not. Without it the
    reverse mode of `shard_map` uses one device's residual for all devices: a gradient that is
    silently wrong.
    """
    return cast_varying(list(xs), frozenset().union(*(varying(x) for x in xs)))


def local(fun: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """Prepare arguments for a derivative that an estimator takes itself: `jax.grad(fun)(*local(fun, *args))`.

    Inside a user's `shard_map`, JAX sums the derivative with respect to an array that all devices
    share over these devices. An estimator wants the derivative of its own device's number, so the
    arguments are made to vary over the same mesh axes as `fun(*args)`. Outside of `shard_map`
    nothing happens.

    Args:
      fun: the function to be differentiated.
      args: its arguments, pytrees of floats.
    Returns:
      The arguments, as a tuple.
    Example:
      >>> import jax, logtrick as lt
      >>> square = lambda x: x**2
      >>> jax.grad(square)(*lt.estimators.local(square, 3.0)).item()
      6.0
    """
    if not in_shard_map():
        return args
    results = jax.make_jaxpr(lambda: fun(*args))().out_avals
    return cast_varying(args, frozenset().union(*(varying_axes(kind) for kind in results)))


Body = Callable[[Any, Any], tuple[Any, Any]]


def scan_varying(body: Body, carry: Any, xs: Any, length: int | None) -> tuple[Any, Any]:
    """`lax.scan` whose carry may start, and stay, constant although the steps see one device's own numbers."""
    if not in_shard_map():
        return lax.scan(body, carry, xs, length)
    carry = _settled(body, carry, xs)
    axes = [varying(leaf) for leaf in jax.tree.leaves(carry)]

    def step(carry: Any, x: Any) -> tuple[Any, Any]:
        carry, y = body(carry, x)
        leaves, tree = jax.tree.flatten(carry)
        if len(leaves) == len(axes):  # otherwise lax.scan itself raises
            carry = tree.unflatten([cast_varying(leaf, own) for leaf, own in zip(leaves, axes)])
        return carry, y

    return lax.scan(step, carry, xs, length)


def _settled(body: Body, carry: Any, xs: Any) -> Any:
    """The initial carry, made to vary over the mesh axes that it varies over after any number of steps."""
    if any(jnp.shape(x)[:1] == (0,) for x in jax.tree.leaves(xs)):
        return carry
    first = jax.tree.map(lambda x: jnp.asarray(x)[0], xs)
    carry = jax.tree.map(jnp.asarray, carry)
    while True:
        leaves, tree = jax.tree.flatten(carry)
        after = _axes_after_a_step(body, carry, first)
        grown = any(not new <= varying(leaf) for new, leaf in zip(after, leaves))
        if len(after) != len(leaves) or not grown:
            return carry
        carry = tree.unflatten([cast_varying(leaf, new) for leaf, new in zip(leaves, after)])


def _axes_after_a_step(body: Body, carry: Any, x: Any) -> list[frozenset[Any]]:
    """The mesh axes over which each leaf of the carry varies after one step; nothing is run."""
    axes: list[frozenset[Any]] = []

    def step() -> None:
        axes.extend(varying(leaf) for leaf in jax.tree.leaves(body(carry, x)[0]))

    jax.eval_shape(step)
    return axes


def automatic_mesh(where: str, mesh: Any) -> Mesh | None:
    """The mesh with axes along which XLA spreads the work by itself; None for None."""
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh):
        raise TypeError(
            f"{where}(mesh=…) needs a jax.sharding.Mesh; got {described(mesh)}. Pass "
            "jax.make_mesh((jax.device_count(),), ('samples',)), say."
        )
    kinds = (AxisType.Auto,) * len(mesh.axis_names)
    return Mesh(mesh.devices, mesh.axis_names, axis_types=kinds)

"""Where a fit's arrays lie on a mesh of devices: the state on all of them, the rows of data spread over the first axis."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from logtrick._core.compat import is_key


def copied(mesh: Mesh | None, tree: Any) -> Any:
    """`tree` in memory of its own, on the same devices; committed to them only where there is a mesh."""
    if mesh is None:
        return jax.device_put(tree, may_alias=False)
    return jax.device_put(tree, jax.tree.map(lambda x: x.sharding, tree), may_alias=False)


def uncommitted(tree: Any) -> Any:
    """Arrays that were read from a file, not committed to a device, as those of a new fit: else programs compile again."""
    free = lambda x: x if is_key(x) else jax.device_put(np.asarray(x))
    return jax.tree.map(free, tree)


def replicated(mesh: Mesh | None, tree: Any) -> Any:
    """`tree`, inside compiled code, the same on every device."""
    if mesh is None:
        return tree
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec()))


def rows(mesh: Mesh | None, tree: Any) -> Any:
    """A batch, inside compiled code, its rows spread over the mesh's first axis where their number divides."""
    if mesh is None:
        return tree
    return jax.tree.map(lambda x: jax.lax.with_sharding_constraint(x, _of(mesh, x)), tree)


def put_replicated(mesh: Mesh | None, tree: Any) -> Any:
    """Host or device arrays, put on every device of the mesh, including those of other processes."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda x: _put(x, sharding), tree)


def put_rows(where: str, mesh: Mesh | None, tree: Any, *, divide: bool) -> Any:
    """Data of which every process has all rows, spread over the devices.

    Args:
      where: the public function, for messages.
      mesh: the devices, or None.
      tree: arrays with a leading axis of rows.
      divide: refuse rows whose number is not divisible by that of the devices; else put such an array on all of them.
    """
    if mesh is None:
        return tree
    size = mesh.shape[mesh.axis_names[0]]
    for leaf in jax.tree.leaves(tree):
        if divide and (not np.ndim(leaf) or np.shape(leaf)[0] % size):
            raise ValueError(
                f"{where}(mesh=…) spreads the rows of data over {size} devices; {np.shape(leaf)} does not divide. Drop or "
                "repeat some rows, or pass batch_size=…, a multiple of the devices."
            )
    return jax.tree.map(lambda x: _put(x, _of(mesh, x)), tree)


def put_stacked(mesh: Mesh | None, tree: Any) -> Any:
    """Stacked batches of which every process has all: the second axis, of rows, spread over the devices."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec(None, mesh.axis_names[0]))
    return jax.tree.map(lambda x: _put(x, sharding), tree)


def _of(mesh: Mesh, x: Any) -> NamedSharding:
    axis = mesh.axis_names[0]
    divides = np.ndim(x) > 0 and np.shape(x)[0] % mesh.shape[axis] == 0
    return NamedSharding(mesh, PartitionSpec(axis) if divides else PartitionSpec())


def _put(x: Any, sharding: NamedSharding) -> Any:
    if isinstance(x, jax.Array) and not x.is_fully_addressable:
        return jax.device_put(x, sharding)
    if is_key(x):  # a typed key cannot go to devices of other processes; its words can
        words = _put(jax.random.key_data(x), sharding)
        return jax.random.wrap_key_data(words, impl=jax.random.key_impl(x))
    host = np.asarray(x)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

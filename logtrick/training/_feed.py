"""Where a step's batch comes from: none, all of the data, rows of arrays, or batches that the host makes."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.compat import is_key
from logtrick._core.module import Module, static
from logtrick.training import _mesh
from logtrick.training._data import ArrayFeed, as_feed
from logtrick.training._epochs import Position
from logtrick.training._host_feed import HostFeed

_MOST_STACKED = 32  # batches of the host in one compiled call
_FEWEST_HASHED, _MOST_HASHED = 16, 2**12  # rows of an array
_HASHED_BYTES = 2**20  # about as many, between these numbers of rows


class Feed(Module):
    """How a compiled step gets its batch from the `data` that it is passed.

    Attributes:
      source: "none", "all" (the data itself), "rows" (an `ArrayFeed`), or "host" (a stack of batches).
      rows: how many rows an epoch has, where that is known.
      batch_size: how many rows a batch has, where that is known.
    """

    source: str = static()
    rows: int | None = static(default=None)
    batch_size: int | None = static(default=None)

    @property
    def description(self) -> list[Any]:
        """What must be the same in a fit that is resumed, for JSON."""
        return [self.source, self.rows, self.batch_size]

    def position(self, data: Any) -> Position | None:
        """The position before the first step."""
        return data.position if self.source in ("rows", "host") else None

    def batch(self, data: Any, step: Any, i: Any) -> tuple[Any, ...]:
        """The batch of a step, the i-th of its call, as the objective's further arguments."""
        if self.source == "none":
            return ()
        if self.source == "all":
            return (data,)
        if self.source == "rows":
            return (data.batch_in_jit(self.at(step)),)
        at = lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False)
        return (jax.tree.map(at, data),)

    def at(self, step: Any) -> Position:
        """The position of a step's batch in arrays: a function of the step alone."""
        assert self.rows is not None and self.batch_size is not None
        batches = self.rows // self.batch_size
        return Position(step // batches, step % batches)


NO_DATA = Feed("none")


def placed(
    where: str, data: Any, batch_size: int | None, key: Any, mesh: Any
) -> tuple[Feed, Any, HostFeed | None]:
    """The feed, the data on the devices (None where the host makes batches), and the feed of these batches or None."""
    if isinstance(data, ArrayFeed | HostFeed):
        if batch_size not in (None, data.batch_size):
            raise ValueError(
                f"{where}(batch_size=…) is {batch_size}, but data is a feed of batches of {data.batch_size} rows. Leave "
                "batch_size out."
            )
        made = data
    elif data is None:
        if batch_size is not None:
            raise ValueError(
                f"{where}(batch_size=…) needs data to draw from; got data=None. Pass data=…."
            )
        return NO_DATA, None, None
    elif batch_size is None and not callable(data) and not isinstance(data, Iterator):
        _check_not_empty(where, data)
        arrays = jax.tree.map(lambda x: as_array(checks.array(where, "data", x)), data)
        whole = _mesh.put_rows(where, mesh, arrays, divide=True)
        return Feed("all"), whole, None
    else:
        made = as_feed(data, batch_size, key, where=where)
    if isinstance(made, HostFeed):
        return Feed("host", made.num_rows, made.batch_size), None, made
    _check_batch(where, made.batch_size, mesh)
    return (
        Feed("rows", made.num_rows, made.batch_size),
        _mesh.put_rows(where, mesh, made, divide=False),
        None,
    )


def as_array(x: Any) -> jax.Array:
    """`x` as an array without weak type, for which programs would be compiled again; of a Python number without compiling."""
    if isinstance(x, jax.Array):
        return jnp.asarray(x, x.dtype)
    return jax.device_put(np.asarray(x, jnp.result_type(x)))


def _check_not_empty(where: str, data: Any) -> None:
    """Refuse data without rows: sums over them are 0, and the fit would look like any other."""
    leaves = jax.tree_util.tree_flatten_with_path(data)[0]
    for path, leaf in leaves:
        if np.shape(leaf)[:1] == (0,):
            raise ValueError(
                f"{where}(data=…) needs data; got shape {np.shape(leaf)} at data{jax.tree_util.keystr(path)}."
            )
    if not leaves:
        raise ValueError(f"{where}(data=…) needs arrays; got none in {data!r}. Leave data out.")


def _check_batch(where: str, batch_size: int, mesh: Any) -> None:
    if mesh is None:
        return
    size = mesh.shape[mesh.axis_names[0]]
    if batch_size % size:
        raise ValueError(
            f"{where}(mesh=…) spreads the rows of a batch over {size} devices; batch_size={batch_size} does not divide. Pass a "
            f"multiple of {size}."
        )


class HostBatches:
    """The stacks of batches that compiled calls take, where the host makes them.

    Args:
      feed: the host's feed.
      mesh: the devices, or None.
      where: the public function, for messages.
      chunk: the most batches that one call needs.
    """

    def __init__(self, feed: HostFeed, mesh: Any, where: str, chunk: int) -> None:
        self.feed, self.mesh, self.where = feed, mesh, where
        self.most = min(chunk, _MOST_STACKED)
        _check_batch(where, feed.batch_size, mesh)

    def take(self, position: Position, count: int) -> tuple[Any, Position]:
        """`count` batches from a position on, in arrays of one length, and the position after them."""
        stacked, after = self.feed.host_batches(position, max(count, 1), pad_to=self.most)
        return _mesh.put_stacked(self.mesh, stacked), after if count else position


def digest(data: Any) -> str | None:
    """A hash of evenly spaced rows of each array, by which other data are noticed; in milliseconds, whatever their size.

    Equal for equal numbers, whatever the memory layout and the devices. None where there is no array, or where one is not on
    devices of this process alone.
    """
    arrays = [jax.random.key_data(x) if is_key(x) else x for x in jax.tree.leaves(data)]
    if not arrays or not all(x.is_fully_addressable for x in arrays):
        return None
    found = hashlib.sha256()
    for x in arrays:
        some = x
        if x.ndim and x.size:
            count = _HASHED_BYTES * len(x) // x.nbytes
            count = min(max(count, _FEWEST_HASHED), _MOST_HASHED)
            some = x[:: math.ceil(len(x) / count)]
        found.update(f"{x.dtype}{x.shape}".encode() + np.asarray(some).tobytes())
    return found.hexdigest()


def on_host(position: Any) -> Any:
    """A data feed's position as NumPy's numbers, which no compiled call takes away."""
    return jax.tree.map(lambda x: np.int32(int(x)), position)

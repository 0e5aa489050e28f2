"""Data for a training loop: batches as a function of a position, which is part of the loop's state."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick.training._epochs import Position
from logtrick.training._host_feed import HostFeed
from logtrick.training._permutation import permuted

Array = jax.Array

# Folded into the fit's key. Steps are int32, so that no step has this key; a smaller number would be the key of a step.
_PURPOSE = np.uint32(2**32 - 1)
_MOST_ROWS = 2**31 - 1


class ArrayFeed(Module):
    """Batches of arrays in memory, gathered within the compiled step: a pytree, to be passed to the compiled function.

    An epoch takes the rows without replacement, in a random order that (key, epoch) determines. Where `batch_size` does not
    divide the number of rows, the last num_rows mod batch_size rows of the epoch's order are left out; these are other rows
    in every epoch, so that in the long run each row is left out equally often. Without a key (`batch_size=None` of
    `as_feed`) a batch is all rows in the order given, and an epoch is one step.

    Attributes:
      data: the arrays.
      key: the key of all epochs; None where a batch is all rows.
      num_rows: N, the number of rows of the data.
      batch_size: B, the number of rows of a batch.
      in_jit: True, since `batch_in_jit` takes traced positions.
    """

    data: Any
    key: Any
    num_rows: int = static()
    batch_size: int = static()
    in_jit: ClassVar[bool] = True

    @property
    def batches_per_epoch(self) -> int:
        """⌊N / B⌋."""
        return self.num_rows // self.batch_size

    @property
    def position(self) -> Position:
        """The position of the first batch."""
        return Position(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    def rows(self, position: Position) -> Array:
        """The numbers of the batch's rows, int32, (batch_size,)."""
        if self.key is None:
            return jnp.arange(self.num_rows, dtype=jnp.int32)
        key = jax.random.fold_in(self.key, position.epoch)
        first = position.batch * self.batch_size
        return permuted(key, first, self.batch_size, self.num_rows)

    def batch_in_jit(self, position: Position) -> Any:
        """The batch at a position: the arrays, `batch_size` rows of each."""
        if self.key is None:
            return self.data
        rows = self.rows(position)
        return jax.tree.map(lambda x: x.at[rows].get(mode="promise_in_bounds"), self.data)

    def advance(self, position: Position) -> Position:
        """The position after this one."""
        last = position.batch + 1 == self.batches_per_epoch
        epoch = jnp.where(last, position.epoch + 1, position.epoch)
        return Position(epoch, jnp.where(last, 0, position.batch + 1))


@in_words("lt.training.as_feed")
def as_feed(
    data: Any,
    batch_size: int | None,
    key: Any,
    *,
    num_rows: int | None = None,
    prefetch: int | None = None,
    where: str = "as_feed",
) -> ArrayFeed | HostFeed:
    """Make batches a function of a position (epoch, batch), so that a run can be resumed exactly where it was.

    `data` is one of two things. Either arrays: a pytree with a common leading axis of rows. Then the result is an
    `ArrayFeed`, `feed.in_jit` is True, and within the compiled step

        batch = feed.batch_in_jit(position);   position = feed.advance(position)

    Or a function `epoch -> iterator of batches`, called with 0, 1, …, which returns a new iterator each time; a batch is a
    pytree of NumPy arrays of `batch_size` rows, and all batches have one structure, shape and dtype. Then the result is a
    `HostFeed`, `feed.in_jit` is False, and between the compiled calls

        batches, position = feed.host_batches(position, n)       # stacked: a leading axis of n

    Both start at `feed.position`, a pytree of two int32 scalars, which belongs in the loop's state.

    Args:
      data: arrays, or a function from the number of an epoch to an iterator of batches. An iterator itself is refused: it
        cannot be started again where a run stopped.
      batch_size: rows per batch; None, for arrays only, is all of them.
      key: a typed key; it may be the key of a fit, whose steps have keys of their own. Not used where `data` is a function.
      num_rows: for a function, how many rows an epoch has; while the batches come it is checked that an epoch has
        ⌊num_rows / batch_size⌋ of them. None does not check.
      prefetch: for a function, how many batches are read ahead; None is as many as the last request had.
      where: the public function that was given the data, for messages.
    Returns:
      An `ArrayFeed` or a `HostFeed`.
    Raises:
      TypeError: an iterator, or something that is neither arrays nor a function.
      ValueError: no rows, leading axes that differ, a batch size of 0 or beyond the rows.
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick.training import as_feed
      >>> feed = as_feed({"x": jnp.arange(7) * 10}, 3, jax.random.key(0))
      >>> position = feed.position
      >>> for _ in range(4):
      ...     print(*map(int, position), feed.batch_in_jit(position)["x"])
      ...     position = feed.advance(position)
      0 0 [60  0 50]
      0 1 [20 30 40]
      1 0 [10 60 50]
      1 1 [ 0 20 30]
    """
    if isinstance(data, Iterator):
        raise TypeError(
            f"{where}(data=…) needs arrays or a function epoch -> iterator of batches; got the iterator "
            f"{type(data).__name__}, which cannot be resumed. Pass the function that makes it."
        )
    if callable(data):
        return _host_feed(data, batch_size, num_rows, prefetch, where)
    total = _common_rows(data, where)
    if num_rows not in (None, total):
        raise ValueError(f"{where}(num_rows=…) needs the {total} rows of data; got {num_rows}.")
    data = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jnp.asarray(x), data)
    if batch_size is None:
        return ArrayFeed(data, None, total, total)
    batch_size = _within(batch_size, total, where)
    return ArrayFeed(data, jax.random.fold_in(as_key(key), _PURPOSE), total, batch_size)


def _host_feed(
    factory: Callable[[int], Any],
    batch_size: int | None,
    num_rows: int | None,
    prefetch: int | None,
    where: str,
) -> HostFeed:
    if batch_size is None:
        raise ValueError(
            f"{where}(batch_size=…) needs the rows per batch where data is a function; got None."
        )
    batch_size = checks.positive_int(where, "batch_size", batch_size)
    if num_rows is not None:
        num_rows = checks.positive_int(where, "num_rows", num_rows)
        batch_size = _within(batch_size, num_rows, where)
    if prefetch is not None:
        prefetch = checks.positive_int(where, "prefetch", prefetch)
    return HostFeed(factory, batch_size, num_rows, prefetch, where)


def _within(batch_size: int, num_rows: int, where: str) -> int:
    batch_size = checks.positive_int(where, "batch_size", batch_size)
    if batch_size > num_rows:
        raise ValueError(
            f"{where}(batch_size=…) needs at most the {num_rows} rows of data; got {batch_size}. Pass fewer, or None to use "
            "all rows in every step."
        )
    return batch_size


def _common_rows(data: Any, where: str) -> int:
    """The length of the leading axis that all leaves share."""
    leaves = jax.tree_util.tree_flatten_with_path(data)[0]
    for path, leaf in leaves:
        if not isinstance(leaf, jax.Array | np.ndarray):
            raise TypeError(
                f"{where}(data=…) needs a pytree of arrays, or a function epoch -> iterator of batches; got "
                f"{type(leaf).__name__} at data{jax.tree_util.keystr(path)}. A loader becomes a function by "
                "`lambda epoch: iter(loader)`."
            )
    shapes = {"data" + jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
    rows = {shape[:1] for shape in shapes.values()}
    if len(rows) != 1 or rows == {()}:
        raise ValueError(
            f"{where}(data=…) needs arrays with one leading axis of rows in common; got {shapes}. Put the rows first."
        )
    total = min(rows)[0]
    if not 1 <= total <= _MOST_ROWS:
        raise ValueError(f"{where}(data=…) needs from 1 to {_MOST_ROWS} rows; got {total}.")
    return total

"""Batches that the host makes: read ahead by a thread, checked, stacked, and put onto the device."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import numpy as np

from logtrick._core import checks
from logtrick.training._epochs import Epochs, Position
from logtrick.training._reader import Reader


class HostFeed:
    """Batches from a function `epoch -> iterator`, made by `as_feed`.

    A thread runs the iterator and checks its batches while the device computes. `host_batches` stacks them and starts
    their transfer without waiting for it; called before the previous chunk's results are looked at, it costs the device no
    time. A request for the position where the last one ended goes on reading; a request for any other position starts the
    epoch's iterator again and reads the batches before the position, which are skipped.

    An exception of the iterator is raised by `host_batches`, after the batches that came before. Use the feed as a context
    manager, or call `close`, which ends the thread and closes a generator.

    Attributes:
      batch_size: rows per batch.
      num_rows: rows of an epoch as declared, or None.
      in_jit: False, since batches are made between the compiled calls.
    """

    in_jit: ClassVar[bool] = False

    def __init__(
        self,
        factory: Callable[[int], Any],
        batch_size: int,
        num_rows: int | None,
        prefetch: int | None,
        where: str,
    ) -> None:
        self.batch_size = batch_size
        self.num_rows = num_rows
        self._epochs = Epochs(factory, batch_size, num_rows, where)
        self._prefetch = prefetch
        self._where = where
        self._reader: Reader | None = None
        self._next: tuple[int, int] | None = None

    @property
    def position(self) -> Position:
        """The position of the first batch."""
        return Position(np.int32(0), np.int32(0))

    def host_batches(
        self, position: Position, n: int, pad_to: int | None = None, sharding: Any = None
    ) -> tuple[Any, Position]:
        """The n batches from `position` on, and the position after them.

        Args:
          position: where to start. The NumPy numbers that are returned here can be passed without waiting for the device.
          n: how many, at least 1.
          pad_to: the length of the leading axis, n or more, so that one compiled program serves shorter chunks too; the
            entries beyond n repeat the last batch. None is n.
          sharding: where to put the batches; None is the default device.
        Returns:
          A pytree of arrays (pad_to, batch_size, …), and a `Position` of NumPy's int32.
        Raises:
          ValueError: a batch, or the number of batches of an epoch, is not what was declared or seen before. Exceptions of
            the user's function and its iterators are raised too.
        """
        n = checks.positive_int(self._where, "n", n)
        length = n if pad_to is None else pad_to
        if length < n:
            raise ValueError(f"{self._where}: pad_to needs at least n = {n}; got {pad_to}.")
        reader = self._at(int(position.epoch), int(position.batch))
        try:
            taken = reader.take(n, n if self._prefetch is None else self._prefetch)
        except BaseException:
            self.close()
            raise
        self._next = taken[-1][1]
        stacked = _stacked([batch for batch, _ in taken], length)
        return jax.device_put(stacked, sharding), Position(*map(np.int32, self._next))

    def close(self) -> None:
        """End the thread. A later request starts another."""
        if self._reader is not None:
            self._reader.close()
        self._reader = self._next = None

    def __enter__(self) -> "HostFeed":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _at(self, epoch: int, batch: int) -> Reader:
        if self._reader is None or self._next != (epoch, batch):
            self.close()
            self._reader = Reader(self._epochs.batches(epoch, batch))
        return self._reader


def _stacked(batches: list[Any], length: int) -> Any:
    """The batches along a new leading axis, in the dtypes that JAX will have them in."""

    def stack(*leaves: Any) -> np.ndarray:
        shape, dtype = np.shape(leaves[0]), jax.dtypes.canonicalize_dtype(leaves[0].dtype)
        whole = np.empty((length, *shape), dtype)
        for i, leaf in enumerate(leaves):
            whole[i] = leaf
        whole[len(leaves) :] = leaves[-1]
        return whole

    return jax.tree.map(stack, *batches)

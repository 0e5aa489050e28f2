"""Epochs of data: the position of a fit in them, and the batches that the host makes, checked."""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

_Form = tuple[Any, list[tuple[tuple[int, ...], np.dtype]]]


class Position(NamedTuple):
    """Where the next batch is: a pytree of two int32 scalars, part of the state of a training loop.

    Attributes:
      epoch: how many epochs are over.
      batch: how many batches of this epoch were taken. At the end of an epoch of a `HostFeed` this is the number of its
        batches, since only the request for the next batch shows that it was the last one.
    """

    epoch: Any
    batch: Any


class Epochs:
    """The batches of a function `epoch -> iterator of batches`, from any position on."""

    def __init__(
        self, factory: Callable[[int], Any], batch_size: int, num_rows: int | None, where: str
    ) -> None:
        self.factory = factory
        self.batch_size = batch_size
        self.num_rows = num_rows
        self.expected = None if num_rows is None else num_rows // batch_size
        self.where = where
        self.form: _Form | None = None

    def batches(self, epoch: int, batch: int) -> Generator[tuple[Any, tuple[int, int]], None, None]:
        """Yield, without end, a batch and the position (epoch, batch) after it."""
        skip = batch
        while True:
            iterator = self._iterator(epoch)
            count = 0
            try:
                for item in iterator:
                    count += 1
                    if self.expected is not None and count > self.expected:
                        raise self._other_number(epoch, f"more than {self.expected}")
                    if count > skip:
                        yield self._checked(epoch, count, item), (epoch, count)
            finally:
                if isinstance(iterator, Generator):
                    iterator.close()
            self._check_whole(epoch, count, skip)
            epoch, skip = epoch + 1, 0

    def _iterator(self, epoch: int) -> Iterator[Any]:
        made = self.factory(epoch)
        if not isinstance(made, Iterable):
            raise TypeError(
                f"{self.where}(data=…) needs a function that returns an iterator of batches; got "
                f"{type(made).__name__} for epoch {epoch}. Write it with `yield`, or return iter(…)."
            )
        return iter(made)

    def _checked(self, epoch: int, count: int, item: Any) -> Any:
        """The batch as NumPy arrays; it must have the form of the first batch."""
        item = jax.tree.map(np.asarray, item)
        leaves, tree = jax.tree.flatten(item)
        form = (tree, [(leaf.shape, leaf.dtype) for leaf in leaves])
        place = f"{self.where}(data=…): batch {count - 1} of epoch {epoch}"
        if self.form is None:
            rows = [leaf.shape[:1] for leaf in leaves]
            if not rows or set(rows) != {(self.batch_size,)}:
                raise ValueError(
                    f"{place} needs arrays of batch_size = {self.batch_size} rows; got {_words(form)}. Return batches of "
                    "one size, and drop or fill up the last one."
                )
            self.form = form
        if form != self.form:
            raise ValueError(
                f"{place} needs the form of the first batch, {_words(self.form)}; got {_words(form)}. Return batches of one "
                "size, and drop or fill up the last one."
            )
        return item

    def _check_whole(self, epoch: int, count: int, skipped: int) -> None:
        if count == 0:
            raise ValueError(
                f"{self.where}(data=…) needs a new iterator for every epoch; got one without a batch for epoch {epoch}. "
                "Make the iterator within the function."
            )
        if count < skipped:
            raise ValueError(
                f"{self.where}(data=…): epoch {epoch} has {count} batches, but the run had taken {skipped} of it. Resume "
                "with the data of the run."
            )
        if self.expected is not None and count < self.expected:
            raise self._other_number(epoch, f"only {count}")

    def _other_number(self, epoch: int, count: str) -> ValueError:
        return ValueError(
            f"{self.where}(num_rows=…) needs the number of rows of an epoch; got {self.num_rows}, but epoch {epoch} has "
            f"{count} batches of {self.batch_size} rows. Pass the true number."
        )


def _words(form: _Form) -> str:
    tree, leaves = form
    kinds = [f"{dtype}{list(shape)}" for shape, dtype in leaves]
    return str(jax.tree.unflatten(tree, kinds)).replace("'", "")

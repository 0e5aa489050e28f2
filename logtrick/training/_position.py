"""Where a run is in its data."""

from typing import Any, NamedTuple


class Position(NamedTuple):
    """The next batch: a pytree of two int32 scalars, part of the state of a training loop.

    Attributes:
      epoch: how many epochs are over.
      batch: how many batches of this epoch were taken. At the end of an epoch of a `HostFeed` this is the number of its
        batches: that it was the last one shows only when the next one is asked for.
    """

    epoch: Any
    batch: Any

"""The independent runs of a program, seen from inside one of them."""

from typing import Any

import jax

from logtrick._core.kernel import as_inexact, sample_sum, stop
from logtrick._core.module import Module, static

Array = jax.Array


class Runs(Module):
    """The axis of runs, seen from one run.

    Args:
      index: this run's position, as a float.
      count: how many runs share the axis: the chunk's, where there are chunks.
    """

    index: Any
    count: int = static()

    def sum(self, x: Any) -> Array:
        """The sum of (stopped) `x` over the runs."""
        return sample_sum(x, self.index)

    def leave_one_out(self, x: Any) -> Array:
        """The mean of (stopped) `x` over the other runs."""
        return (self.sum(x) - stop(as_inexact(x))) / (self.count - 1)

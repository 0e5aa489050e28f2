"""The runs of a program, seen from inside one of them."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import as_inexact, sample_sum, stop
from logtrick._core.module import Module, static

Array = jax.Array


class Runs(Module):
    """The axis of runs, seen from one run.

    Args:
      index: this run's position, as a float.
      count: how many runs share the axis: the chunk's, where there are chunks.
      block: how many consecutive runs depend on each other through the plan of the site at hand.
    """

    index: Any
    count: int = static()
    block: int = static(default=1)

    def sum(self, x: Any) -> Array:
        """The sum of (stopped) `x` over the runs."""
        return sample_sum(x, self.index)

    def sum_of_others(self, x: Any) -> Array:
        """The sum of (stopped) `x` over the runs that are independent of this one: those of the other blocks.

        Not by subtraction: in float32 a large term of this run would leave its rounding in a small sum of the others.
        """
        return sample_sum(x, self.index, self.block, others=True)

    def leave_one_out(self, x: Any) -> Array:
        """The mean of (stopped) `x` over the runs that are independent of this one."""
        own = stop(as_inexact(x)) if self.block == 1 else sample_sum(x, self.index, self.block)
        return (self.sum(x) - own) / (self.count - self.block)


def standard_error(values: Array) -> Array:
    """Of the mean of independent `values`, shape (n,); nan for one. Scaled, since the squares of 1e30 are out of range."""
    n = values.shape[0]
    if n < 2:
        return jnp.full((), jnp.nan, values.dtype)
    away = values - jnp.mean(values)
    largest = jnp.max(jnp.abs(away))
    largest = jnp.where(largest == 0, 1.0, largest).astype(values.dtype)
    return largest * jnp.sqrt(jnp.mean((away / largest) ** 2)) / math.sqrt(n - 1)

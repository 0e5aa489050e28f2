"""Noise for every step of a loop, or element of a plate, drawn at once."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.module import static
from logtrick.noise._noise import KeyPerRun, Noise, NoNoise, StandardNormal, Uniform

# Kinds of noise whose rows are independent, so that a row may serve as the noise of one step.
INDEPENDENT = (Uniform, StandardNormal, KeyPerRun, NoNoise)


class Steps(Noise):
    """The noise of `length` steps: row r, step t is row r · length + t of the noise of one step.

    Args:
      noise: the noise of one step.
      length: the number of steps.
    Example:
      >>> import jax, logtrick as lt
      >>> lt.noise.Steps(lt.noise.StandardNormal((2,)), 5).rows(jax.random.key(0), 0, 3, total=3).shape
      (3, 5, 2)
    """

    noise: Any  # a Noise, which has no leaves: compared as part of the tree
    length: int = static(default=1)

    @property
    def counted(self) -> bool:  # type: ignore[override]  # that of a step
        return self.noise.counted

    @property
    def size(self) -> int:
        return self.length * self.noise.size

    def rows(self, key: jax.Array, start: Any, count: int, total: int) -> Any:
        if total * self.length > 2**32:
            raise ValueError(
                f"{total} samples of {self.length} steps exceed 2**32 rows of noise. Use fewer samples per call."
            )
        if not isinstance(start, int):
            start = jnp.asarray(start, jnp.uint32)
        first = start * self.length
        drawn = self.noise.rows(key, first, count * self.length, total * self.length)
        return jax.tree.map(lambda a: a.reshape(count, self.length, *a.shape[1:]), drawn)

    def one(self, key: jax.Array) -> Any:
        return jax.tree.map(lambda a: a[0], self.rows(key, 0, 1, 1))

    def example(self) -> Any:
        one = self.noise.example()
        return jax.tree.map(lambda a: jnp.broadcast_to(a, (self.length, *jnp.shape(a))), one)

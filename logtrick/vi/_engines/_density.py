"""The log density as the host's algebra sees it: float64 NumPy arrays, blocks of one compiled shape, a budget."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.keys import as_key

# Rows per call of the compiled program. XLA compiles a program for each shape, and compiling is what the first fit spends
# its time on, so every stage calls one shape: 16 starts fill half a block, 256 draws eight blocks.
BLOCK = 32
_HUGE = 1e100  # values and gradients beyond count as not finite: their squares would not be
_ROWS = 256  # of a block of values without gradients


class BudgetSpent(Exception):
    """Raised inside an engine by the evaluation that would start beyond its budget."""


class Density:
    """A target's log density and gradient on the host.

    A value that is not finite, or whose gradient is not, counts as −inf with gradient zero: line searches turn back from it,
    and draws that fall there are shrunk (`finite_draws`).
    """

    def __init__(self, target: Any, budget: int | None = None, progress: Any = None) -> None:
        self.target = target
        self.dim: int = target.dim
        self.budget = budget
        self.evaluations = 0
        self.nonfinite = 0
        self._progress: Callable[[str, int], Any] | None = progress
        self.dtype = np.dtype(
            getattr(target, "dtype", None) or jax.dtypes.canonicalize_dtype(float)
        )
        self.epsilon = float(jnp.finfo(self.dtype).eps)

    def __call__(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log densities (n,) and gradients (n, d) at the rows of `points`."""
        count = len(points)
        self._charge(count)
        blocks = [
            self.target.value_and_grad(_padded(points[i : i + BLOCK], self.dtype))
            for i in range(0, count, BLOCK)
        ]
        values = np.concatenate([np.asarray(v, np.float64) for v, _ in blocks])[:count]
        gradients = np.concatenate([np.asarray(g, np.float64) for _, g in blocks])[:count]
        return self._cleaned(values, gradients)

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Log densities (n,) alone, as they are: by the compiled program of the gradients where there is one."""
        self._charge(len(points))
        size = BLOCK if self.target.differentiable else _ROWS
        blocks = []
        for i in range(0, len(points), size):
            rows = _padded(points[i : i + size], self.dtype, size)
            if self.target.differentiable:
                blocks.append(self.target.value_and_grad(rows)[0])
            else:
                blocks.append(self.target.batch(rows))
        return np.concatenate([np.asarray(v, np.float64) for v in blocks])[: len(points)]

    def values(self, points: np.ndarray) -> np.ndarray:
        """Log densities (n,) alone; the call for densities that have no gradient. One compiled program per n."""
        self._charge(len(points))
        values = np.asarray(self.target.batch(points.astype(self.dtype)), np.float64)
        return self._cleaned(values, np.zeros((len(points), 1)))[0]

    def say(self, line: str) -> None:
        """Report progress."""
        if self._progress is not None:
            self._progress(line, self.evaluations)

    def _charge(self, count: int) -> None:
        if self.budget is not None and self.evaluations >= self.budget:
            raise BudgetSpent
        self.evaluations += count

    def _cleaned(self, values: np.ndarray, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        bad = ~((np.abs(values) < _HUGE) & (np.abs(gradients) < _HUGE).all(1))
        if bad.any():
            self.nonfinite += int(bad.sum())
            values = np.where(bad, -np.inf, values)
            gradients = np.where(bad[:, None], 0.0, gradients)
        return values, gradients


def _padded(rows: np.ndarray, dtype: np.dtype, size: int = BLOCK) -> np.ndarray:
    """A whole block: the last one is filled up with copies of its first row."""
    missing = size - len(rows)
    if missing:
        rows = np.concatenate([rows, np.broadcast_to(rows[:1], (missing, rows.shape[1]))])
    # A step too far may overflow: its density is not finite then, and `_cleaned` counts it.
    with np.errstate(over="ignore"):
        return rows.astype(dtype)


def generator(key: Any) -> np.random.Generator:
    """NumPy's generator seeded by a JAX key: noise on the host without compiling anything."""
    return np.random.default_rng(np.asarray(jax.random.key_data(as_key(key))).ravel())

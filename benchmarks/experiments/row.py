"""One number of a published experiment: published, exact and obtained."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_ORACLES = pathlib.Path(__file__).parents[2] / "tests" / "data" / "oracles.json"


@dataclasses.dataclass(frozen=True)
class Row:
    """One number.

    Attributes:
      quantity: what it is.
      expected: exact (closed form, enumeration, quadrature), or of a plain loop written by hand, without the library.
      obtained: by the library's public functions.
      within: the tolerance, relative; absolute where the expected number is 0.
      error: the standard error of what was obtained.
      published: what the paper prints, or what can be read off its figure.
      at_most: whether the expected number is a bound.
      evaluations: of f in the call whose variance it is; None where it is no variance.
    """

    quantity: str
    expected: float
    obtained: float
    within: float = 0.0
    error: float = 0.0
    published: float | None = None
    at_most: bool = False
    evaluations: int | None = None

    @property
    def work(self) -> float | None:
        """Variance × evaluations of f: what an accuracy costs."""
        return None if self.evaluations is None else self.obtained * self.evaluations

    @property
    def right(self) -> bool:
        """Whether the obtained number is the expected one."""
        if self.at_most:
            return self.obtained <= self.expected
        off = abs(self.obtained - self.expected)
        return bool(off <= self.within * (abs(self.expected) or 1.0))


def mean_row(
    quantity: str, expected: float, draws: np.ndarray, published: float | None = None
) -> Row:
    """The mean of draws, within five standard errors; exact where nothing varies."""
    error = float(draws.std(ddof=1) / len(draws) ** 0.5)
    within = max(5 * error, 1e-6 * abs(expected)) / (abs(expected) or 1.0)
    return Row(quantity, expected, float(draws.mean()), within, error, published)


def variance_row(
    quantity: str,
    expected: float,
    draws: np.ndarray,
    within: float = 0.05,
    published: float | None = None,
    evaluations: int | None = None,
) -> Row:
    """The variance of draws. Where 0 is expected, rounding of the draws' own size is allowed."""
    squares = (draws - draws.mean()) ** 2
    error = float(squares.std(ddof=1) / len(draws) ** 0.5)
    if expected == 0:
        within = 1e-12 * (1 + float(draws.mean()) ** 2)
    variance = float(draws.var(ddof=1))
    return Row(quantity, expected, variance, within, error, published, evaluations=evaluations)


def median_row(
    quantity: str,
    expected: float,
    draws: np.ndarray,
    within: float,
    published: float | None = None,
) -> Row:
    """The median of draws, its standard error by the binomial law of the order statistics."""
    low, high = np.quantile(draws, 0.5 + np.array([-0.5, 0.5]) / len(draws) ** 0.5)
    median = float(np.median(draws))
    return Row(quantity, expected, median, within, float(high - low) / 2, published)


def gradients(gradient: Callable[[Any], Any], calls: int, seed: int = 0) -> np.ndarray:
    """A gradient estimate for each of `calls` keys, float64, (calls, …)."""
    keys = jax.random.split(jax.random.key(seed), calls)
    return np.asarray(jax.jit(jax.vmap(gradient))(keys), np.float64)


@functools.cache
def oracle(name: str) -> dict[str, Any]:
    """A row of the project's oracles: exact gradient, mean and variance of one call."""
    rows = json.loads(_ORACLES.read_text())
    return {row["id"]: row for row in rows}[name]

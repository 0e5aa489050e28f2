"""Whether a trace and its parameters stand still, from windows of a fit and their Monte-Carlo errors."""

import math
import statistics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_BLOCKS = 8  # blocks of a window, whose means give its Monte-Carlo error
ROWS = 4  # a window needs at least so many looks at the parameters
PATH = 1e-3  # updates vanish if those of a window together are below this fraction of the parameters' scale
_PRESENT = (
    0.1  # the gradient has not vanished if its norm is at least this fraction of the usual one
)
_GROWTH = 1.1  # the number of steps grows by this factor from one verdict to the next
_SKETCH = 64  # numbers that stand for many parameters


class Change(NamedTuple):
    """Differences between the means of windows.

    Attributes:
      delta, error: the difference between the third and the last quarter, and its standard error.
      slow_delta, slow_error: the same for the second quarter and the last half.
      noise: the standard deviation of one step's noise.
      rounding: the largest difference that float32 cannot tell from zero.
    """

    delta: float
    error: float
    slow_delta: float
    slow_error: float
    noise: float
    rounding: float

    def stands_still(self, resolution: float, z: float) -> bool:
        """Whether no change is significant, and the later one is bounded below what matters."""
        most = max(resolution * self.noise, self.rounding)
        delta, slow = abs(self.delta), abs(self.slow_delta)
        significant = delta > max(z * self.error, self.rounding)
        slowly = slow > max(z * self.slow_error, self.rounding)
        return not significant and not slowly and delta + z * self.error <= most


def looks(step: int, every: int, repeats: int, min_steps: int) -> list[int] | None:
    """The steps whose verdicts must agree at `step`; None where no verdict is due at `step`."""
    series, at = [], max(min_steps, 4 * ROWS * every)
    at = -(-at // every) * every
    while at < step:
        series.append(at)
        at = max(-(-math.ceil(at * _GROWTH) // every), at // every + 1) * every
    if at != step or len(series) < repeats - 1:
        return None
    return [*series[len(series) - repeats + 1 :], step]


def compare(values: Any) -> Change:
    """Compare the third and the last quarter of a trace, and the second quarter and the last half."""
    values = np.asarray(values, np.float64)
    quarter = len(values) // 4
    last = values[-quarter:]
    third = values[-2 * quarter : -quarter]
    second = values[-3 * quarter : -2 * quarter]
    half = values[-2 * quarter :]
    windows = [window[np.isfinite(window)] for window in (last, third, second, half)]
    last, third, second, half = windows
    if min(map(len, windows)) < _BLOCKS:
        return Change(math.inf, math.inf, math.inf, math.inf, 0.0, 0.0)
    # Half the squared difference of neighbors is the noise's variance, whatever the slope; its median withstands outliers.
    noise = 1.4826 * float(np.median(np.abs(np.diff(last)))) / math.sqrt(2)
    return Change(
        delta=float(np.mean(last) - np.mean(third)),
        error=math.hypot(_error(last), _error(third)),
        slow_delta=float(np.mean(half) - np.mean(second)),
        slow_error=math.hypot(_error(half), _error(second)),
        noise=noise,
        rounding=4 * float(np.finfo(np.float32).eps) * float(np.max(np.abs(last))),
    )


def _error(window: np.ndarray) -> float:
    """The standard error of a window's mean, from the means of its blocks."""
    length = len(window) // _BLOCKS
    blocks = window[-length * _BLOCKS :].reshape(_BLOCKS, length).mean(1)
    return float(np.std(blocks, ddof=1)) / math.sqrt(_BLOCKS)


class Motion(NamedTuple):
    """Whether parameters move beyond their Monte-Carlo error, and in one direction."""

    significant: bool
    persistent: bool


def drift(rows: np.ndarray) -> Motion:
    """Compare the parameters of the third and the last quarter of the looks; at least 16."""
    rows = np.asarray(rows, np.float64)  # in float32 products of their norms are 0 or inf
    quarter = len(rows) // 4
    second, early, late = (rows[len(rows) - k * quarter :][:quarter] for k in (3, 2, 1))
    blocks = min(_BLOCKS, quarter)
    move = late.mean(0) - early.mean(0)
    error = np.hypot(_errors(late, blocks), _errors(early, blocks))
    rounding = 4 * np.finfo(np.float32).eps * np.max(np.abs(late), initial=0.0)
    critical = student(1 - 0.025 / max(rows.shape[1], 1), 2 * (blocks - 1))
    significant = bool(np.any(np.abs(move) > np.maximum(critical * error, rounding)))
    before = early.mean(0) - second.mean(0)
    cosine = move @ before / max(np.linalg.norm(move) * np.linalg.norm(before), 1e-300)
    return Motion(significant, bool(cosine > 0.5))


def _errors(rows: np.ndarray, blocks: int) -> np.ndarray:
    length = len(rows) // blocks
    means = rows[-length * blocks :].reshape(blocks, length, -1).mean(1)
    return np.std(means, axis=0, ddof=1) / math.sqrt(blocks)


def student(p: float, freedom: int) -> float:
    """Student's quantile, by its expansion in 1/freedom (Abramowitz & Stegun 26.7.5)."""
    x = statistics.NormalDist().inv_cdf(p)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
    )
    return sum(term / freedom**k for k, term in enumerate(terms))


def frozen(path: float, rows: np.ndarray, gradient_norms: Any, window: int) -> bool:
    """Whether all updates of a window together are small against the parameters, and the gradient is not."""
    rows = np.asarray(rows, np.float64)
    scale = max(np.linalg.norm(rows, axis=1).max(), np.ptp(rows, axis=0).max(initial=0.0))
    norms = np.asarray(gradient_norms, np.float64)
    norms = np.where(np.isfinite(norms), norms, np.inf)
    usual, now = np.median(norms), np.median(norms[-window:])
    return bool(path < PATH * scale and now > 0 and now >= _PRESENT * usual)


@jax.jit
def sketch(params: Any) -> jax.Array:
    """The parameters themselves where they are few, else 64 random signed sums of them (a count sketch)."""
    leaves = [jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(params)]
    total = sum(x.size for x in leaves)
    if total <= _SKETCH:
        return jnp.concatenate(leaves)
    key = jax.random.key(0)
    out = jnp.zeros(_SKETCH)
    for i, x in enumerate(leaves):
        x = jnp.pad(x, (0, -x.size % _SKETCH)).reshape(-1, _SKETCH)
        signs = jax.random.rademacher(jax.random.fold_in(key, i), x.shape, jnp.int8)
        shift = i * 17 % _SKETCH  # so that small leaves do not meet in the same places
        out = out + jnp.roll(jnp.sum(x * signs, 0), shift)
    return out

"""A stop rule with words that differ: `converged`, `noise floor`, `frozen`."""

import math
import statistics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick.training._listener import Listener

_BLOCKS = 8  # of a window, for its Monte-Carlo error
_ROWS = 4  # visits that a window of parameters needs at least
_GROWTH = 1.1  # the fit grows by this factor between two judgments
_SKETCH = 64  # numbers that stand for the parameters
_PATH, _PRESENT = 1e-3, 0.1  # see `_frozen`


class Converged(Listener):
    """End a fit when it stands still, and say in which sense.

    At step n the windows E = [n/2, 3n/4) and L = [3n/4, n) are compared, each cut into 8 blocks, whose means give its
    Monte-Carlo error, correlated steps included. With Δ the difference of the windows' means and se its standard error:

    - the objective stands still if |Δ| ≤ z · se and |Δ| + z · se ≤ `resolution` · σ, σ the standard deviation of one step's
      noise: so a window too short to see a slope never counts as flat; and if [n/4, n/2) and [n/2, n) differ by no more than
      z of their standard errors, which slow power laws do;
    - the parameters stand still if no coordinate's Δ is significant (at 5 %, jointly), and drift if one is and the motion
      goes on in the direction it had before;
    - `converged`: both stand still; `noise floor`: the objective stands still and the parameters drift; `frozen`: the
      updates of a whole window together are below 1e-3 of the parameters' own scale, while the gradient has not vanished (Adam
      after one huge gradient, or a learning rate that went to zero).

    A verdict counts when it is the same `repeats` times in a row, n growing by 10 % from one to the next. The rule sees the
    objective that is trained, in the parameters that are returned, and looks at them at multiples of `every` only, so that a
    fit that is resumed ends at the same step.

    Measured on traces of independent noise (`benchmarks/stop_rule.py`): 0 of 4,000 that still improved by more than
    `resolution` σ stopped. Where the objective is flat from the start, half of the fits end within 8,000 steps, nine of ten
    within 13,000 (at a `resolution` of 0.2 within 2,200 and 3,100, and slopes below 0.2 σ in 500 steps go unseen); in
    general a fit must have stood still for most of its steps.

    Args:
      resolution: the change between the windows that matters, in standard deviations of one step's noise.
      z: how many standard errors a change must have to count.
      repeats: how many times in a row the verdict must be the same.
      min_steps: no verdict before.
      every: steps between two looks at the parameters.
    Raises:
      ValueError: an argument out of its range.
      TypeError: counts that are no ints.
    References:
      Glynn & Whitt (1991), "Estimating the asymptotic variance with batch means".
    Example:
      >>> import jax, optax, logtrick as lt
      >>> objective = lambda p, key: (p - jax.random.normal(key)) ** 2
      >>> stop = lt.training.Converged(resolution=0.2, every=20)
      >>> fit = lt.minimize(jax.random.key(0), objective, 3.0, optax.sgd(0.02), num_steps=100_000, stop=stop)
      >>> fit.status, len(fit.history.value) < 20_000
      ('converged', True)
    """

    name = "converged"

    def __init__(
        self,
        resolution: float = 0.1,
        z: float = 2.0,
        repeats: int = 3,
        min_steps: int = 400,
        every: int = 100,
    ) -> None:
        where = "lt.training.Converged"
        for name, value in (("resolution", resolution), ("z", z)):
            if not (isinstance(value, int | float) and value > 0 and math.isfinite(value)):
                raise ValueError(
                    f"{where}({name}=…) needs a positive number; got {value!r}. Leave it out for the default."
                )
        self.resolution, self.z = float(resolution), float(z)
        self.repeats = checks.positive_int(where, "repeats", repeats)
        self.min_steps = checks.positive_int(where, "min_steps", min_steps)
        self.every = self._every = checks.positive_int(where, "every", every)
        self._rows: list[np.ndarray] = []

    def arrays(self) -> dict[str, Any]:
        """See `Listener.arrays`: the parameters' sketch at every look."""
        return {"rows": np.array(self._rows, np.float32)} if self._rows else {}

    def restore(self, arrays: dict[str, Any]) -> None:
        """See `Listener.restore`."""
        self._rows = list(np.asarray(arrays.get("rows", ()), np.float32))

    def start(self, run: Any) -> None:
        """See `Listener.start`."""
        if not run.step:
            self._rows = []
        else:
            self._judge(run)

    def after_chunk(self, run: Any) -> None:
        """See `Listener.after_chunk`."""
        if run.step % self._every == 0 and run.step // self._every > len(self._rows):
            params, _ = run.program.shown(run.state)
            self._rows.append(np.asarray(_sketch(params)))
            self._judge(run)

    def _judge(self, run: Any) -> None:
        """End the fit where the same verdict was found at the last `repeats` looks of a growing series."""
        steps = looks(run.step, self._every, self.repeats, self.min_steps)
        if steps is None:
            return
        verdicts = [self._verdict(run.history, step) for step in steps]
        first = verdicts[0]
        if first is not None and all(v is not None and v.word == first.word for v in verdicts):
            run.stop(first.word, first.reason)

    def _verdict(self, history: Any, step: int) -> "Verdict | None":
        rows = np.array(self._rows[: step // self._every])
        if len(rows) < 4 * _ROWS:
            return None
        window = step // 4
        path = float(np.sum(history.update_norm[step - window : step]))
        if _frozen(path, rows, history.gradient_norm[:step], window):
            return Verdict(
                "frozen",
                f"the last {window} updates together moved the parameters by less than {_PATH:g} of their own scale, while "
                "the gradient has not vanished. Adam does so after one huge gradient, and a learning rate that went to zero.",
            )
        change = compare(history.value[:step])
        if not change.stands_still(self.resolution, self.z):
            return None
        motion = drift(rows)
        said = f"the objective changed by {change.delta:.3g} ± {change.error:.2g} over the last {window} steps"
        if not motion.significant:
            return Verdict("converged", f"{said}, and the parameters stand still")
        if motion.persistent:
            factor = (self.z * change.error / max(abs(change.delta), 1e-3 * change.error)) ** 2
            return Verdict(
                "noise floor",
                f"{said}, below what the noise lets see, while the parameters still drift. About {factor:.2g} × the samples a "
                "step would resolve such a change.",
            )
        return None


class Verdict(NamedTuple):
    """A status and its reason."""

    word: str
    reason: str


class Change(NamedTuple):
    """Differences of windows' means.

    Attributes:
      delta, error: of the third and the last quarter, and its standard error.
      slow_delta, slow_error: of the second quarter and the last half.
      noise: the standard deviation of one step's noise.
      rounding: what float32 cannot tell from zero.
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
    """The steps whose verdicts must agree at `step`; None where `step` is no look of the growing series."""
    series, at = [], max(min_steps, 4 * _ROWS * every)
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
    quarter = len(rows) // 4
    second, early, late = (rows[len(rows) - k * quarter :][:quarter] for k in (3, 2, 1))
    blocks = min(_BLOCKS, quarter)
    move = late.mean(0) - early.mean(0)
    error = np.hypot(_errors(late, blocks), _errors(early, blocks))
    rounding = 4 * np.finfo(np.float32).eps * np.max(np.abs(late), initial=0.0)
    critical = _student(1 - 0.025 / max(rows.shape[1], 1), 2 * (blocks - 1))
    significant = bool(np.any(np.abs(move) > np.maximum(critical * error, rounding)))
    before = early.mean(0) - second.mean(0)
    cosine = move @ before / max(np.linalg.norm(move) * np.linalg.norm(before), 1e-300)
    return Motion(significant, bool(cosine > 0.5))


def _errors(rows: np.ndarray, blocks: int) -> np.ndarray:
    length = len(rows) // blocks
    means = rows[-length * blocks :].reshape(blocks, length, -1).mean(1)
    return np.std(means, axis=0, ddof=1) / math.sqrt(blocks)


def _student(p: float, freedom: int) -> float:
    """Student's quantile, by its expansion in 1/freedom (Abramowitz & Stegun 26.7.5)."""
    x = statistics.NormalDist().inv_cdf(p)
    terms = (
        x,
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
    )
    return sum(term / freedom**k for k, term in enumerate(terms))


def _frozen(path: float, rows: np.ndarray, gradient_norms: Any, window: int) -> bool:
    """Whether all updates of a window together are small against the parameters, and the gradient is not."""
    scale = max(np.linalg.norm(rows, axis=1).max(), np.ptp(rows, axis=0).max(initial=0.0))
    norms = np.asarray(gradient_norms, np.float64)
    norms = np.where(np.isfinite(norms), norms, np.inf)
    usual, now = np.median(norms), np.median(norms[-window:])
    return bool(path < _PATH * scale and now > 0 and now >= _PRESENT * usual)


@jax.jit
def _sketch(params: Any) -> jax.Array:
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

"""A stop rule that says in which sense a fit stands still: `converged`, `noise floor` or `frozen`."""

import math
from typing import Any, NamedTuple

import numpy as np

from logtrick._core import checks
from logtrick.training._adaptive import partition
from logtrick.training._listener import Listener
from logtrick.training._standstill import PATH, ROWS, compare, drift, frozen, looks, sketch


class Converged(Listener):
    """End a fit when it stands still, and say in which sense.

    At step n the windows E = [n/2, 3n/4) and L = [3n/4, n) are compared, each cut into 8 blocks, whose means give its
    Monte-Carlo error, correlated steps included. With Δ the difference of the windows' means and se its standard error:

    - the objective stands still if |Δ| ≤ z · se and |Δ| + z · se ≤ `resolution` · σ, with σ the standard deviation of one
      step's noise, so that a window too short to see a slope never counts as flat; and if in addition the means of
      [n/4, n/2) and [n/2, n) differ by at most z standard errors, so that a slow power law is not taken for flat;
    - the parameters stand still if no coordinate's Δ is significant (at 5 %, jointly); they drift if one is significant and
      the motion continues in its earlier direction;
    - `converged`: both stand still; `noise floor`: the objective stands still and the parameters drift; `frozen`: the
      updates of a whole window together are below 1e-3 of the parameters' own scale, while the gradient has not vanished (Adam
      after one huge gradient, or a learning rate that went to zero).

    A verdict counts when it is the same `repeats` times in a row, n growing by 10 % from one to the next. The rule judges
    the recorded objective and the parameters in the form for evaluation, without statistics of estimators. It looks
    at the parameters at multiples of `every` only, so that a fit that is resumed ends at the same step.

    Measured on traces of independent noise (`benchmarks/stop_rule.py`): 0 of 4,000 that still improved by more than
    `resolution` σ stopped. Where the objective is flat from the start, half of the fits end within 8,000 steps, nine of ten
    within 13,000 (at a `resolution` of 0.2 within 2,200 and 3,100, and slopes below 0.2 σ in 500 steps go unseen); in
    general a fit must have stood still for most of its steps.

    Args:
      resolution: the smallest change between the windows that matters, in standard deviations of one step's noise.
      z: how many standard errors a change must have to count.
      repeats: how many times in a row the verdict must be the same.
      min_steps: no verdict is given before this number of steps.
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
        self.every: int = checks.positive_int(where, "every", every)
        self._rows: list[np.ndarray] = []

    def arrays(self) -> dict[str, Any]:
        """See `Listener.arrays`: the parameters, or a sketch of them, at every look."""
        if not self._rows:
            return {}
        return {"rows": np.array(self._rows, np.float32), "every": np.int32(self.every)}

    def restore(self, arrays: dict[str, Any]) -> None:
        # Looks at other distances than those to come are not comparable with them.
        usable = arrays.get("every", self.every) == self.every
        self._rows = list(arrays.get("rows", ())) if usable else []

    def start(self, run: Any) -> None:
        if not run.step:
            self._rows = []
        else:
            self._judge(run)

    def after_chunk(self, run: Any) -> None:
        if run.step % self.every == 0 and run.step // self.every > len(self._rows):
            params, _ = run.program.shown(run.state)
            # Without statistics: one that counts steps would be an endless drift.
            trained, _ = partition(params)
            self._rows.append(np.asarray(sketch(trained)))
            self._judge(run)

    def _judge(self, run: Any) -> None:
        """End the fit where the same verdict was found at the last `repeats` looks of a growing series."""
        steps = looks(run.step, self.every, self.repeats, self.min_steps)
        if steps is None:
            return
        verdicts = [self._verdict(run.history, step) for step in steps]
        first = verdicts[0]
        if first is not None and all(v is not None and v.word == first.word for v in verdicts):
            run.stop(first.word, first.reason)

    def _verdict(self, history: Any, step: int) -> "Verdict | None":
        rows = np.array(self._rows[: step // self.every])
        if len(rows) < 4 * ROWS:
            return None
        window = step // 4
        last = slice(step - window, step)
        # A skipped step has moved nothing, whatever its update was: nan, perhaps.
        path = float(np.sum(history.update_norm[last][~history.skipped[last]]))
        if frozen(path, rows, history.gradient_norm[:step], window):
            return Verdict(
                "frozen",
                f"the last {window} updates together moved the parameters by less than {PATH:g} of their own scale, while "
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

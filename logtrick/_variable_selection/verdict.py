"""Whether a fit has converged, judged by the objective's noisy values alone."""

import dataclasses

import numpy as np

# Nats that a window of steps may still gain in a converged fit.
TOLERANCE = 0.02
# Blocks of a window, whose means give its standard error: neighboring steps of a fit depend on each other.
_BLOCKS = 10
_FEWEST_STEPS = 400
_QUANTILE = 1.9  # one-sided 5 %, of Student's t at about 7 degrees of freedom


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is known about the convergence of a fit.

    Attributes:
      status: in the words of `lt.training`: "converged"; "noise floor", the noise could hide a gain above the tolerance;
        "frozen", the updates have vanished; "max_steps", the steps ended while the objective still changed.
      reason: the numbers behind it, in words.
    """

    status: str
    reason: str

    @property
    def words(self) -> str:
        """The status as a reader sees it."""
        said = {
            "converged": "converged",
            "noise floor": "not certain within its noise whether it has converged, more --draws would help",
            "frozen": "not converged, its updates have vanished",
            "max_steps": "not converged, more --steps would help",
        }
        return f"{said[self.status]} ({self.reason})"


def judge(values: np.ndarray, status: str = "max_steps") -> Verdict:
    """The verdict on a maximized objective from its values at the steps, and from the fit's own status.

    A status that a stop rule gave stands. Where all steps were taken, the values decide: the mean of the last quarter of
    the steps is compared with that of the quarter before. The gain between them has a one-sided 95 % margin from the
    standard errors of block means. Converged: it is within `TOLERANCE` by that margin; not converged: it is beyond by
    that margin.
    """
    values = np.asarray(values, np.float64)
    if len(values) < _FEWEST_STEPS:
        return Verdict("max_steps", f"fewer than {_FEWEST_STEPS} steps")
    window = len(values) // 4
    before, after = values[-2 * window : -window], values[-window:]
    gain = after.mean() - before.mean()
    margin = _QUANTILE * np.hypot(_standard_error(before), _standard_error(after))
    found = f"the last {window:,} steps gained {gain:+.3f} ± {margin:.3f}"
    if status != "max_steps":
        return Verdict(status, found)
    if abs(gain) + margin < TOLERANCE:
        return Verdict("converged", found)
    if abs(gain) - margin > TOLERANCE:
        return Verdict("max_steps", found)
    return Verdict("noise floor", found)


def _standard_error(window: np.ndarray) -> float:
    """Of the mean of a window."""
    blocks = window[: len(window) // _BLOCKS * _BLOCKS].reshape(_BLOCKS, -1).mean(axis=1)
    # from the differences of neighboring blocks (von Neumann), which a trend hardly moves
    return float(np.sqrt(np.mean(np.diff(blocks) ** 2) / 2 / _BLOCKS))

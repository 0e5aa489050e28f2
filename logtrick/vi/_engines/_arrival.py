"""Natural steps from fresh draws: large until the fit has arrived, then falling; averages from there on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from logtrick.vi._engines._base import EngineResult, traced
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian, triangular
from logtrick.vi._engines._natural_newton import Move, full_rank, mean_field

_FALL = 10.0
_AVERAGE_FROM = 20
_WINDOW = 10
_MOST_RETREATS = 10
_SHORTEST = 1e-4  # of the limit, in units of √d: a step below is not worth taking


class Look(NamedTuple):
    """What a step sees of a Gaussian on its draws.

    Attributes:
      elbo: on these draws; not finite where the density is not.
      shift: b, shape (d,).
      tilt: H, shape (d, d).
      elbo_of: the ELBO of another Gaussian on the same noise.
    """

    elbo: float
    shift: np.ndarray
    tilt: np.ndarray
    elbo_of: Callable[[Gaussian], float]


def natural_steps(
    density: Density,
    start: Gaussian,
    look_at: Callable[[Gaussian], Look],
    *,
    num_steps: int,
    has_converged: Callable[[Look, "ArrivalClock"], bool],
) -> EngineResult:
    """At most `num_steps` natural steps by an arrival clock, each from what `look_at` sees of the last Gaussian on fresh draws.

    After every step `has_converged` is asked, with what the step saw.
    """
    gaussian = last = start
    clock = ArrivalClock()
    trace: list[tuple[int, float]] = []
    status = "not converged"
    try:
        for step in range(num_steps):
            look = look_at(gaussian)
            if not np.isfinite(look.elbo):
                back = clock.retreat(last)
                if back is None:
                    status = "failed"
                    break
                gaussian = last = back
                continue
            last = gaussian
            trace.append((density.evaluations, look.elbo))
            gaussian = clock.step(gaussian, look)
            if step % 50 == 0:
                density.say(f"step {step}: ELBO {look.elbo:.3f}")
            if has_converged(look, clock):
                status = "converged"
                break
    except BudgetSpent:
        status = "budget spent"
    report: dict[str, Any] = {"nonfinite": density.nonfinite, "averaged": clock.averaged}
    fitted = clock.average(gaussian)
    return EngineResult(fitted, status, density.evaluations, traced(trace), report)


class ArrivalClock:
    """Step sizes 1/(1 + n/10), n counted from the arrival; averages of the iterates from n = 20.

    A schedule counted from the first iteration has decayed before a fit from far away arrives. A fit has arrived when the ELBO
    no longer rises clearly: its mean over 10 steps is above that of the 10 before by less than a nat or two standard errors.

    Until then every step is checked by the ELBO on the same noise. The limit of the mean's step starts at √d. Where a step that
    meets it raises the ELBO, the limit doubles (the curvature may fall on the way, as it does along a log standard deviation, and
    steps of √d never arrive); a step that does not raise the ELBO is taken again at a quarter.
    """

    def __init__(self) -> None:
        self.count = 0
        self.averaged = 0
        self._reach = 1.0
        self._retreats = 0
        self._elbos: list[float] = []
        self._mean: np.ndarray | None = None
        self._square: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """The step size now."""
        return 1 / (1 + self.count / _FALL)

    def step(self, gaussian: Gaussian, look: Look) -> Gaussian:
        """A natural step from `gaussian`, counted."""
        if self.arrived(look.elbo):
            new, _ = natural_move(gaussian, look.shift, look.tilt)(self.rate)
        else:
            new = self._checked(gaussian, look)
        self.tick(new)
        return new

    def _checked(self, gaussian: Gaussian, look: Look) -> Gaussian:
        while self._reach > _SHORTEST:
            move = natural_move(gaussian, look.shift, look.tilt, self._reach)
            new, capped = move(min(1.0, self._reach))
            if look.elbo_of(new) > look.elbo:
                if capped or self._reach < 1:
                    self._reach *= 2
                return new
            self._reach /= 4
        self._reach = 1.0
        return gaussian

    def arrived(self, elbo: float) -> bool:
        """Whether the ELBO, `elbo` in this step, no longer rises clearly; where it does, the count starts anew."""
        self._elbos.append(elbo)
        late = np.array(self._elbos[-_WINDOW:])
        early = np.array(self._elbos[-2 * _WINDOW : -_WINDOW])
        rising = len(early) < _WINDOW
        if not rising:
            error = np.sqrt((late.var() + early.var()) / (_WINDOW - 1))
            rising = bool(late.mean() - early.mean() > max(1.0, 2 * error))
        if rising:
            self.count = self.averaged = 0
        return not rising

    def retreat(self, last: Gaussian) -> Gaussian | None:
        """Where to go on after a step to where the density is not finite: back, at half the scale; None after ten times."""
        self.count = self.averaged = 0
        self._elbos.clear()
        self._reach = 1.0
        self._retreats += 1
        if self._retreats > _MOST_RETREATS:
            return None
        return Gaussian(last.mean, 0.5 * last.scale)

    def tick(self, gaussian: Gaussian) -> None:
        """Count a step that led to `gaussian`."""
        self.count += 1
        if self.count < _AVERAGE_FROM:
            return
        square = gaussian.scale**2 if gaussian.mean_field else gaussian.covariance()
        if self.averaged == 0 or self._mean is None or self._square is None:
            self._mean, self._square = np.zeros_like(gaussian.mean), np.zeros_like(square)
        self.averaged += 1
        self._mean += (gaussian.mean - self._mean) / self.averaged
        self._square += (square - self._square) / self.averaged

    def average(self, latest: Gaussian) -> Gaussian:
        """The average of means and covariances; the latest iterate where there is none yet."""
        if not self.averaged or self._mean is None or self._square is None:
            return latest
        if latest.mean_field:
            return Gaussian(self._mean, np.sqrt(self._square))
        # In the coordinates whitened by the latest iterate the average is well conditioned.
        inner = np.linalg.solve(latest.scale, np.linalg.solve(latest.scale, self._square).T)
        values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
        root = vectors * np.sqrt(np.maximum(values, 1e-12))
        return Gaussian(self._mean, triangular(latest.scale @ root))


def natural_move(
    gaussian: Gaussian, shift: np.ndarray, tilt: np.ndarray, reach: float = 1.0
) -> Move:
    """A step of a stochastic fit, within reach · √d for the mean and a factor e for the scales."""
    longest = reach * float(np.sqrt(len(shift)))
    if not gaussian.mean_field:
        return full_rank(gaussian, shift, tilt, longest, widest=2.0)
    tilts = np.diag(tilt)
    direction = shift / np.maximum(1.0, 1 - tilts)
    return mean_field(gaussian, direction, tilts, longest, widest=2.0)

"""L-BFGS on the host, for many starting points at once.

`optax.lbfgs` runs inside one compiled program. Under `vmap` every lane waits for the longest line search, compiling it with
its zoom line search takes seconds, and its objective cannot be a padded block evaluated from the host. Here the lanes share
one call of the compiled log density per trial step, a lane that has arrived costs nothing more, and nothing else is compiled.
"""

import numpy as np

from logtrick.vi._engines._density import Density

_ARMIJO, _CURVATURE = 1e-4, 0.9  # the weak Wolfe conditions (Lewis & Overton 2013)
_LONGEST_SEARCH = 25  # trial steps of one line search before its lane stops


class Ascent:
    """Maximize a log density from several starting points in lockstep.

    Attributes:
      points: (lanes, d), the current iterates.
      values: (lanes,), their log densities.
      gradients: (lanes, d).
      active: (lanes,), which lanes still move.
      steps, changes: (lanes, memory, d), the last differences of iterates and of NEGATED gradients, newest last;
        `inverses` holds 1 / (step · change), 0 where the memory is still empty.
    """

    def __init__(
        self,
        density: Density,
        starts: np.ndarray,
        *,
        memory: int = 10,
        max_evaluations: int = 200,
        tolerance: float = 1e-3,
    ) -> None:
        self.density = density
        self.points = starts.astype(np.float64)
        self.values, self.gradients = density(self.points)
        lanes, dim = starts.shape
        self.tolerance = tolerance
        self.max_evaluations = max_evaluations
        self.spent = np.ones(lanes, int)
        self.active = np.isfinite(self.values)
        self.steps = np.zeros((lanes, memory, dim))
        self.changes = np.zeros((lanes, memory, dim))
        self.inverses = np.zeros((lanes, memory))
        self._searches = np.zeros(lanes, int)
        self._directions = np.zeros((lanes, dim))
        self._slopes = np.zeros(lanes)
        self._length = np.ones(lanes)
        self._low = np.zeros(lanes)
        self._high = np.full(lanes, np.inf)
        self._aim(np.arange(lanes))

    def run(self) -> "Ascent":
        """Advance until no lane moves."""
        while self.active.any():
            self.advance()
        return self

    def advance(self) -> np.ndarray:
        """One trial step of every active lane; returns the indices of the lanes that accepted theirs."""
        lanes = np.flatnonzero(self.active)
        trial = self.points[lanes] + self._length[lanes, None] * self._directions[lanes]
        values, gradients = self.density(trial)
        self.spent[lanes] += 1
        self._searches[lanes] += 1
        gain = values - self.values[lanes]
        slope = (gradients * self._directions[lanes]).sum(1)
        too_long = ~(gain >= _ARMIJO * self._length[lanes] * self._slopes[lanes])
        too_short = ~too_long & (slope > _CURVATURE * self._slopes[lanes])
        self._bracket(lanes, too_long, too_short)
        # A step that is still "too short" when its search ends is a gain all the same.
        ended = self._searches[lanes] >= _LONGEST_SEARCH
        accepted = ~too_long & (~too_short | ended)
        self.active[lanes[ended & ~accepted]] = False
        self._move(lanes[accepted], trial[accepted], values[accepted], gradients[accepted])
        self.active &= self.spent < self.max_evaluations
        return lanes[accepted]

    def _bracket(self, lanes: np.ndarray, too_long: np.ndarray, too_short: np.ndarray) -> None:
        """Bisect between the longest step known to be too short and the shortest known to be too long."""
        long, short = lanes[too_long], lanes[too_short]
        self._high[long] = self._length[long]
        self._low[short] = self._length[short]
        searching = lanes[too_long | too_short]
        open_end = np.isinf(self._high[searching])
        middle = 0.5 * (self._low[searching] + self._high[searching])
        self._length[searching] = np.where(open_end, 2 * self._length[searching], middle)
        # Far too long (or not finite there): shrink faster than bisection until a first step is good.
        unfounded = long[self._low[long] == 0]
        self._length[unfounded] = 0.25 * self._high[unfounded]

    def _move(
        self, lanes: np.ndarray, points: np.ndarray, values: np.ndarray, gradients: np.ndarray
    ) -> None:
        if not len(lanes):
            return
        gain = values - self.values[lanes]
        step = points - self.points[lanes]
        change = self.gradients[lanes] - gradients  # of the negated log density's gradient
        self.points[lanes], self.values[lanes], self.gradients[lanes] = points, values, gradients
        curvature = (step * change).sum(1)
        # Keep pairs of positive curvature only: else the inverse Hessian is not positive definite.
        keep = curvature > 1e-12 * np.linalg.norm(step, axis=1) * np.linalg.norm(change, axis=1)
        kept = lanes[keep]
        for memory, new in ((self.steps, step[keep]), (self.changes, change[keep])):
            memory[kept, :-1] = memory[kept, 1:]
            memory[kept, -1] = new
        self.inverses[kept, :-1] = self.inverses[kept, 1:]
        self.inverses[kept, -1] = 1 / curvature[keep]
        self._aim(lanes)
        rounding = 10 * self.density.epsilon * np.abs(values)
        arrived = (gain < self.tolerance) & (self._slopes[lanes] < 2 * self.tolerance)
        self.active[lanes[arrived | (gain <= rounding)]] = False

    def _aim(self, lanes: np.ndarray) -> None:
        """New directions, by the two-loop recursion."""
        steps, changes, inverses = self.steps[lanes], self.changes[lanes], self.inverses[lanes]
        direction = self.gradients[lanes].copy()
        memory = inverses.shape[1]
        weights = np.zeros((memory, len(lanes)))
        for i in reversed(range(memory)):
            weights[i] = inverses[:, i] * (steps[:, i] * direction).sum(1)
            direction -= weights[i][:, None] * changes[:, i]
        known = inverses[:, -1] > 0
        norm = np.linalg.norm(self.gradients[lanes], axis=1)
        newest = (changes[:, -1] ** 2).sum(1) * inverses[:, -1]
        scale = 1 / np.where(known, np.where(newest > 0, newest, 1.0), np.maximum(norm, 1.0))
        direction *= scale[:, None]
        for i in range(memory):
            back = inverses[:, i] * (changes[:, i] * direction).sum(1)
            direction += (weights[i] - back)[:, None] * steps[:, i]
        self._directions[lanes] = direction
        self._slopes[lanes] = (self.gradients[lanes] * direction).sum(1)
        self._length[lanes] = 1.0
        self._low[lanes] = 0.0
        self._high[lanes] = np.inf
        self._searches[lanes] = 0
        self.active[lanes[~(self._slopes[lanes] > 0)]] = False

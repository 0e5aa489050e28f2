"""The default engine: modes, Laplace, Newton on fixed draws, more draws where these do not suffice, a stochastic finish."""

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._base import Engine, EngineResult, traced
from logtrick.vi._engines._curvature import Mode, described
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import State, antithetic, climb, finite_draws
from logtrick.vi._engines._polish import polish
from logtrick.vi._engines._quadratic_regression import QuadraticRegression
from logtrick.vi._engines._starts import elsewhere, modes, starting_points

_CONVERGED = 0.01  # nats: the decrement on fresh draws
_LARGE = 50  # coordinates from which the stochastic finish follows the second level
_SUSPICIOUS = 0.6  # the deviation of log p − log q from which other starting points are tried too
_DOUBTFUL = 0.45  # the deviation of log p − log q from which a small decrement may be luck
_CLEAR = 10.0  # nats: a lead on few draws that more draws need not confirm
_MOST_LANES = 3
_SCREENED = 256  # points at which a gradient is taken in search of further modes


class Pipeline(Engine):
    """The default engine: second-order steps on fixed draws, from several starts, with checks on fresh draws.

    1. L-BFGS and Newton's method from `num_starts` points find the modes. 2. Laplace's approximation at each, and q0
    itself, compete by their ELBO on common draws. 3. Newton's method in the natural parameters, on 256 fixed draws, from the
    best; also from the next best where the log weights vary by more than 0.6. 4. Fresh draws measure the decrement
    |b|²/2 + ‖H‖²_F/4, about how far the ELBO is below its maximum: at 0.01 nats or more, step 3 is repeated with four times
    the draws. 5. Where that does not suffice, Adam on the sticking-the-landing gradient, in the coordinates whitened by the
    fit so far. A posterior near a Gaussian takes 2,000 to 3,000 gradients; a funnel 100,000.

    Everything but the log density and its gradient, one compiled program of 32 rows, is NumPy on the host in double
    precision. A draw whose density is not finite is shrunk towards the mean until it is. Densities that have no gradient go
    to `QuadraticRegression`.

    The result's `report` has `stages` (a line for each), `modes` (dicts of `mean`, `stddev`, `scale`, `log_mass`, `maximum`,
    `log_ratio` to the largest), `decrement` and `nonfinite`, the number of evaluations that were not finite.

    Args:
      num_starts: points that the search starts from: q0's mean, draws of q0, and (a quarter) draws widened five times.
      num_draws: the numbers of fixed draws, ascending.
      polish_steps: of Adam, 16 draws each; 0 for none.
    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from logtrick import vi
      >>> target = vi.Target(lambda z: -jnp.sum((z - 3.0) ** 2), vi.FullRankNormal(like=jnp.zeros(2)))
      >>> fit = vi.Pipeline().run(jax.random.key(0), target, vi.Gaussian(np.zeros(2), np.eye(2)))
      >>> fit.status, fit.gaussian.mean.round(3).tolist(), fit.gaussian.stddev().round(3).tolist()
      ('converged', [3.0, 3.0], [0.707, 0.707])
    """

    needs_gradients = False

    num_starts: int = static(default=16)
    num_draws: tuple[int, ...] = static(default=(256, 1024, 4096))
    polish_steps: int = static(default=2000)

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        if not density.target.differentiable:
            return QuadraticRegression().solve(density, rng, q0)
        work = _Work(self, density, rng, q0)
        try:
            status = work.run()
            if status == "failed" and np.isfinite(density.values(q0.mean[None])).all():
                found = QuadraticRegression().solve(density, rng, q0)
                stages = [*work.stages, "no gradient is finite: fitted by values alone"]
                return found._replace(report={**found.report, "stages": stages})
        except BudgetSpent:
            status = "budget spent"
        return work.result(status)


class _Work:
    """One run of the pipeline; holds the best Gaussian so far, so that a spent budget loses nothing."""

    def __init__(
        self, engine: Pipeline, density: Density, rng: np.random.Generator, q0: Gaussian
    ) -> None:
        self.engine, self.density, self.rng, self.q0 = engine, density, rng, q0
        self.best = q0
        self.modes: list[Mode] = []
        self.ranked: list[Gaussian] = []
        self.trace: list[tuple[int, float]] = []
        self.stages: list[str] = []
        self.decrement = np.inf
        # At least 8 draws a coordinate: with fewer, Newton's method fits the draws instead of the density.
        factor = max(1, -(-8 * q0.dim // engine.num_draws[0]))
        self.counts = [factor * count for count in engine.num_draws]

    def run(self) -> str:
        starts = starting_points(self.rng, self.q0, self.engine.num_starts)
        self.modes = modes(self.density, starts, self.q0)
        self.modes = self._further(self.modes)
        self._note(f"{len(self.modes)} mode(s) from {len(starts)} starts")
        noise = antithetic(self.rng, self.counts[0], self.q0.dim)
        state = self._choose(noise)
        if not np.isfinite(state.elbo):
            return "failed"
        state = self._levels(self._lanes(state, noise))
        if self.decrement < _limit(state):
            return "converged"
        return self._finish(state)

    def _further(self, found: list[Mode]) -> list[Mode]:
        """Modes that the starts have missed, from points where the density rises away from those found."""
        if not found or not found[0].maximum:
            return found
        around = [
            (self.q0, 3.0),
            (self.q0, 10.0),
            (found[0].laplace, 3.0),
            (found[0].laplace, 10.0),
        ]
        points = elsewhere(
            self.density,
            self.rng,
            around,
            [mode.point for mode in found if mode.maximum],
            screened=_SCREENED,
            most=8,
        )
        return modes(self.density, points, self.q0, found)

    def _choose(self, noise: np.ndarray) -> State:
        """The best of the Laplace approximations and q0, ranked on few draws, the first two compared on all if they are close."""
        half = len(noise) // 2
        few = np.concatenate([noise[:32], noise[half : half + 32]])
        if self.q0.mean_field:
            fits = [Gaussian(mode.point, mode.deviations) for mode in self.modes]
        else:
            fits = [mode.laplace for mode in self.modes]
        scored = [(_worth(finite_draws(self.density, g, few), few), g) for g in [*fits, self.q0]]
        scored.sort(key=lambda pair: -pair[0])
        self.ranked = [g for _, g in scored]
        best = scored[0][0]
        close = [g for worth, g in scored[:2] if worth > best - _CLEAR or not np.isfinite(best)]
        states = [finite_draws(self.density, g, noise) for g in close]
        state = max(states, key=lambda s: _worth(s, noise))
        self._keep(state)
        return state

    def _lanes(self, state: State, noise: np.ndarray) -> State:
        """Newton's method on fixed draws; from other starting points too where the fit is not close.

        All paths to the mode of a funnel run into its neck, where Laplace's approximation is useless: q0 saves the fit.
        """
        chosen = state.gaussian
        state = climb(self.density, state, trace=self.trace)
        self._keep(state)
        self._note(
            f"ELBO {state.elbo:.3f} on {len(noise)} fixed draws, "
            f"log weights vary by {state.weight_deviation:.2g}"
        )
        if state.weight_deviation < _SUSPICIOUS:
            return state
        others = [g for g in self.ranked if g is not chosen and g is not self.q0]
        others = others[: _MOST_LANES - 1]
        if chosen is not self.q0:
            others.append(self.q0)
        for other in others:
            lane = climb(self.density, finite_draws(self.density, other, noise))
            if lane.elbo > state.elbo + 1e-3:
                state = lane
                self._keep(state)
                self._note(f"another start is better: ELBO {state.elbo:.3f}")
        return state

    def _levels(self, state: State) -> State:
        """Fresh draws say whether the fixed ones sufficed; where not, four times as many."""
        for level, count in enumerate(self.counts):
            before = state.gaussian
            if level:
                noise = antithetic(self.rng, count, self.q0.dim)
                state = finite_draws(self.density, before, noise)
                state = climb(self.density, state, trace=self.trace)
                self._keep(state)
            fresh = antithetic(self.rng, count, self.q0.dim)
            state = finite_draws(self.density, state.gaussian, fresh)
            if level and state.shrunk:
                # Newton's method has widened q until its draws touch an edge of p: fresh ones lie beyond.
                state = max(state, finite_draws(self.density, before, fresh), key=lambda s: s.elbo)
                self._keep(state)
            self.decrement = state.decrement
            self._note(f"decrement {self.decrement:.3g} nats on {count} fresh draws")
            large = self.q0.dim > _LARGE and level >= 1
            if self.decrement < _limit(state) or large:
                break
        return state

    def _finish(self, state: State) -> str:
        """The stochastic finish, kept where it is better on fresh draws."""
        steps = self.engine.polish_steps
        if not steps:
            return "not converged"
        refined = polish(self.density, self.rng, state.gaussian, steps)
        fresh = antithetic(self.rng, self.counts[-1], self.q0.dim)
        before = finite_draws(self.density, state.gaussian, fresh)
        after = finite_draws(self.density, refined, fresh)
        better = max(before, after, key=lambda s: s.elbo)
        self._keep(better)
        self.decrement = better.resolved_decrement
        self._note(
            f"stochastic finish of {steps} steps: ELBO {before.elbo:.3f} to {after.elbo:.3f}, "
            f"decrement {self.decrement:.3g} nats"
        )
        return "converged" if self.decrement < 2 * _CONVERGED else "not converged"

    def _keep(self, state: State) -> None:
        self.best = state.gaussian
        self.trace.append((self.density.evaluations, state.elbo))

    def _note(self, line: str) -> None:
        self.stages.append(line)
        self.density.say(line)

    def result(self, status: str) -> EngineResult:
        report = {
            "stages": self.stages,
            "modes": described(self.modes),
            "decrement": self.decrement,
            "nonfinite": self.density.nonfinite,
        }
        return EngineResult(self.best, status, self.density.evaluations, traced(self.trace), report)


def _limit(state: State) -> float:
    """The decrement that ends the fit: heavy-tailed weights make it look smaller than it is."""
    return 0.3 * _CONVERGED if state.weight_deviation >= _DOUBTFUL else _CONVERGED


def _worth(state: State, noise: np.ndarray) -> float:
    """The ELBO less a penalty for draws that had to be shrunk."""
    if not np.isfinite(state.elbo):
        return -np.inf
    shrunk = (state.noise != noise).any(1).mean()
    return state.elbo - 1e3 * float(shrunk)

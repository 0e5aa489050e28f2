"""The default engine: modes, Laplace, Newton on fixed draws, more draws where these do not suffice, a stochastic finish."""

from typing import Any

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._base import Engine, EngineResult
from logtrick.vi._engines._curvature import Mode
from logtrick.vi._engines._density import BudgetSpent, Density, generator
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import State, antithetic, climb, finite_draws
from logtrick.vi._engines._polish import polish
from logtrick.vi._engines._starts import modes, starting_points

_CONVERGED = 0.01  # nats: the decrement on fresh draws
_LARGE = 50  # coordinates from which the stochastic finish follows the second level
_SUSPICIOUS = (
    0.6  # the deviation of log p − log q from which other starting points are tried as well
)


class Pipeline(Engine):
    num_starts: int = static(default=16)
    num_draws: tuple[int, ...] = static(default=(256, 1024, 4096))
    polish_steps: int = static(default=2000)

    def run(
        self,
        key: Any,
        target: Any,
        q0: Gaussian,
        *,
        budget: int | None = None,
        progress: Any = None,
    ) -> EngineResult:
        density = Density(target, budget, progress)
        work = _Work(self, density, generator(key), q0.host())
        try:
            status = work.run()
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
        self.trace: list[tuple[int, float]] = []
        self.stages: list[str] = []
        self.decrement = np.inf
        # At least 8 draws a coordinate: with fewer, Newton's method fits the draws instead of the density.
        factor = -(-8 * q0.dim // engine.num_draws[0])
        self.counts = [max(1, factor) * count for count in engine.num_draws]

    def run(self) -> str:
        starts = starting_points(self.rng, self.q0, self.engine.num_starts)
        self.modes = modes(self.density, starts, self.q0)
        self._note(f"{len(self.modes)} mode(s) from {len(starts)} starts")
        noise = antithetic(self.rng, self.counts[0], self.q0.dim)
        state = self._choose(noise)
        if not np.isfinite(state.elbo):
            return "failed"
        state = self._lanes(state, noise)
        state = self._levels(state)
        # Heavy-tailed weights make the decrement look smaller than it is.
        heavy = state.weight_deviation >= _SUSPICIOUS
        if self.decrement < (0.3 * _CONVERGED if heavy else _CONVERGED):
            return "converged"
        return self._finish(state)

    def _levels(self, state: State) -> State:
        """Fresh draws say whether the fixed ones sufficed; where not, four times as many."""
        for level, count in enumerate(self.counts):
            if level:
                noise = antithetic(self.rng, count, self.q0.dim)
                state = finite_draws(self.density, state.gaussian, noise)
                state = climb(self.density, state, trace=self.trace)
                self.best = state.gaussian
            fresh = antithetic(self.rng, count, self.q0.dim)
            state = finite_draws(self.density, state.gaussian, fresh)
            self.decrement = state.decrement
            self._note(f"decrement {self.decrement:.3g} nats on {count} fresh draws")
            large = self.q0.dim > _LARGE and level >= 1
            if self.decrement < _CONVERGED or large:
                break
        return state

    def _finish(self, state: State) -> str:
        """The stochastic finish, kept where it is better on fresh draws."""
        steps = self.engine.polish_steps
        if not steps:
            return "not converged"
        refined = polish(self.density, self.rng, state.gaussian, num_steps=steps)
        fresh = antithetic(self.rng, self.counts[-1], self.q0.dim)
        before = finite_draws(self.density, state.gaussian, fresh)
        after = finite_draws(self.density, refined, fresh)
        if after.elbo > before.elbo:
            self.best = refined
        better = max(before, after, key=lambda s: s.elbo)
        self.trace.append((self.density.evaluations, better.elbo))
        self.decrement = better.resolved_decrement
        self._note(
            f"stochastic finish of {steps} steps: ELBO {before.elbo:.3f} to {after.elbo:.3f}, "
            f"decrement {self.decrement:.3g} nats"
        )
        return "converged" if self.decrement < 2 * _CONVERGED else "not converged"

    def _candidates(self) -> list[Gaussian]:
        if self.q0.mean_field:
            fits = [Gaussian(mode.point, mode.deviations) for mode in self.modes]
        else:
            fits = [mode.laplace for mode in self.modes]
        return [*fits, self.q0]

    def _choose(self, noise: np.ndarray) -> State:
        half = len(noise) // 2
        few = np.concatenate([noise[:32], noise[half : half + 32]])
        self.ranked = sorted(
            self._candidates(), key=lambda g: -_worth(finite_draws(self.density, g, few), few)
        )
        states = [finite_draws(self.density, g, noise) for g in self.ranked[:2]]
        state = max(states, key=lambda s: _worth(s, noise))
        self.best = state.gaussian
        self.trace.append((self.density.evaluations, state.elbo))
        return state

    def _lanes(self, state: State, noise: np.ndarray) -> State:
        chosen = state.gaussian
        state = climb(self.density, state, trace=self.trace)
        self.best = state.gaussian
        self._note(
            f"ELBO {state.elbo:.3f} on {len(noise)} fixed draws, sd of log weights {state.weight_deviation:.2g}"
        )
        if state.weight_deviation < _SUSPICIOUS:
            return state
        others = [g for g in self.ranked[:3] if g is not chosen]
        if self.q0 is not chosen and not any(g is self.q0 for g in others):
            others.append(self.q0)
        for other in others:
            lane = climb(self.density, finite_draws(self.density, other, noise))
            if lane.elbo > state.elbo:
                state = lane
                self.best = state.gaussian
                self._note(f"another start is better: ELBO {state.elbo:.3f}")
        return state

    def _note(self, line: str) -> None:
        self.stages.append(line)
        self.density.say(line)

    def result(self, status: str) -> EngineResult:
        trace = np.array(self.trace, float).reshape(-1, 2)
        report = {
            "stages": self.stages,
            "modes": self.modes,
            "decrement": self.decrement,
            "nonfinite": self.density.nonfinite,
        }
        return EngineResult(
            self.best,
            status,
            self.density.evaluations,
            {"evaluations": trace[:, 0].astype(int), "elbo": trace[:, 1]},
            report,
        )


def _worth(state: State, noise: np.ndarray) -> float:
    """The ELBO less a penalty for draws that had to be shrunk."""
    shrunk = (state.noise != noise).any(1).mean()
    return state.elbo - 1e3 * float(shrunk) if np.isfinite(state.elbo) else -np.inf

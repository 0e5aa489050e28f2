"""The default engine: modes, Laplace, Newton on fixed draws, more draws where these do not suffice, a stochastic finish."""

from typing import Any

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._base import Engine, EngineResult
from logtrick.vi._engines._curvature import Mode
from logtrick.vi._engines._density import BudgetSpent, Density, generator
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import State, antithetic, climb, finite_draws
from logtrick.vi._engines._starts import modes, starting_points

_CONVERGED = 0.01  # nats: the decrement on fresh draws
_SUSPICIOUS = 0.6  # the deviation of log p − log q from which other starting points are tried as well


class Pipeline(Engine):
    num_starts: int = static(default=16)
    num_draws: tuple[int, ...] = static(default=(256, 1024, 4096))

    def run(
        self, key: Any, target: Any, q0: Gaussian, *, budget: int | None = None, progress: Any = None
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

    def __init__(self, engine: Pipeline, density: Density, rng: np.random.Generator, q0: Gaussian) -> None:
        self.engine, self.density, self.rng, self.q0 = engine, density, rng, q0
        self.best = q0
        self.modes: list[Mode] = []
        self.trace: list[tuple[int, float]] = []
        self.stages: list[str] = []
        self.decrement = np.inf

    def run(self) -> str:
        starts = starting_points(self.rng, self.q0, self.engine.num_starts)
        self.modes = modes(self.density, starts, self.q0)
        self._note(f"{len(self.modes)} mode(s) from {len(starts)} starts")
        first = self.engine.num_draws[0]
        noise = antithetic(self.rng, first, self.q0.dim)
        state = self._choose(noise)
        if not np.isfinite(state.elbo):
            return "failed"
        state = self._lanes(state, noise)
        for count in self.engine.num_draws:
            if count > first:
                noise = antithetic(self.rng, count, self.q0.dim)
                state = climb(self.density, finite_draws(self.density, state.gaussian, noise), trace=self.trace)
                self.best = state.gaussian
            fresh = finite_draws(self.density, state.gaussian, antithetic(self.rng, count, self.q0.dim))
            self.decrement = fresh.decrement
            self._note(f"decrement {self.decrement:.3g} nats on {count} fresh draws")
            if self.decrement < _CONVERGED:
                return "converged"
        return "not converged"

    def _candidates(self) -> list[Gaussian]:
        if self.q0.mean_field:
            fits = [Gaussian(mode.point, mode.deviations) for mode in self.modes]
        else:
            fits = [mode.laplace for mode in self.modes]
        return [*fits, self.q0]

    def _choose(self, noise: np.ndarray) -> State:
        half = len(noise) // 2
        few = np.concatenate([noise[:32], noise[half : half + 32]])
        self.ranked = sorted(self._candidates(), key=lambda g: -_worth(finite_draws(self.density, g, few), few))
        states = [finite_draws(self.density, g, noise) for g in self.ranked[:2]]
        state = max(states, key=lambda s: _worth(s, noise))
        self.best = state.gaussian
        self.trace.append((self.density.evaluations, state.elbo))
        return state

    def _lanes(self, state: State, noise: np.ndarray) -> State:
        chosen = state.gaussian
        state = climb(self.density, state, trace=self.trace)
        self.best = state.gaussian
        self._note(f"ELBO {state.elbo:.3f} on {len(noise)} fixed draws, sd of log weights {state.weight_deviation:.2g}")
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

"""Stochastic natural gradient with an arrival clock."""

from typing import Any

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._arrival import ArrivalClock, Look, natural_steps
from logtrick.vi._engines._base import Engine, EngineResult
from logtrick.vi._engines._density import Density
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import (
    State,
    antithetic,
    decrement_of,
    finite_draws,
    look,
)
from logtrick.vi._engines._starts import finite_start
from logtrick.vi._stop import LOOKS, StopRule


class NaturalGradient(Engine):
    """Stochastic natural gradient from q0, without a search for modes.

    In every step r = Cᵀ ∇log p(z) + e is regressed on e over fresh antithetic draws, r ≈ b + H e (least squares: exact where
    p is Gaussian), and mean and precision take a natural step. Steps have size 1/(1 + n/10), n counted from the step
    at which the ELBO has stopped rising clearly: the schedule does not decay before the fit arrives. Until then steps are
    checked by the ELBO on the same draws. Means and covariances are averaged from n = 20 on.

    Args:
      num_steps: at most; the stop rule ends most fits between steps 200 and 300.
      num_draws: per step; at least 4 (d + 1) are used.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from logtrick import vi
      >>> target = vi.Target(lambda z: -jnp.sum((z - 30.0) ** 2), vi.FullRankNormal(like=jnp.zeros(2)))
      >>> fit = vi.NaturalGradient().run(jax.random.key(0), target, vi.Gaussian(np.zeros(2), np.eye(2)))
      >>> fit.gaussian.mean.round(3).tolist(), fit.gaussian.stddev().round(3).tolist()
      ([30.0, 30.0], [0.707, 0.707])
    """

    num_steps: int = static(default=1000)
    num_draws: int = static(default=64)

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        start = finite_start(lambda x: density(x)[0], rng, q0)
        count = max(self.num_draws, 4 * (start.dim + 1))
        count += count % 2
        elbos: list[float] = []
        shifts: list[np.ndarray] = []
        tilts: list[np.ndarray] = []

        def look_at(gaussian: Gaussian) -> Look:
            state = finite_draws(density, gaussian, antithetic(rng, count, gaussian.dim))
            elbo_of = lambda other: look(density, other, state.noise).elbo
            return Look(state.elbo, *regressed(state), elbo_of)

        def decrement(_: Any = None) -> float:
            late = slice(len(shifts) // 2, None)
            return decrement_of(np.mean(shifts[late], 0), np.mean(tilts[late], 0))

        rule = StopRule(decrement)

        def has_converged(seen: Look, clock: ArrivalClock) -> bool:
            elbos.append(seen.elbo)
            shifts.append(seen.shift)
            tilts.append(seen.tilt)
            if len(elbos) % LOOKS or not clock.averaged:
                return False
            return rule.met(np.array(elbos), None)

        found = natural_steps(
            density, start, look_at, num_steps=self.num_steps, has_converged=has_converged
        )
        if shifts:
            found.report["decrement"] = decrement()
        return found


def regressed(state: State) -> tuple[np.ndarray, np.ndarray]:
    """b and H of r ≈ b + H e by least squares; of a mean-field Gaussian the diagonal of H alone."""
    residual = state.scores + state.noise
    if state.gaussian.mean_field:
        slopes = (residual * state.noise).sum(0) / (state.noise**2).sum(0)
        return residual.mean(0), np.diag(slopes)
    # Antithetic draws have mean zero: the slope's regression needs no intercept.
    slope = np.linalg.lstsq(state.noise, residual, rcond=None)[0]
    return residual.mean(0), 0.5 * (slope + slope.T)

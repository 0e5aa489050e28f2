"""Laplace's approximation as an engine."""

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._base import Engine, EngineResult, traced
from logtrick.vi._engines._curvature import described
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._starts import modes, starting_points

_EXACT = 1e-8  # nats: the decrement at which a mode is found; a hundredth of a percent of a standard deviation


class Laplace(Engine):
    """Laplace's approximation: the Gaussian with the curvature of log p at its mode.

    Modes are searched for by L-BFGS and Newton's method from `num_starts` points; the one with the largest mass counts. The
    Hessian is taken by central differences of the gradient. A mean-field q0 gets 1/√|Hᵢᵢ| as standard deviations.

    The result's `report` has `modes`, as that of `Pipeline`.

    Args:
      num_starts: points that the search starts from: q0's mean, draws of q0, and (a quarter) draws widened five times.
    References:
      Tierney & Kadane (1986), "Accurate Approximations for Posterior Moments and Marginal Densities".
    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from logtrick import vi
      >>> target = vi.Target(lambda z: 3 * z - jnp.exp(z), vi.FullRankNormal(like=0.0))     # mode log 3, curvature −3
      >>> fit = vi.Laplace().run(jax.random.key(0), target, vi.Gaussian(np.zeros(1), np.eye(1)))
      >>> fit.gaussian.mean.round(3).tolist(), fit.gaussian.stddev().round(3).tolist()
      ([1.099], [0.577])
    """

    num_starts: int = static(default=16)

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        try:
            starts = starting_points(rng, q0, self.num_starts)
            found = modes(density, starts, q0, arrived=_EXACT)
        except BudgetSpent:
            found = []
        if not found:
            return EngineResult(q0, "failed", density.evaluations, traced([]), {"modes": []})
        found.sort(key=lambda mode: (not mode.maximum, -mode.log_mass))
        best = found[0]
        density.say(f"{len(found)} mode(s); log mass of the largest {best.log_mass:.3f}")
        gaussian = Gaussian(best.point, best.deviations) if q0.mean_field else best.laplace
        status = "converged" if best.maximum else "not converged"
        trace = traced([(density.evaluations, best.log_mass)])
        report = {"modes": described(found), "nonfinite": density.nonfinite}
        return EngineResult(gaussian, status, density.evaluations, trace, report)

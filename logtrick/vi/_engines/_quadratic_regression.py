"""Black-box densities: natural steps from a quadratic regression of their values."""

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._arrival import ArrivalClock
from logtrick.vi._engines._base import Engine, EngineResult, traced
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import antithetic
from logtrick.vi._engines._starts import finite_start

_PATIENCE = 4
_DENSEST = 60  # coordinates up to which all products are regressed on


class QuadraticRegression(Engine):
    """Natural steps for a density whose values are all there is: no gradient is taken.

    The values at antithetic draws are regressed on (1, e, e eᵀ): log p ≈ c + b·e + ½ eᵀ G e. By Stein's identity b and G are
    what the mean gradient and Hessian would be, so that the natural step is the one of `NaturalGradient`. The score-function
    gradient with a leave-one-out baseline uses the same evaluations far less well. For a mean-field Gaussian, and
    above 60 coordinates, only the squares eᵢ² are regressed on.

    Args:
      num_steps: how many after the ELBO has stopped to rise clearly; four times as many in all.
      oversampling: draws per coefficient of the regression.

    Example:
      >>> import jax, numpy as np
      >>> from logtrick import vi
      >>> import logtrick as lt, jax.numpy as jnp
      >>> host = lt.black_box(lambda z: np.float32(-np.sum((z - 3.0) ** 2)))
      >>> target = vi.Target(host, vi.FullRankNormal(like=jnp.zeros(2)))
      >>> fit = vi.QuadraticRegression().run(jax.random.key(0), target, vi.Gaussian(np.zeros(2), np.eye(2)))
      >>> fit.gaussian.mean.round(2).tolist(), fit.gaussian.stddev().round(2).tolist()
      ([3.0, 3.0], [0.71, 0.71])
    """

    needs_gradients = False

    num_steps: int = static(default=150)
    oversampling: int = static(default=4)

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        clock = ArrivalClock()
        gaussian = last = finite_start(density.values, rng, q0)
        dim = q0.dim
        dense = not gaussian.mean_field and dim <= _DENSEST
        coefficients = (dim + 1) * (dim + 2) // 2 if dense else 2 * dim + 1
        count = max(32, self.oversampling * coefficients)
        count += count % 2
        trace: list[tuple[int, float]] = []
        status = "not converged"
        try:
            for step in range(_PATIENCE * self.num_steps):
                if clock.count >= self.num_steps:
                    break
                noise, values = _finite_values(density, gaussian, antithetic(rng, count, dim))
                if not np.isfinite(values).all():
                    back = clock.retreat(last)
                    if back is None:
                        status = "failed"
                        break
                    gaussian = last = back
                    continue
                last = gaussian
                trace.append((density.evaluations, float(values.mean()) + gaussian.entropy()))
                shift, hessian = quadratic(noise, values, dense)
                gaussian = clock.step(
                    gaussian,
                    shift,
                    np.eye(dim) + hessian,
                    trace[-1][1],
                    lambda g: float(density.values(g.push(noise)).mean()) + g.entropy(),
                )
                if step % 25 == 0:
                    density.say(f"step {step}: ELBO {trace[-1][1]:.3f}")
            if status != "failed":
                status = "converged" if clock.count >= self.num_steps else "not converged"
        except BudgetSpent:
            status = "budget spent"
        report = {"nonfinite": density.nonfinite, "averaged": clock.averaged}
        return EngineResult(
            clock.average(gaussian), status, density.evaluations, traced(trace), report
        )


def quadratic(noise: np.ndarray, values: np.ndarray, dense: bool) -> tuple[np.ndarray, np.ndarray]:
    """b and G of values ≈ c + b·e + ½ eᵀ G e, least squares over antithetic pairs.

    Differences within pairs have only the odd part, sums only the even part: two small regressions instead of a large one.
    """
    half = len(noise) // 2
    e, plus, minus = noise[:half], values[:half], values[half:]
    dim = noise.shape[1]
    shift = np.linalg.lstsq(e, 0.5 * (plus - minus), rcond=None)[0]
    rows, columns = np.triu_indices(dim) if dense else (np.arange(dim), np.arange(dim))
    features = np.concatenate([np.ones((half, 1)), e[:, rows] * e[:, columns]], 1)
    found = np.linalg.lstsq(features, 0.5 * (plus + minus), rcond=None)[0][1:]
    hessian = np.zeros((dim, dim))
    hessian[rows, columns] += found
    hessian[columns, rows] += found
    return shift, hessian


def _finite_values(
    density: Density, gaussian: Gaussian, noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values of the draws; pairs with one that is not finite are shrunk until both are."""
    values = density.values(gaussian.push(noise))
    half = len(noise) // 2
    for _ in range(20):
        bad = ~np.isfinite(values)
        bad = bad[:half] | bad[half:]
        if not bad.any():
            break
        both = np.concatenate([bad, bad])
        noise = np.where(both[:, None], 0.5 * noise, noise)
        # The whole block again: one compiled shape.
        values = np.where(both, density.values(gaussian.push(noise)), values)
    return noise, values

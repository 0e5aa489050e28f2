"""Black-box densities: natural steps from a quadratic regression of their values."""

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._arrival import Look, natural_steps
from logtrick.vi._engines._base import Engine, EngineResult
from logtrick.vi._engines._density import Density
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
      num_steps: how many steps after the ELBO has stopped rising clearly; at most four times as many in all.
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
        start = finite_start(density.values, rng, q0)
        dim = q0.dim
        dense = not q0.mean_field and dim <= _DENSEST
        coefficients = (dim + 1) * (dim + 2) // 2 if dense else 2 * dim + 1
        count = max(32, self.oversampling * coefficients)
        count += count % 2

        def look_at(gaussian: Gaussian) -> Look:
            noise, values = _finite_values(density, gaussian, antithetic(rng, count, dim))
            elbo_of = lambda other: (
                float(density.values(other.push(noise)).mean()) + other.entropy()
            )
            elbo = float(values.mean()) + gaussian.entropy()
            if not np.isfinite(elbo):
                return Look(-np.inf, np.zeros(dim), np.zeros((dim, dim)), elbo_of)
            shift, hessian = quadratic(noise, values, dense)
            return Look(elbo, shift, np.eye(dim) + hessian, elbo_of)

        return natural_steps(
            density,
            start,
            look_at,
            num_steps=_PATIENCE * self.num_steps,
            has_converged=lambda _, clock: clock.count >= self.num_steps,
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

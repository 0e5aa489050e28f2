"""Where fits start: the modes found from q0's mean and draws of q0."""

from collections.abc import Callable

import numpy as np

from logtrick.vi._engines._curvature import ARRIVED, Mode, explains, newton
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._lbfgs import Ascent

# Nats: Newton's method takes the search on from there, and only for the first lane in each basin.
_NEAR = 0.1
_TRIED = 32
_MOST_MODES = 6  # Newton's method is run from no more points than this


def starting_points(rng: np.random.Generator, q0: Gaussian, count: int) -> np.ndarray:
    """q0's mean and count − 1 draws of q0, the last quarter of them five times as wide; shape (count, d)."""
    noise = rng.standard_normal((count, q0.dim))
    noise[0] = 0.0
    noise[count - count // 4 :] *= 5.0
    return q0.push(noise)


def finite_start(
    values: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator, q0: Gaussian
) -> Gaussian:
    """q0, moved to the best of 32 draws where the log density at its mean is not finite."""
    points = starting_points(rng, q0, _TRIED)
    found = values(points)
    if np.isfinite(found[0]) or not np.isfinite(found).any():
        return q0
    return Gaussian(points[int(np.argmax(found))], q0.scale)


def modes(
    density: Density,
    starts: np.ndarray,
    q0: Gaussian,
    known: list[Mode] | None = None,
    arrived: float = ARRIVED,
) -> list[Mode]:
    """The distinct modes that L-BFGS and Newton's method reach from the starting points, largest mass first.

    A search that ended where the parabola of a known mode says it should is not continued. The modes known before are
    returned with the new ones. `q0` and `arrived` are those of `newton`.
    """
    found = list(known or [])
    if not len(starts):
        return found
    ascent = Ascent(density, starts, tolerance=_NEAR)
    try:
        ascent.run()
        for lane in np.argsort(-ascent.values):
            point, value = ascent.points[lane], float(ascent.values[lane])
            if len(found) - len(known or []) == _MOST_MODES or not np.isfinite(value):
                break
            if any(explains(mode, point, value) for mode in found):
                continue
            mode = newton(density, point, value, ascent.gradients[lane], q0, arrived)
            if not any(_same(mode, other) for other in found):
                found.append(mode)
    except BudgetSpent:
        pass
    return sorted(found, key=lambda mode: -mode.log_mass)


def elsewhere(
    density: Density,
    rng: np.random.Generator,
    gaussians: list[tuple[Gaussian, float]],
    known: list[np.ndarray],
    *,
    screened: int,
    most: int,
) -> np.ndarray:
    """Points from which the log density rises away from every known mode: where a search for further modes should start.

    At a point x in the basin of a mode m the gradient g has g·(m − x) > 0, and at every point if p is log-concave. Points with
    g·(m − x) < 0 for every known m are rare unless there is another mode, and cost one gradient each to find; random starts
    of L-BFGS would cost thirty each, and hit narrow modes far away as seldom.

    Args:
      density: the log density.
      rng: the generator of the points.
      gaussians: what to draw points from, each a Gaussian and the factor that widens it.
      known: the points m.
      screened: how many points are looked at.
      most: how many are returned at most: half of them the highest, half at random.
    """
    each = -(-screened // len(gaussians))
    points = np.concatenate(
        [g.push(width * rng.standard_normal((each, density.dim))) for g, width in gaussians]
    )
    values, gradients = density(points)
    away = np.isfinite(values)
    for mode in known:
        away &= (gradients * (mode - points)).sum(1) < 0
    indices = np.flatnonzero(away)
    highest = indices[np.argsort(-values[indices])][: most // 2]
    others = np.setdiff1d(indices, highest)
    others = rng.permutation(others)[: most - len(highest)]
    return points[np.concatenate([highest, others])]


def _same(mode: Mode, other: Mode) -> bool:
    """Whether two searches ended at one mode: within a tenth of a standard deviation of each other, by either's metric."""
    there = float((other.laplace.whiten(mode.point[None]) ** 2).sum())
    back = float((mode.laplace.whiten(other.point[None]) ** 2).sum())
    return min(there, back) < 0.01 * len(mode.point)

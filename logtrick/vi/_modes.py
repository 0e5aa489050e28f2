"""Modes that a fit has missed: a search from outside of it."""

from typing import Any, NamedTuple

import numpy as np

from logtrick.vi._engines._density import Density, generator
from logtrick.vi._engines._gaussian import Gaussian, triangular
from logtrick.vi._engines._natural_newton import State, antithetic, finite_draws
from logtrick.vi._engines._quadratic_regression import QuadraticRegression
from logtrick.vi._engines._starts import elsewhere, modes

_NATS = 3.0  # a mode matters whose ELBO is no more than this below that of q
_NEAR = 0.05  # the share of q's draws near a mode from which q counts as being there
_UNSEEN = 5.0  # nats: q gives a mode e⁻⁵ of its mass, so that few or none of its draws fall there
_DEPENDENT = 1e-9  # of a standard deviation: less is left of it given the other coordinates where these determine it
_DRAWS = 256
_SCREENED = 1000  # points at which a gradient is taken
_SAME = 3.0  # standard deviations within which two searches have found one mode
_VALUES, _CLIMBED = 512, 3  # without gradients: points looked at, and points started from


class MissedMode(NamedTuple):
    """A mode outside of q.

    Attributes:
      mean: where it is, in the flat unconstrained space, shape (d,).
      stddev: of the Gaussian fitted to its curvature, shape (d,).
      elbo: of that Gaussian: about the log of the mass that q misses there.
      log_ratio: `elbo` less the ELBO of q: above 0, most of the mass is elsewhere.
    """

    mean: np.ndarray
    stddev: np.ndarray
    elbo: float
    log_ratio: float


def missed_modes(
    key: Any,
    target: Any,
    draws: np.ndarray,
    elbo: float,
    bound: float = np.inf,
    *,
    normal: bool = False,
) -> list[MissedMode]:
    """The modes outside of q, largest mass first, from a search that starts in q, q widened and N(0, I), near and far.

    Starts are twelve draws of q widened three times, N(0, I) and N(0, 3² I), and points from these, from q and from still
    wider ones at which the density rises away from q's mean. What is found counts as missed where the ELBO of its Gaussian is no
    more than 3 nats below that of q, and either it is farther than √d + 2 from q, measured by q's covariance and by its own,
    and q's draws hardly ever come near it; or q is normal and gives it less than e⁻⁵ of its mass, as happens to a spike
    inside of q. That ELBO is a lower bound of the mass there, whether or not the Hessian is negative definite: the far side of
    a ring has no strict maximum.

    Args:
      key: a typed key.
      target: the log density; has gradients.
      draws: of q, shape (n, d).
      elbo: of q.
      bound: about log Z, from q's draws.
      normal: whether q is a normal in the flat space.
    """
    rng = generator(key)
    density = Density(target)
    q = moments(draws)
    standard = Gaussian(np.zeros(density.dim), np.eye(density.dim))
    random = [
        g.push(width * rng.standard_normal((4, density.dim)))
        for g, width in ((q, 3), (standard, 1), (standard, 3))
    ]
    wide = [(q, 1.0), (q, 3.0), (q, 10.0), (standard, 1.0), (standard, 3.0), (standard, 10.0)]
    away = elsewhere(density, rng, wide, [q.mean], screened=_SCREENED, most=24)
    found = modes(density, np.concatenate([*random, away]), standard)
    missed = []
    for mode in found:
        apart = far_apart(mode.laplace, q, draws)
        if not apart and not normal:
            continue
        state = finite_draws(density, mode.laplace, antithetic(rng, _DRAWS, density.dim))
        mass = state.elbo
        if mass > elbo - _NATS and (apart or _unseen(state, q, bound)):
            missed.append(MissedMode(mode.point, mode.laplace.stddev(), mass, mass - elbo))
    return sorted(missed, key=lambda mode: -mode.elbo)


def _unseen(state: State, q: Gaussian, bound: float) -> bool:
    """Whether p/q is on average e⁵ times as large around a mode as its mean under q."""
    whitened = q.whiten(state.gaussian.push(state.noise))
    log_q = -0.5 * (whitened**2).sum(1) - q.entropy() + 0.5 * q.dim
    return float((state.log_density - log_q).mean()) > bound + _UNSEEN


def moments(draws: np.ndarray) -> Gaussian:
    """The Gaussian with the mean and covariance of the draws, invertible also where the draws do not vary.

    Of fewer draws than twice the coordinates no covariance can be taken: they have independent coordinates then.
    """
    mean = draws.mean(0)
    deviations = draws.std(0)
    if len(draws) < 2 * len(mean):
        return Gaussian(mean, np.where(deviations > 0, deviations, 1.0))
    scale = triangular((draws - mean).T / np.sqrt(len(draws)))
    floor = np.where(deviations > 0, _DEPENDENT * deviations, 1.0)
    np.fill_diagonal(scale, np.maximum(np.diag(scale), floor))
    return Gaussian(mean, scale)


def far_apart(mode: Gaussian, q: Gaussian, draws: np.ndarray) -> bool:
    """Whether a Gaussian at a mode is far from q by both covariances, and q's draws hardly ever come near it."""
    far = np.sqrt(mode.dim) + 2
    if np.linalg.norm(q.whiten(mode.mean[None])) < far:
        return False
    if np.linalg.norm(mode.whiten(q.mean[None])) < far:
        return False
    # A mixture or a flow may well be there although its mean is not.
    near = np.linalg.norm(mode.whiten(draws), axis=1) < far - 1
    return bool(near.mean() < _NEAR)


def missed_by_values(key: Any, target: Any, draws: np.ndarray, elbo: float) -> list[MissedMode]:
    """The modes outside of q, largest mass first, from a search by values of the log density alone.

    From the highest of `_VALUES` points far from q that q gives next to no density, a normal is fitted by `QuadraticRegression`;
    what counts as missed is as in `missed_modes`, whose arguments these are.
    """
    rng, density = generator(key), Density(target)
    q = moments(draws)
    standard = Gaussian(np.zeros(density.dim), np.eye(density.dim))
    wide = [(q, 3.0), (q, 10.0), (standard, 3.0), (standard, 10.0)]
    each = _VALUES // len(wide)
    noises = rng.standard_normal((len(wide), each, density.dim))
    points = np.concatenate([g.push(width * noise) for (g, width), noise in zip(wide, noises)])
    values = density.log_density(points)
    whitened = q.whiten(points)
    log_q = -0.5 * (whitened**2).sum(1) - q.entropy() + 0.5 * density.dim
    away = np.linalg.norm(whitened, axis=1) > np.sqrt(density.dim) + 2
    away &= np.isfinite(values) & (values - log_q > elbo + _NATS)
    missed: list[MissedMode] = []
    indices = np.flatnonzero(away)
    for index in indices[np.argsort(-values[indices])][:_CLIMBED]:
        start = Gaussian(points[index], q.scale)
        found = QuadraticRegression(num_steps=10, oversampling=2).solve(density, rng, start)
        mode, mass = found.gaussian, float(np.max(found.trace["elbo"], initial=-np.inf))
        known = any(np.linalg.norm((m.mean - mode.mean) / m.stddev) < _SAME for m in missed)
        if known or mass < elbo - _NATS or not far_apart(mode, q, draws):
            continue
        missed.append(MissedMode(mode.mean, mode.stddev(), mass, mass - elbo))
    return sorted(missed, key=lambda mode: -mode.elbo)

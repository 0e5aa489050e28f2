"""Newton's method in the natural parameters of a Gaussian, on fixed draws.

With z = m + C e, u = Cᵀ ∇log p(z) and r = u + e (the difference of the scores of p and q in the whitened coordinates),
b = mean r and H = I + sym(cov(u, e)) are the natural gradients with respect to mean and precision. At the best
Gaussian both vanish.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from logtrick.vi._engines._density import Density
from logtrick.vi._engines._gaussian import Gaussian

_STEPS = 40
_SMALLEST = 1e-4  # the smallest fraction of a step that is tried
_SHRINKINGS = 20

# The Gaussian after a fraction ρ of a step, and whether the mean's step met its limit.
Move = Callable[[float], tuple[Gaussian, bool]]


class State(NamedTuple):
    """A Gaussian with what the fixed draws say of it.

    Attributes:
      gaussian: where it is.
      noise: the draws e, shape (n, d); pairs (e, −e) are halves of the array.
      log_density: (n,).
      scores: u, shape (n, d).
      elbo: on these draws.
      shrunk: what is charged for draws that had to be shrunk, in nats; taken off `elbo`.
    """

    gaussian: Gaussian
    noise: np.ndarray
    log_density: np.ndarray
    scores: np.ndarray
    elbo: float
    shrunk: float = 0.0

    @property
    def shift(self) -> np.ndarray:
        """b = mean (u + e), shape (d,)."""
        return self.scores.mean(0)

    @property
    def curvature(self) -> np.ndarray:
        """sym(mean u eᵀ), shape (d, d): the mean Hessian of log p in the whitened coordinates (Stein's identity)."""
        cross = self.scores.T @ self.noise / len(self.noise)
        return 0.5 * (cross + cross.T)

    @property
    def tilt(self) -> np.ndarray:
        """H = I + `curvature`, shape (d, d); of a mean-field Gaussian its diagonal, shape (d,)."""
        tilt = np.eye(len(self.shift)) + self.curvature
        return np.diag(tilt) if self.gaussian.mean_field else tilt

    @property
    def decrement(self) -> float:
        """|b|²/2 + ‖H‖²_F/4 nats: about how far the ELBO is below its maximum."""
        if self.gaussian.mean_field:
            gain = abs(float(mean_field_direction(self) @ self.shift))
            return 0.5 * gain + 0.25 * float((self.tilt**2).sum())
        return decrement_of(self.shift, self.tilt)

    @property
    def resolved_decrement(self) -> float:
        """The decrement from two independent halves of the draws, so that its mean is not raised by their noise."""
        half = len(self.noise) // 2
        quarter = half // 2
        first = np.r_[0:quarter, half : half + quarter]  # pairs stay together
        second = np.r_[quarter:half, half + quarter : 2 * half]
        halves = [
            State(self.gaussian, self.noise[i], self.log_density[i], self.scores[i], self.elbo)
            for i in (first, second)
        ]
        one, other = halves
        shifts, tilts = float(one.shift @ other.shift), float((one.tilt * other.tilt).sum())
        return max(0.0, 0.5 * shifts + 0.25 * tilts)

    @property
    def weight_deviation(self) -> float:
        """The standard deviation of log p − log q over the draws."""
        weights = self.log_density + 0.5 * (self.noise**2).sum(1)
        return float(np.std(weights)) if np.isfinite(weights).all() else np.inf


def decrement_of(shift: np.ndarray, tilt: np.ndarray) -> float:
    """|b|²/2 + ‖H‖²_F/4 nats: about how far the ELBO is below its maximum."""
    return 0.5 * float(shift @ shift) + 0.25 * float((tilt**2).sum())


def antithetic(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """`count` draws of N(0, I) in pairs (e, −e), with mean e eᵀ = I exactly where there are enough of them.

    On a Gaussian target the mean Hessian and gradient are then exact, whatever the number of draws.
    """
    half = rng.standard_normal((count // 2, dim))
    if dim <= len(half) // 2:
        covariance = half.T @ half / len(half)
        half = np.linalg.solve(np.linalg.cholesky(covariance), half.T).T
    return np.concatenate([half, -half])


def look(density: Density, gaussian: Gaussian, noise: np.ndarray, shrunk: float = 0.0) -> State:
    """Evaluate the draws of a Gaussian; `shrunk` is what is charged for noise that has been shrunk before."""
    values, gradients = density(gaussian.push(noise))
    finite = np.isfinite(values).all()
    elbo = float(values.mean()) + gaussian.entropy() - shrunk if finite else -np.inf
    return State(gaussian, noise, values, gaussian.pull(gradients), elbo, shrunk)


def finite_draws(density: Density, gaussian: Gaussian, noise: np.ndarray) -> State:
    """Like `look`; a draw whose density is not finite is shrunk, with its antithetic partner, until it is.

    A draw that is halved comes from a Gaussian half as wide, whose entropy is d log 2 less; one nat more is charged for it, so
    that of Gaussians that reach beyond an edge of p the narrower is the better one.
    """
    state = look(density, gaussian, noise)
    half = len(noise) // 2
    for _ in range(_SHRINKINGS):
        bad = ~np.isfinite(state.log_density)
        bad = bad[:half] | bad[half:]
        if not bad.any():
            break
        noise = state.noise.copy()
        both = np.concatenate([bad, bad])
        noise[both] *= 0.5
        values, gradients = density(gaussian.push(noise[both]))
        log_density, scores = state.log_density.copy(), state.scores.copy()
        log_density[both], scores[both] = values, gaussian.pull(gradients)
        finite = np.isfinite(log_density).all()
        shrunk = state.shrunk + float(both.mean()) * (1 + gaussian.dim * np.log(2))
        elbo = float(log_density.mean()) + gaussian.entropy() - shrunk if finite else -np.inf
        state = State(gaussian, noise, log_density, scores, elbo, shrunk)
    return state


def climb(
    density: Density,
    state: State,
    *,
    tolerance: float = 1e-3,
    trace: list[tuple[int, float]] | None = None,
) -> State:
    """Newton steps on the draws of `state` until one gains, or the next promises to gain, less than `tolerance` nats."""
    fraction = 1.0
    for step in range(_STEPS):
        # One step is taken always: it makes the fit of a Gaussian exact.
        if step and state.decrement < tolerance:
            break
        new, fraction = _step(density, state, fraction)
        if new is None:
            break
        gain, state = new.elbo - state.elbo, new
        if trace is not None:
            trace.append((density.evaluations, state.elbo))
        if gain < tolerance:
            break
        fraction = min(1.0, 2 * fraction)
    return state


def _step(density: Density, state: State, fraction: float) -> tuple[State | None, float]:
    """The largest of fraction, fraction/3, … of the step that raises the ELBO on the same draws."""
    move = mean_field_move(state) if state.gaussian.mean_field else full_rank_move(state)
    while fraction > _SMALLEST:
        new = look(density, move(fraction)[0], state.noise, state.shrunk)
        if new.elbo > state.elbo:
            return new, fraction
        fraction /= 3
    return None, fraction


def full_rank_move(state: State) -> Move:
    """The natural Newton step of a full-rank Gaussian."""
    return full_rank(state.gaussian, state.shift, state.tilt, 3 * np.sqrt(len(state.shift)))


def mean_field_move(state: State) -> Move:
    """The natural Newton step of a mean-field Gaussian."""
    direction = mean_field_direction(state)
    return mean_field(state.gaussian, direction, state.tilt, 10 * np.sqrt(len(direction)))


def full_rank(
    gaussian: Gaussian, shift: np.ndarray, tilt: np.ndarray, longest: float, widest: float = 6.0
) -> Move:
    """The natural Newton step from a full-rank Gaussian, given b = `shift` and H = `tilt`.

    The mean moves by at most `longest` in the whitened coordinates, the logarithms of the precision's factors by `widest`.
    """
    tilts, vectors = np.linalg.eigh(tilt)
    rotated = vectors.T @ shift
    basis = gaussian.scale @ vectors

    def taken(fraction: float) -> tuple[Gaussian, bool]:
        step = fraction * rotated / np.maximum(1.0, 1 - fraction * tilts)
        step, capped = _shortened(step, longest)
        scale = (basis * _stretch(tilts, fraction, widest)) @ vectors.T
        return Gaussian(gaussian.mean + basis @ step, scale), capped

    return taken


def mean_field(
    gaussian: Gaussian,
    direction: np.ndarray,
    tilts: np.ndarray,
    longest: float,
    widest: float = 6.0,
) -> Move:
    """The step of a mean-field Gaussian: `direction` for the mean, in standard deviations, and tilts of the coordinates."""

    def taken(fraction: float) -> tuple[Gaussian, bool]:
        step, capped = _shortened(fraction * direction, longest)
        scale = gaussian.scale * _stretch(tilts, fraction, widest)
        return Gaussian(gaussian.mean + gaussian.scale * step, scale), capped

    return taken


def _shortened(step: np.ndarray, longest: float) -> tuple[np.ndarray, bool]:
    """A step, not longer than `longest`, and whether it was."""
    norm = float(np.linalg.norm(step))
    return step * min(1.0, longest / max(norm, 1e-300)), norm > longest


def _stretch(tilts: np.ndarray, fraction: float, widest: float) -> np.ndarray:
    """The factors λ^(−1/2) of standard deviations, log λ within ± `widest`."""
    logs = np.clip(np.log(precision_factor(tilts, fraction)), -widest, widest)
    return np.exp(-0.5 * logs)


def precision_factor(tilts: np.ndarray, fraction: float) -> np.ndarray:
    """λ = 1 − ρw where w ≤ 0, 1/(1 + ρw) where w > 0: Newton's step where the precision grows, and positive whatever w is."""
    return np.where(tilts <= 0, 1 - fraction * tilts, 1 / (1 + fraction * np.maximum(tilts, 0.0)))


def mean_field_direction(state: State) -> np.ndarray:
    """The Newton step of the mean for independent coordinates.

    It needs the whole mean Hessian even though q has none: with it, strongly correlated coordinates converge in a few steps.
    """
    negative = -state.curvature
    if 4 * len(negative) > len(state.noise):  # too few draws to tell the matrix's small eigenvalues
        return state.shift / np.maximum(np.diag(negative), 0.3)
    values, vectors = np.linalg.eigh(negative)
    floored = np.maximum(np.abs(values), 1e-8 * max(np.abs(values).max(), 1e-300))
    return vectors @ (vectors.T @ state.shift / floored)

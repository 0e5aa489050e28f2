"""The stochastic finish, for Gaussians that fixed draws cannot resolve: many parameters, or heavy-tailed log weights."""

import numpy as np

from logtrick.vi._engines._density import Density
from logtrick.vi._engines._gaussian import Gaussian, composed
from logtrick.vi._engines._natural_newton import antithetic, finite_draws

_DRAWS, _RATE = 16, 0.02


class _Adam:
    """Adam with a cosine decay to zero, ascending; NumPy on the host."""

    def __init__(self, size: int, rate: float, steps: int) -> None:
        self.first, self.second = np.zeros(size), np.zeros(size)
        self.rate, self.steps, self.count = rate, steps, 0

    def update(self, gradient: np.ndarray) -> np.ndarray:
        rate = self.rate * 0.5 * (1 + np.cos(np.pi * self.count / self.steps))
        self.count += 1
        self.first += 0.1 * (gradient - self.first)
        self.second += 0.001 * (gradient**2 - self.second)
        first = self.first / (1 - 0.9**self.count)
        second = self.second / (1 - 0.999**self.count)
        return rate * first / (np.sqrt(second) + 1e-8)


def polish(
    density: Density,
    rng: np.random.Generator,
    start: Gaussian,
    num_steps: int,
) -> Gaussian:
    """Adam on the sticking-the-landing gradient, in the coordinates that `start` whitens.

    With z = m₀ + C₀ (μ + T e) the gradient with respect to μ is the mean of s = C₀ᵀ ∇log p(z) + T⁻ᵀ e, and with respect
    to the triangular T the lower triangle of the mean of s eᵀ (Roeder, Wu & Duvenaud 2017: the score of q is differentiated
    through the draw only, so that the noise vanishes where q is p). A mean-field `start` has a diagonal T. Each step takes
    fresh antithetic draws.
    """
    dim = start.dim
    below = np.tril_indices(dim, -1) if not start.mean_field else (np.zeros(0, int),) * 2
    parameters = np.zeros(2 * dim + len(below[0]))
    adam = _Adam(len(parameters), _RATE, num_steps)
    for _ in range(num_steps):
        inner, logs = _inner(parameters, dim, below, start.mean_field)
        # `finite_draws` gives the scores in the coordinates of its Gaussian: (C₀T)ᵀ ∇log p = Tᵀ C₀ᵀ ∇log p.
        noise = antithetic(rng, _DRAWS, dim)
        state = finite_draws(density, composed(start, inner), noise)
        pulled = state.scores + state.noise
        outside = (state.noise != noise).any(1)
        if outside.any():
            # Beyond an edge of p there is no gradient: these draws pull q back towards its mean.
            pulled = np.where(outside[:, None], -noise, pulled)
            state = state._replace(noise=noise)
        if start.mean_field:
            score = pulled / inner.scale
            spread = (score * state.noise).mean(0) * np.exp(logs)
            gradient = np.concatenate([score.mean(0), spread])
        else:
            score = np.linalg.solve(inner.scale.T, pulled.T).T
            outer = score.T @ state.noise / _DRAWS
            gradient = np.concatenate([score.mean(0), np.diag(outer) * np.exp(logs), outer[below]])
        parameters = parameters + adam.update(gradient)
    return composed(start, _inner(parameters, dim, below, start.mean_field)[0])


def _inner(
    parameters: np.ndarray, dim: int, below: tuple[np.ndarray, ...], mean_field: bool
) -> tuple[Gaussian, np.ndarray]:
    """N(μ, T Tᵀ) from the flat vector (μ, log diag T, below the diagonal of T)."""
    logs = parameters[dim : 2 * dim]
    if mean_field:
        return Gaussian(parameters[:dim], np.exp(logs)), logs
    scale = np.diag(np.exp(logs))
    scale[below] = parameters[2 * dim :]
    return Gaussian(parameters[:dim], scale), logs

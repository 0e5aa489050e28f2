"""Pathfinder: Gaussians from the inverse Hessians along L-BFGS paths."""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._base import Engine, EngineResult, traced
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian, triangular
from logtrick.vi._engines._lbfgs import Ascent
from logtrick.vi._engines._natural_newton import antithetic
from logtrick.vi._psis import psis

_TOLERANCE = 1e-9  # nats; the last iterations are what the inverse Hessian is learned from


class Factored(NamedTuple):
    """N(mean, A^½ (I + Q (L Lᵀ − I) Qᵀ) A^½) with diagonal A: O(history · d) numbers."""

    mean: np.ndarray
    roots: np.ndarray  # of the diagonal A, shape (d,)
    basis: np.ndarray  # Q, shape (d, k), orthonormal columns
    inner: np.ndarray  # L, shape (k, k), lower triangular

    def push(self, noise: np.ndarray) -> np.ndarray:
        """Draws from rows of standard normal noise."""
        low = noise @ self.basis
        return self.mean + self.roots * (noise + (low @ self.inner.T - low) @ self.basis.T)

    def log_det(self) -> float:
        """Of the scale."""
        return float(np.log(self.roots).sum() + np.log(np.diag(self.inner)).sum())

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """The Gaussian's log density at the rows of `points`."""
        white = (points - self.mean) / self.roots
        low = white @ self.basis
        solved = np.linalg.solve(self.inner, low.T).T
        squares = (white**2).sum(1) - (low**2).sum(1) + (solved**2).sum(1)
        return -0.5 * squares - self.log_det() - 0.5 * len(self.mean) * np.log(2 * np.pi)

    def gaussian(self) -> Gaussian:
        """With a dense scale."""
        dim, columns = self.basis.shape
        scale = np.eye(dim) + self.basis @ (self.inner - np.eye(columns)) @ self.basis.T
        return Gaussian(self.mean, self.roots[:, None] * scale)


class Pathfinder(Engine):
    """Pathfinder: the best of the Gaussians that L-BFGS passes on its way to a mode.

    Every iterate x of L-BFGS has an inverse Hessian estimate S made of the last `history` steps, hence a Gaussian
    N(x + S ∇log p(x), S). The one with the largest ELBO wins, on antithetic draws whose second moments are exact: where p is
    Gaussian the choice has no noise. Memory is O(history · d) a path; S becomes a dense matrix at the end only.

    With several paths, draws from all of them are weighted by p over the equal mixture of their Gaussians, weights
    Pareto smoothed. That mixture, not each path's own Gaussian, is what they were drawn from.

    The result's Gaussian is that of the best path. The `report` has `elbos` (one a path), and with several paths `draws`,
    `log_weights` (normalized) and `khat`.

    Args:
      num_paths: how many paths, from draws of q0; one starts from q0's mean.
      history: the memory of L-BFGS.
      restarts: how often a path without any finite ELBO starts again from another draw.
      num_elbo_draws: per iterate.
      num_draws: of the weighted sample of several paths.
    References:
      Zhang, Carpenter, Gelman & Vehtari (2022), "Pathfinder: Parallel Quasi-Newton Variational Inference".
    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from logtrick import vi
      >>> precision = jnp.linalg.inv(jnp.array([[1.0, 0.98], [0.98, 1.0]]))
      >>> target = vi.Target(lambda z: -0.5 * z @ precision @ z, vi.FullRankNormal(like=jnp.zeros(2)))
      >>> fit = vi.Pathfinder().run(jax.random.key(0), target, vi.Gaussian(np.ones(2), np.eye(2)))
      >>> covariance = fit.gaussian.covariance()
      >>> round(float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])), 2)
      0.98
    """

    num_paths: int = static(default=1)
    history: int = static(default=6)
    restarts: int = static(default=3)
    num_elbo_draws: int = static(default=32)
    num_draws: int = static(default=1000)

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        noise = rng.standard_normal((self.num_paths, q0.dim))
        noise[0] = 0.0
        search = _Search(self, density, rng)
        try:
            search.run(q0.push(noise))
            for _ in range(self.restarts):
                lost = ~np.isfinite(search.elbos)
                if not lost.any():
                    break
                search.run(q0.push(rng.standard_normal((int(lost.sum()), q0.dim))), lost)
            status = "converged"
        except BudgetSpent:
            status = "budget spent"
        best = int(np.argmax(search.elbos))
        winner = search.found[best]
        if winner is None:
            return EngineResult(q0, "failed", density.evaluations, traced([]), {})
        report: dict[str, Any] = {"elbos": search.elbos, "nonfinite": density.nonfinite}
        if self.num_paths > 1 and status == "converged":
            report |= _mixed(
                density, rng, [f for f in search.found if f is not None], self.num_draws
            )
        gaussian = winner.gaussian()
        if q0.mean_field:
            gaussian = Gaussian(gaussian.mean, gaussian.stddev())
        else:
            gaussian = Gaussian(gaussian.mean, triangular(gaussian.scale))
        return EngineResult(gaussian, status, density.evaluations, traced(search.trace), report)


class _Search:
    """The best Gaussian of every path so far."""

    def __init__(self, engine: Pathfinder, density: Density, rng: np.random.Generator) -> None:
        self.engine, self.density = engine, density
        self.elbos = np.full(engine.num_paths, -np.inf)
        self.found: list[Factored | None] = [None] * engine.num_paths
        self.trace: list[tuple[int, float]] = []
        self.noise = antithetic(rng, engine.num_elbo_draws, density.dim)

    def run(self, starts: np.ndarray, which: np.ndarray | None = None) -> None:
        """Follow the paths from `starts`; they are those of `which`, or all."""
        paths = np.arange(len(self.found)) if which is None else np.flatnonzero(which)
        ascent = Ascent(
            self.density,
            starts,
            memory=self.engine.history,
            max_evaluations=1000,
            tolerance=_TOLERANCE,
        )
        diagonals = np.ones_like(starts)
        while ascent.active.any():
            for lane in ascent.advance():
                _update(diagonals, ascent, lane)
                self._consider(paths[lane], factored(diagonals[lane], ascent, lane))

    def _consider(self, path: int, candidate: Factored) -> None:
        points = candidate.push(self.noise)
        if not np.isfinite(points).all():
            return
        values, _ = self.density(points)
        entropy = candidate.log_det() + 0.5 * len(candidate.mean) * (1 + np.log(2 * np.pi))
        elbo = float(values.mean()) + entropy
        if elbo > self.elbos[path]:
            self.elbos[path], self.found[path] = elbo, candidate
        self.trace.append((self.density.evaluations, float(self.elbos.max())))


def _update(diagonals: np.ndarray, ascent: Ascent, lane: int) -> None:
    """The diagonal of the inverse Hessian after the newest step (Gilbert & Lemaréchal 1989)."""
    if not ascent.inverses[lane, -1] > 0:
        return
    alpha, s, y = diagonals[lane], ascent.steps[lane, -1], ascent.changes[lane, -1]
    a, b, c = float(y @ (alpha * y)), float(s @ y), float(s @ (s / alpha))
    new = 1 / (a / (b * alpha) + y**2 / b - a * s**2 / (b * c * alpha**2))
    if np.isfinite(new).all() and (new > 0).all():
        diagonals[lane] = new


def factored(alpha: np.ndarray, ascent: Ascent, lane: int) -> Factored:
    """The Gaussian of an iterate: S = A + β γ βᵀ with β = (A Y, S), factored without a d × d matrix."""
    kept = ascent.inverses[lane] > 0
    point, gradient = ascent.points[lane], ascent.gradients[lane]
    roots = np.sqrt(alpha)
    if not kept.any():
        return Factored(
            point + alpha * gradient, roots, np.zeros((len(point), 0)), np.zeros((0, 0))
        )
    s, y = ascent.steps[lane][kept].T, ascent.changes[lane][kept].T  # (d, J)
    upper = np.triu(s.T @ y)
    inverse = np.linalg.inv(upper)
    middle = inverse.T @ (np.diag(np.diag(upper)) + y.T @ (alpha[:, None] * y)) @ inverse
    gamma = np.block([[np.zeros_like(upper), -inverse], [-inverse.T, middle]])
    beta = np.concatenate([roots[:, None] * y, s / roots[:, None]], 1)
    basis, triangle = np.linalg.qr(beta)
    # I + R γ Rᵀ is positive definite up to rounding; the square root is taken where it is.
    inner = triangle @ gamma @ triangle.T
    values, vectors = np.linalg.eigh(np.eye(len(inner)) + 0.5 * (inner + inner.T))
    lower = triangular(vectors * np.sqrt(np.maximum(values, 1e-12)))
    low = basis.T @ (roots * gradient)
    step = roots * (roots * gradient + basis @ (lower @ (lower.T @ low) - low))
    return Factored(point + step, roots, basis, lower)


def _mixed(
    density: Density, rng: np.random.Generator, found: list[Factored], count: int
) -> dict[str, Any]:
    """Draws of all paths, weighted by p over the mixture they come from."""
    each = math.ceil(count / len(found))
    draws = np.concatenate([f.push(rng.standard_normal((each, density.dim))) for f in found])
    parts = np.stack([f.log_density(draws) for f in found])
    largest = parts.max(0)
    mixture = largest + np.log(np.exp(parts - largest).mean(0))
    weights = density(draws)[0] - mixture
    smoothed = psis(jnp.asarray(weights - weights.max()))
    return {
        "draws": draws,
        "log_weights": np.asarray(smoothed.log_weights),
        "khat": float(smoothed.khat),
    }

"""Batch and match: the Gaussian whose scores match those of p on a batch, in closed form."""

import numpy as np

from logtrick._core.module import static
from logtrick.vi._engines._arrival import ArrivalClock
from logtrick.vi._engines._base import Engine, EngineResult, traced
from logtrick.vi._engines._density import BudgetSpent, Density
from logtrick.vi._engines._gaussian import Gaussian, triangular
from logtrick.vi._engines._laplace import Laplace
from logtrick.vi._engines._low_rank import patched
from logtrick.vi._engines._natural_newton import State, finite_draws, look

_TRIALS = 12


class BatchAndMatch(Engine):
    """Batch and match: minimize the score difference on each batch, with a KL step from the last Gaussian.

    Each step draws a batch from q, and takes the Gaussian that minimizes the batch's covariance-weighted score difference plus
    (2/λ) KL(qₜ ‖ q). In the coordinates that whiten qₜ, with batch means ē, ū and covariances C, Γ of draws e and scores u:
    V = I + λ C + λ/(1 + λ) ē ēᵀ, U = λ Γ + λ/(1 + λ) ū ūᵀ, the new covariance is Σ = 2 V (I + (I + 4 U V)^½)⁻¹, the new mean
    λ/(1 + λ) (Σ ū + ē). λ falls as n⁻¹, n counted from the step at which the ELBO has stopped rising clearly; until then λ is
    lowered where the ELBO falls on the same draws.

    Its fixed point is not the maximum of the ELBO (it has been up to 0.07 nats below), and from far away it needs a start.

    Args:
      num_steps: how many.
      num_draws: of the batch.
      rank: None for a full covariance; r for a diagonal plus r columns, to which each step's covariance is projected
        (a patch, by factor analysis); the scale is still returned as a (d, d) matrix.
      start: the engine whose result is the first q; None starts from q0.

    References:
      Cai, Modi, Pillaud-Vivien, Margossian, Gower, Blei & Saul (2024), "Batch and Match: Black-Box Variational Inference with a
      Score-Based Divergence"; Modi, Cai & Saul (2025), "Batch, Match, and Patch".
    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from logtrick import vi
      >>> target = vi.Target(lambda z: -jnp.sum((z - 3.0) ** 2), vi.FullRankNormal(like=jnp.zeros(2)))
      >>> fit = vi.BatchAndMatch(start=None).run(jax.random.key(0), target, vi.Gaussian(np.zeros(2), np.eye(2)))
      >>> fit.gaussian.mean.round(2).tolist(), fit.gaussian.stddev().round(2).tolist()
      ([3.0, 3.0], [0.71, 0.71])
    """

    mean_field = False

    num_steps: int = static(default=200)
    num_draws: int = static(default=32)
    rank: int | None = static(default=None)
    start: Engine | None = Laplace()

    def solve(self, density: Density, rng: np.random.Generator, q0: Gaussian) -> EngineResult:
        gaussian = q0
        if self.start is not None:
            gaussian = self.start.solve(density, rng, q0).gaussian
        clock = ArrivalClock()
        trace: list[tuple[int, float]] = []
        status = "converged"
        try:
            for step in range(self.num_steps):
                noise = rng.standard_normal((self.num_draws, gaussian.dim))
                state = finite_draws(density, gaussian, noise)
                trace.append((density.evaluations, state.elbo))
                if not np.isfinite(state.elbo):
                    status = "failed"
                    break
                rate = self.num_draws * gaussian.dim / (1 + clock.count)
                checked = not clock.arrived(state.elbo)
                gaussian = self._step(density, state, rate, checked)
                clock.tick(gaussian)
                if step % 50 == 0:
                    density.say(f"step {step}: ELBO {state.elbo:.3f}")
        except BudgetSpent:
            status = "budget spent"
        if status == "converged" and clock.count < self.num_steps // 4:
            status = "not converged"
        report = {"nonfinite": density.nonfinite}
        final = Gaussian(gaussian.mean, triangular(gaussian.scale))
        return EngineResult(final, status, density.evaluations, traced(trace), report)

    def _step(self, density: Density, state: State, rate: float, checked: bool) -> Gaussian:
        """A step of size λ = rate; before the arrival smaller until the ELBO rises on the same draws."""
        mean, scale = state.gaussian
        for _ in range(_TRIALS):
            inner = matched(state.noise, state.scores, rate)
            new = Gaussian(mean + scale @ inner.mean, scale @ inner.scale)
            if self.rank is not None:
                new = patched(new, self.rank)
            if not checked or look(density, new, state.noise).elbo > state.elbo:
                return new
            rate /= 10
        return state.gaussian


def matched(noise: np.ndarray, scores: np.ndarray, rate: float) -> Gaussian:
    """The Gaussian that a step of size λ = `rate` moves N(0, I) to, given draws e and the scores u of p there."""
    count, dim = noise.shape
    mean_noise, mean_score = noise.mean(0), scores.mean(0)
    weight = rate / (1 + rate)
    centered = noise - mean_noise
    deviations = scores - mean_score
    v = (
        np.eye(dim)
        + rate * centered.T @ centered / count
        + weight * np.outer(mean_noise, mean_noise)
    )
    root = np.linalg.cholesky(v)
    # U = F Fᵀ with one column per draw and one for the mean; Σ = L 2 (I + (I + 4 Lᵀ U L)^½)⁻¹ Lᵀ with V = L Lᵀ, symmetric.
    factor = np.concatenate(
        [np.sqrt(rate / count) * deviations, np.sqrt(weight) * mean_score[None]]
    )
    values, vectors = np.linalg.eigh((factor @ root).T @ (factor @ root))
    shrink = 2 / (1 + np.sqrt(1 + 4 * np.maximum(values, 0.0)))
    scale = (root @ vectors) * np.sqrt(shrink)
    mean = weight * (scale @ (scale.T @ mean_score) + mean_noise)
    return Gaussian(mean, scale)

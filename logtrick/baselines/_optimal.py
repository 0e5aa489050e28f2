"""The constant of least variance for every parameter, estimated on the other draws."""

from typing import Any, ClassVar

import jax.numpy as jnp

from logtrick._core.kernel import first_order
from logtrick._core.samples import Runs
from logtrick.baselines._base import Array, Baseline, Site


class OptimalBaseline(Baseline):
    """The optimal constant of each coordinate d of the distribution's parameters: b*_d = E[f s_d²] / E[s_d²].

    Var[(f − b) s_d] = Var[(f − b*_d) s_d] + E[s_d²] (b − b*_d)²: the best constant is not E f. Each
    sample's b_d is Σ_j fⱼ s²ⱼ_d / Σ_j s²ⱼ_d over the *other* samples, so that the gradient is
    unbiased; with its own sample among them the bias would be O(1/n). With two samples b_d is
    leave-one-out.
    The coordinates are those of the site's own distribution (its logits, its loc and scale), not of
    what these are made of: the scores take as much memory as the draws, not draws × parameters of a
    network.

    Raises:
      ValueError: fewer than two samples.
      DerivativeOrderError: a second derivative.
    References:
      Greensmith, Bartlett & Baxter (2004), "Variance Reduction Techniques for Gradient Estimates in
      Reinforcement Learning"; Ranganath, Gerrish & Blei (2014), "Black Box Variational Inference".
      b*_d is the minimum of the parabola above.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> p = jnp.array([0.2, 0.7])
      >>> f = lambda x: 10.0 + 3.0 * x[0] - x[1]
      >>> def value(logits):
      ...     return lt.expect(jax.random.key(0), f, lt.Bernoulli(logits), num_samples=20_000,
      ...                      estimator=lt.ScoreFunction(lt.OptimalBaseline()))
      >>> [round(g.item(), 2) for g in jax.grad(value)(jnp.log(p / (1 - p)))]    # exact: 3 · 0.16, −0.21
      [0.48, -0.21]
    """

    least_samples: ClassVar[int] = 2
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Greensmith, Bartlett & Baxter (2004), Variance Reduction Techniques for Gradient Estimates in Reinforcement "
        "Learning; Ranganath, Gerrish & Blei (2014), Black Box Variational Inference."
    )

    def term(self, site: Site) -> Array:
        # The mean of f goes under the box, as f itself does, and so cancels with f sample by sample; only what b*_d is above
        # the mean is left to the sums over the samples, where a large constant in f would leave its rounding behind (for
        # f = 10⁸ + 8 x in float32 a gradient between −2 and 4 for 1.9).
        runs = site.runs
        shared = runs.sum(site.total) / runs.count
        away = site.total - shared
        mean_away = runs.leave_one_out(away)
        term = (shared + mean_away) * (1 - site.box)
        for s, leaf in zip(site.score(), site.leaves):
            above = _best(away, s, runs) - mean_away
            term = term + first_order("ScoreFunction(OptimalBaseline())", -above * s, leaf)
        return term


def _best(total: Array, score: Array, runs: Runs) -> Any:
    """Σ f s² / Σ s² over the other samples, by coordinate; their mean of f where their scores are all 0."""
    center = runs.leave_one_out(total)
    norm = runs.sum_of_others(score**2)
    # f less a mean that all samples share, so that a large constant in f does not drown the differences in its rounding.
    shared = runs.sum(total) / runs.count
    best = shared + runs.sum_of_others((total - shared) * score**2) / jnp.where(norm > 0, norm, 1.0)
    return jnp.where(norm > 0, best, center)

"""Gradients through log q alone."""

from typing import Any, ClassVar

import jax

from logtrick._core.kernel import detached, first_order
from logtrick._core.samples import over_elements
from logtrick.vi._estimators._base import Array, Problem, WeightEstimator


class HeldDraws(WeightEstimator):
    """The derivative through log q alone, the draws held constant: for objectives that average over draws of the current q.

    `LogVariance` (unbiased for −∇ELBO), `InclusiveKL` and `Renyi` (by normalized weights, biased by O(1/n)). Any guide; no
    derivative of log p in z.

    References:
      Richter, Boustati, Nüsken, Ruiz & Akyildiz (2020), "VarGrad: A Low-Variance Gradient Estimator for Variational
      Inference"; Bornschein & Bengio (2015), "Reweighted Wake-Sleep".
    Example:
      >>> import jax
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like=0.0)                                 # the posterior itself: exactly 0
      >>> loss = lambda q: vi.loss(jax.random.key(0), lambda z: -0.5 * z**2, q, objective=vi.LogVariance())
      >>> abs(jax.grad(loss)(q).loc.item()) < 1e-6
      True
    """

    reference: ClassVar[str] = (
        "Richter, Boustati, Nüsken, Ruiz & Akyildiz (2020), VarGrad: A Low-Variance Gradient Estimator for "
        "Variational Inference; Bornschein & Bengio (2015), Reweighted Wake-Sleep."
    )

    def surrogate(self, problem: Problem, noise: Any) -> Array:
        xs = jax.vmap(detached(problem.q).base.draw)(noise)
        log_weights = over_elements(problem.log_weight, xs)
        guard = first_order("vi.HeldDraws", 0.0, log_weights)
        return problem.objective.held(log_weights) + guard

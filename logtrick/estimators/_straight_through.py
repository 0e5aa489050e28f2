"""The straight-through estimator."""

from typing import Any, ClassVar

from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._logits import hard_draw, logits_of, noisy_logits_of, uniforms
from logtrick.estimators._needs import BitsOrOneHot, DifferentiableCost, Need
from logtrick.estimators._points import Points
from logtrick.estimators._relaxed import straight_through
from logtrick.noise import Uniform


class StraightThrough(Estimator):
    """Straight-through: f at the draw, differentiated as if the draw were its mean. Declared biased.

    ∇_φ E[f] ≈ J(p)ᵀ ∇f(x), J(p) = diag p − p pᵀ for one-hot rows, p (1 − p) for bits. Right where f
    is linear in x. For one bit and f = (x − t)² its mean is 2 p (1 − p) (p − t), not p (1 − p)
    (1 − 2t): stationary at p = t.

    Cost: 1 evaluation of f and its gradient. The value is the mean of f over the draws, unbiased.

    Raises:
      ValueError: the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Bengio, Léonard & Courville (2013), "Estimating or Propagating Gradients Through Stochastic
      Neurons for Conditional Computation". Checked against microsoft/ReinMax, `reinmax/reinmax.py`,
      whose example spells it out.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: 3.0 * x, lt.Bernoulli(logit),
      ...                                 estimator=lt.StraightThrough(), num_samples=1)
      >>> jax.grad(value)(0.0).item()                          # exact, since f is linear
      0.75
    """

    unbiased: ClassVar[bool] = False
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot, DifferentiableCost})
    reference: ClassVar[str] = (
        "Bengio, Léonard & Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons for "
        "Conditional Computation."
    )

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        noisy, logits = noisy_logits_of(dist), logits_of(dist)
        x = hard_draw(noise, dist)
        return Points(
            straight_through("StraightThrough", x, noisy.slope(noisy.mean(logits), logits)),
            dist,
        )

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs

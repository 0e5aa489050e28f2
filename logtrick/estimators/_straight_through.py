"""The straight-through estimator."""

from typing import Any, ClassVar

from logtrick._core.runs import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import OnePointEstimator, Point
from logtrick.estimators._costs import Costs
from logtrick.estimators._logits import as_draw, link_of, logits_of, uniforms
from logtrick.estimators._relaxed import straight_through
from logtrick.noise import Uniform


class StraightThrough(OnePointEstimator):
    """Straight-through: f at the draw, differentiated as if the draw were its mean. Declared biased.

    ∇_φ E[f] ≈ J(p)ᵀ ∇f(x), J(p) = diag p − p pᵀ for one-hot rows, p (1 − p) for bits. Right where f is linear in x. For
    one bit and f = (x − t)² its mean is 2 p (1 − p) (p − t), not p (1 − p) (1 − 2t): stationary at p = t.

    Cost: 1 evaluation of f and its gradient. The value is the mean of f over the draws, unbiased.

    Raises:
      ValueError: the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Bengio, Léonard & Courville (2013), "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
      Computation". Checked against microsoft/ReinMax, `reinmax/reinmax.py`, whose example spells it out.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: 3.0 * x, lt.Bernoulli(logit),
      ...                                 estimator=lt.StraightThrough(), num_samples=1)
      >>> jax.grad(value)(0.0).item()                          # exact, since f is linear
      0.75
    """

    unbiased: ClassVar[bool] = False
    max_order: ClassVar[float] = 1
    needs: ClassVar[frozenset[str]] = frozenset({"Bernoulli or one-hot", "differentiable f"})
    reference: ClassVar[str] = (
        "Bengio, Léonard & Courville (2013), Estimating or Propagating Gradients Through Stochastic Neurons for "
        "Conditional Computation."
    )

    def noise_spec(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def example(self, noise: Any, dist: Distribution) -> Any:
        return self.draw(noise, dist).x

    def draw(self, noise: Any, dist: Distribution) -> Point:
        link, logits = link_of(dist), logits_of(dist)
        x = as_draw(link.hard(link.perturbed(logits, noise)), dist)
        return Point(
            straight_through("StraightThrough", x, link.slope(link.mean(logits), logits)),
            dist,
            None,
        )

    def close(self, costs: Costs, point: Point, runs: Runs) -> Costs:
        return costs.combine()

"""ReinMax: a straight-through estimator of second order."""

from typing import Any, ClassVar

from logtrick._core.module import assign
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._logits import hard_draw, logits_of, noisy_logits_of, uniforms
from logtrick.estimators._needs import BitsOrOneHot, DifferentiableCost, Need
from logtrick.estimators._points import Points
from logtrick.estimators._relaxed import positive_scalar, straight_through
from logtrick.noise import Uniform


class ReinMax(Estimator):
    """ReinMax: straight-through by Heun's rule, right for f that are quadratic in x. Declared biased.

    With p = E x, p_τ = softmax(φ/τ) and J(q) = diag q − q qᵀ (q (1 − q) for bits):
    ∇_φ E[f] ≈ 2 J((p_τ + x)/2)ᵀ ∇f(x) − ½ J(p)ᵀ ∇f(x).

    At τ = 1 its mean is exact for quadratic f, of one or several rows or bits. Cost: 1 evaluation of
    f and its gradient. The value is the mean of f over the draws, unbiased.

    Args:
      temperature: τ > 0.
    Raises:
      ValueError: τ is not positive; the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Liu, Dong, Liu, Yu & Gao (2023), "Bridging Discrete and Backpropagation: Straight-Through and
      Beyond". Checked against the authors' code, microsoft/ReinMax, `reinmax/reinmax.py`.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.ReinMax(), num_samples=100_000)
      >>> round(jax.grad(value)(0.0).item(), 2)                # exact: 0.025
      0.03
    """

    temperature: Any = 1.0
    unbiased: ClassVar[bool] = False
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot, DifferentiableCost})
    reference: ClassVar[str] = (
        "Liu, Dong, Liu, Yu & Gao (2023), Bridging Discrete and Backpropagation: Straight-Through and Beyond."
    )

    def __post_init__(self) -> None:
        assign(self, temperature=positive_scalar("ReinMax", "temperature", self.temperature))

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        noisy, logits = noisy_logits_of(dist), logits_of(dist)
        x = hard_draw(noise, dist)
        middle = 0.5 * (noisy.mean(logits / self.temperature) + x)
        target = 2 * noisy.slope(middle, logits) - 0.5 * noisy.slope(noisy.mean(logits), logits)
        return Points(straight_through("ReinMax", x, target), dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs

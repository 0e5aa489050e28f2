"""Gumbel-Rao: straight-through Gumbel-softmax, averaged over the noise that its draw leaves free."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import assign, static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._logits import hard_draw, logits_of, noisy_logits_of, uniforms
from logtrick.estimators._needs import BitsOrOneHot, DifferentiableCost, Need
from logtrick.estimators._points import Points
from logtrick.estimators._relaxed import positive_scalar, straight_through
from logtrick.noise import Uniform


class GumbelRao(Estimator):
    """Gumbel-Rao: the Jacobian of `StraightThroughGumbelSoftmax` averaged over K noises given the draw. Declared biased.

    With x a draw and y₁ … y_K relaxations from noise conditioned on making x:

    ∇_φ E[f] ≈ (1/(K τ)) Σ_k J(y_k)ᵀ ∇f(x).

    Its mean is that of `StraightThroughGumbelSoftmax`; of the variance that the noise adds to that
    of x, the fraction 1/K is left.

    Cost: 1 evaluation of f and its gradient, whatever K. The value is the mean of f over the draws,
    unbiased.

    Args:
      temperature: τ > 0.
      num_draws: K ≥ 1.
    Raises:
      ValueError: τ or K is illegal; the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Paulus, Maddison & Krause (2021), "Rao-Blackwellizing the Straight-Through Gumbel-Softmax
      Gradient Estimator". Checked against nshepperd/gumbel-rao-pytorch, `gumbel_rao.py`, not the
      authors'. As there, and against a sentence of the paper that it quotes, the conditioned noise
      is held constant: otherwise the mean would be another.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: 3.0 * x, lt.Bernoulli(logit),
      ...                                 estimator=lt.GumbelRao(1.0, 10), num_samples=100_000)
      >>> round(jax.grad(value)(0.0).item(), 1)                # E[σ′(logistic)] is 1/6; exact: 0.75
      0.5
    """

    temperature: Any
    num_draws: int = static(default=10)
    unbiased: ClassVar[bool] = False
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot, DifferentiableCost})
    reference: ClassVar[str] = (
        "Paulus, Maddison & Krause (2021), Rao-Blackwellizing the Straight-Through Gumbel-Softmax Gradient Estimator."
    )

    def __post_init__(self) -> None:
        assign(self, num_draws=checks.positive_int("GumbelRao", "num_draws", self.num_draws))
        assign(self, temperature=positive_scalar("GumbelRao", "temperature", self.temperature))

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist, 1 + self.num_draws)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        noisy, logits = noisy_logits_of(dist), logits_of(dist)
        x = hard_draw(noise[0], dist)
        held = x.astype(logits.dtype)

        def slope(uniform: Any) -> Any:
            z = noisy.conditional(logits, held, noisy.free(uniform))
            return noisy.slope(noisy.relaxed(z, self.temperature), logits) / self.temperature

        target = jnp.mean(jax.vmap(slope)(noise[1:]), axis=0)
        return Points(straight_through("GumbelRao", x, target), dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs

"""ARM: augment, REINFORCE, merge."""

from typing import Any, ClassVar

import jax.numpy as jnp

from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._disarm import antithetic_pair
from logtrick.estimators._logits import logits_of, uniforms
from logtrick.estimators._needs import Bits, Need
from logtrick.estimators._points import Points
from logtrick.noise import Uniform, interior


class ARM(Estimator):
    """Augment-REINFORCE-merge: REINFORCE on the uniforms behind the bits, its antithetic halves merged.

    For p = σ(φ) and u uniform, in every coordinate d:

    ∇_φd E[f] ≈ (f(1[u > 1 − p]) − f(1[u < p])) (u_d − ½), unbiased.

    Cost: 2 evaluations of f and no derivative of f. `DisARM` has the same cost and a variance that
    is lower by E[(f(b) − f(b̃))² Var(u_d | b_d, b̃_d)]. The value is the mean over the pair.

    Raises:
      ValueError: the distribution is not a product of Bernoullis.
      DerivativeOrderError: a second derivative was taken.
    References:
      Yin & Zhou (2019), "ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks".
      Checked against the authors' code, mingzhang-yin/ARM-gradient, `b_mnist_linear_slim.py`.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.ARM(), num_samples=10_000)
      >>> round(jax.grad(value)(0.0).item(), 3)                # exact: p(1 − p)(1 − 2·0.45)
      0.025
    """

    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 2
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Bits})
    reference: ClassVar[str] = (
        "Yin & Zhou (2019), ARM: Augment-REINFORCE-Merge Gradient for Stochastic Binary Networks."
    )

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        uniform = interior(noise)
        return Points(antithetic_pair(noise, dist), dist, stacked=True, kept=uniform)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        logits, uniform = logits_of(points.dist), points.kept
        coefficient = (costs.total[0] - costs.total[1]) * (uniform - 0.5)
        # where a logit is nan the two draws are alike, and the coefficient would be 0
        coefficient = jnp.where(jnp.isnan(logits), jnp.nan, coefficient)
        return costs.averaged(jnp.full(2, 0.5, logits.dtype)).first_order(coefficient, logits)

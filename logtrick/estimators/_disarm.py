"""DisARM, also known as U2G."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import stop
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._logits import as_draw, logits_of, uniforms
from logtrick.estimators._needs import Bits, Need
from logtrick.estimators._points import Points
from logtrick.noise import Uniform, interior


class DisARM(Estimator):
    """DisARM (U2G): ARM with its uniforms integrated out, given the antithetic pair of bits that they make.

    For p = σ(φ), u uniform, b = 1[1 − u < p], b̃ = 1[u < p], in every coordinate d:

    ∇_φd E[f] ≈ ½ (f(b) − f(b̃)) (−1)^b̃d 1[b_d ≠ b̃_d] σ(|φ_d|), unbiased.

    Cost: 2 evaluations of f and no derivative of f. One Bernoulli has variance 0 where p = ½. The
    value is the mean over the pair. A constant added to f changes nothing.

    Raises:
      ValueError: the distribution is not a product of Bernoullis.
      DerivativeOrderError: a second derivative was taken.
    References:
      Dong, Mnih & Tucker (2020), "DisARM: An Antithetic Gradient Estimator for Binary Latent
      Variables", checked against the authors' code, google-research/google-research,
      `disarm/binary/networks.py`; Yin, Ho, Yan, Qian & Zhou (2020), "Probabilistic Best Subset
      Selection by Gradient-Based Optimization" (U2G).
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.DisARM(), num_samples=1)
      >>> round(jax.grad(value)(0.0).item(), 6)                # exact, here: p(1 − p)(1 − 2·0.45)
      0.025
    """

    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 2
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Bits})
    reference: ClassVar[str] = (
        "Dong, Mnih & Tucker (2020), DisARM: An Antithetic Gradient Estimator for Binary Latent Variables; "
        "Yin, Ho, Yan, Qian & Zhou (2020), Probabilistic Best Subset Selection by Gradient-Based Optimization."
    )

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        return Points(antithetic_pair(noise, dist), dist, stacked=True)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        logits, pair = logits_of(points.dist), points.x
        # (−1)^b̃ 1[b ≠ b̃] = b − b̃
        apart = (pair[0] - pair[1]).astype(logits.dtype) * jax.nn.sigmoid(jnp.abs(stop(logits)))
        coefficient = 0.5 * (costs.total[0] - costs.total[1]) * apart
        return costs.averaged(jnp.full(2, 0.5, logits.dtype)).first_order(coefficient, logits)


def antithetic_pair(noise: Array, dist: Distribution) -> Array:
    """The bits of 1 − u and of u, stacked."""
    u, p = interior(noise), jax.nn.sigmoid(logits_of(dist))
    return as_draw(jnp.stack([1 - u < p, u < p]).astype(u.dtype), dist)

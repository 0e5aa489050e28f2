"""ARMS: antithetic REINFORCE with many samples, by a Dirichlet copula."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import stop
from logtrick._core.module import assign, static
from logtrick._core.samples import Runs
from logtrick._core.smooth import log_sigmoid
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._logits import against, as_draw, logits_of, uniforms
from logtrick.estimators._needs import Bits, Need
from logtrick.estimators._points import Points
from logtrick.noise import Uniform, interior


class ARMS(Estimator):
    """Antithetic REINFORCE with n jointly antithetic draws, coupled by a Dirichlet copula in every coordinate.

    With d ∼ Dirichlet(1, …, 1) and uᵢ = (1 − dᵢ)^(n−1), each uniform, bᵢ = 1[uᵢ < p] where p ≤ ½,
    mirrored above:

    ∇_φ E[f] ≈ 1/(n − 1) Σᵢ (fᵢ − f̄) (bᵢ − p) ρ, per coordinate, with
    ρ = p(1 − p) / (p − P(b₁ = b₂ = 1)),
    P(b₁ = b₂ = 1) = max(2 p^{1/(n−1)} − 1, 0)^{n−1} where p ≤ ½; unbiased.

    Cost: n evaluations of f and no derivative of f. With n = 2 it is `DisARM`. The value is the
    mean over the n points. ρ is computed from the rarer of 0 and 1, m = min(p, 1 − p), as
    (1 − m) / (1 − max(2 − m^{−1/(n−1)}, 0)^{n−1}), which loses no digits at extreme logits.

    Args:
      num_draws: n ≥ 2.
    Raises:
      ValueError: n < 2; the distribution is not a product of Bernoullis.
      DerivativeOrderError: a second derivative was taken.
    References:
      Dimitriev & Zhou (2021), "ARMS: Antithetic-REINFORCE-Multi-Sample Gradient for Binary
      Variables", with its Dirichlet copula. Checked against the authors' code, alekdimi/arms,
      `toy_problem.py` and `networks.py` (where 10⁻⁶ is added to the denominator of ρ; this form of
      it needs none).
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.ARMS(4), num_samples=2000)
      >>> round(jax.grad(value)(0.0).item(), 3)                # exact: p(1 − p)(1 − 2·0.45)
      0.025
    """

    num_draws: int = static()
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Bits})
    reference: ClassVar[str] = (
        "Dimitriev & Zhou (2021), ARMS: Antithetic-REINFORCE-Multi-Sample Gradient for Binary Variables."
    )

    def __post_init__(self) -> None:
        assign(self, num_draws=checks.positive_int("ARMS", "num_draws", self.num_draws, 2))

    @property
    def evaluations(self) -> int:  # type: ignore[override]  # as many as it draws
        """Evaluations of f per sample: one for each of the n draws."""
        return self.num_draws

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist, self.num_draws)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        return Points(_coupled_bits(noise, dist), dist, stacked=True)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        n, logits, bits = self.num_draws, logits_of(points.dist), points.x
        # f and the bits less those of the first draw, which changes nothing, since Σ (fᵢ − f̄) p = 0: the mean of f itself
        # would lose the differences between large costs to its rounding, and coordinates in which all draws agree are
        # exactly 0.
        f = costs.total - costs.total[:1]
        deviations = (f - jnp.mean(f)) / (n - 1)
        apart = (bits - bits[:1]).astype(logits.dtype)
        coefficient = against(apart, deviations) * _debiasing(stop(logits), n)
        return costs.averaged(jnp.full(n, 1 / n, logits.dtype)).first_order(coefficient, logits)


def _log_rarer(logits: Array) -> Array:
    """log min(p, 1 − p)."""
    return log_sigmoid(-jnp.abs(logits))


def _coupled_bits(noise: Array, dist: Distribution) -> Array:
    """n draws, stacked: 1 − dᵢ compared with m^{1/(n−1)}, where 1 − dᵢ is the others' share of n exponentials."""
    n, logits = noise.shape[0], logits_of(dist)
    exponentials = -jnp.log(interior(noise))
    others = jnp.tensordot(1 - jnp.eye(n, dtype=noise.dtype), exponentials, 1)
    share = jnp.exp(_log_rarer(logits) / (n - 1))
    rare = others < share[None] * (others + exponentials)
    return as_draw(((logits > 0)[None] ^ rare).astype(noise.dtype), dist)


def _debiasing(logits: Array, n: int) -> Array:
    """ρ."""
    log_m = _log_rarer(logits)
    root = jnp.exp(jnp.minimum(-log_m / (n - 1), math.log(2)))  # m^{−1/(n−1)}, at most 2
    both = jnp.maximum(2 - root, 0.0) ** (n - 1)  # P(both rare) / m
    return jax.nn.sigmoid(jnp.abs(logits)) / (1 - both)

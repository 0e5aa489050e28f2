"""Optimal variance, importance-sampling control variates."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached, first_order, stop
from logtrick._core.module import assign, static
from logtrick._core.samples import over_elements
from logtrick.vi._estimators._base import Array, Problem, WeightEstimator
from logtrick.vi._objectives._renyi import log_mean_exp


class OVIS(WeightEstimator):
    """The score function for the IWELBO with OVIS's asymptotic control variate.

    ∇_θ ≈ Σᵢ (log Ẑ − w̄ᵢ − cᵢ) ∇ log q(zᵢ), cᵢ = log Ẑ₋ᵢ − γ w̄ᵢ + (1 − γ) log(1 − 1/k), Ẑ₋ᵢ the mean of the other weights.
    Unbiased at γ = 0. At γ = 1 (large ESS) cᵢ depends on zᵢ through w̄ᵢ, and the estimate is biased: by 43 % at k = 2 and
    148 % at k = 5 on four states.

    Args:
      gamma: γ, a static number between 0 and 1.
    Raises:
      ValueError: γ outside of [0, 1].
    References:
      Liévin, Dittadi, Christensen & Winther (2020), "Optimal Variance Control of the Score Function Gradient Estimator for
      Importance Weighted Bounds", equation 17.
    Example:
      >>> from logtrick import vi
      >>> vi.OVIS().unbiased, vi.OVIS(1.0).unbiased
      (True, False)
    """

    gamma: float = static(default=0.0)
    reference: ClassVar[str] = (
        "Liévin, Dittadi, Christensen & Winther (2020), Optimal Variance Control of the Score Function Gradient Estimator."
    )

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ValueError(
                f"vi.OVIS(gamma=…) needs a number in [0, 1]; got {self.gamma}. Use 0.0."
            )
        assign(self, gamma=float(self.gamma))

    @property
    def unbiased(self) -> bool:
        """Whether its mean is the gradient."""
        return self.gamma == 0

    def surrogate(self, problem: Problem, noise: Any) -> Array:
        xs = jax.vmap(detached(problem.q).base.draw)(noise)
        log_qs = jax.vmap(problem.q.base.log_prob)(xs)
        held = over_elements(lambda x: problem.log_weight(x, detached(problem.q)), xs)
        log_weights = stop(held)
        k = log_weights.shape[0]
        bound, shares = log_mean_exp(log_weights), jax.nn.softmax(log_weights)
        others = jax.vmap(
            lambda i: log_mean_exp(jnp.delete(log_weights, i, assume_unique_indices=True))
        )
        control = others(jnp.arange(k)) - self.gamma * shares + (1 - self.gamma) * jnp.log1p(-1 / k)
        signal = bound - shares - control
        # the derivative in the model's parameters: Σ w̄ᵢ ∂ log p
        value = problem.objective.value(held)
        return value + first_order("vi.OVIS", signal, log_qs)

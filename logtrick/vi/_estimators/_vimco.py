"""VIMCO: a baseline for every draw of a k-draw bound, from the other draws of the same bound."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached, first_order, stop
from logtrick._core.module import Module
from logtrick._core.samples import over_elements
from logtrick.vi._estimators._base import Array, Problem, WeightEstimator
from logtrick.vi._objectives._renyi import log_mean_exp


class StandIn(Module, abstract=True):
    """What takes the place of a draw's log-weight, from those of the others."""

    @abc.abstractmethod
    def fill(self, others: Array) -> Array:
        """One log-weight from k − 1 others."""


class GeometricMean(StandIn):
    """The mean of the others' log-weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> vi.GeometricMean().fill(jnp.array([0.0, 2.0])).item()
      1.0
    """

    def fill(self, others: Array) -> Array:
        return jnp.mean(others)


class ArithmeticMean(StandIn):
    """The logarithm of the others' mean weight: finite also where some of them are 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> round(vi.ArithmeticMean().fill(jnp.log(jnp.array([1.0, 3.0]))).item(), 4)       # log 2
      0.6931
    """

    def fill(self, others: Array) -> Array:
        return log_mean_exp(others)


class VIMCO(WeightEstimator):
    """The score function for k-draw objectives with a baseline for every draw, from the others of the same group.

    ∇_θ E[φ] ≈ Σᵢ (φ − φ₋ᵢ) ∇ log q(zᵢ) + Σᵢ φᵢ ∇ log wᵢ, φ₋ᵢ with log wᵢ replaced by a mean of the others: unbiased, since
    φ₋ᵢ does not depend on zᵢ. Any guide, any symmetric objective; no derivative of log p in z.

    Args:
      stand_in: `GeometricMean()` (the paper's), or `ArithmeticMean()`.
    Raises:
      ValueError: an objective of one draw, which has no others.
    References:
      Mnih & Rezende (2016), "Variational Inference for Monte Carlo Objectives", equation 10.
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.BernoulliProduct(like=jnp.zeros(2))
      >>> loss = lambda q: vi.loss(jax.random.key(0), lambda z: z @ jnp.array([1.0, -1.0]), q, objective=vi.IWELBO(4),
      ...                          estimator=vi.VIMCO(), num_samples=20_000)
      >>> [round(g, 2) for g in jax.grad(loss)(q).logits.tolist()]         # to raise the first, to lower the second
      [-0.07, 0.07]
    """

    stand_in: StandIn = GeometricMean()
    reference: ClassVar[str] = (
        "Mnih & Rezende (2016), Variational Inference for Monte Carlo Objectives."
    )

    def surrogate(self, problem: Problem, noise: Any) -> Array:
        xs = jax.vmap(detached(problem.q).base.draw)(noise)
        log_qs = jax.vmap(problem.q.base.log_prob)(xs)
        log_weights = over_elements(problem.log_weight, xs)
        phi = problem.objective.value
        baselines = without_each(phi, self.stand_in, stop(log_weights))
        signal = stop(phi(log_weights)) - baselines
        return phi(log_weights) + first_order("vi.VIMCO", signal, log_qs)


def without_each(phi: Any, stand_in: StandIn, log_weights: Array) -> Array:
    """φ₋ᵢ for every i."""
    size = log_weights.shape[0]
    own = jnp.arange(size)

    def without(i: Array) -> Array:
        others = jnp.delete(log_weights, i, assume_unique_indices=True)
        return phi(jnp.where(own == i, stand_in.fill(others), log_weights))

    return jax.vmap(without)(own)

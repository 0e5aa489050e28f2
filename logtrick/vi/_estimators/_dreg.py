"""Doubly reparameterized gradients, for any objective of log-weights."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached, first_order, stop
from logtrick._core.samples import over_elements
from logtrick.estimators import Need, Reparameterized
from logtrick.vi._estimators._base import Array, Problem, WeightEstimator
from logtrick.vi._guide import Guide


class DReG(WeightEstimator):
    """Doubly reparameterized gradient: no score term is left, and nothing is biased.

    With φᵢ = ∂φ/∂ log wᵢ and φᵢᵢ the second derivative, at x = T(ε, θ),

      ∇_θ E[φ] = E[Σᵢ (φᵢ − φᵢᵢ) ∂ log wᵢ/∂xᵢ ∂xᵢ/∂θ],

    since the score term −Σ φᵢ ∇ log q(xᵢ) is itself reparameterized, E[g(x) ∇ log q(x)] = E[∂g/∂x ∂x/∂θ] at g = −φᵢ. For
    the IWELBO φᵢ − φᵢᵢ = w̄ᵢ², the ELBO 1 (`STL`). Its signal-to-noise ratio grows with k, where that of the pathwise gradient
    falls; away from the optimum its variance can be the larger. Parameters of the model in log p get φᵢ ∂ log p.

    References:
      Tucker, Lawson, Gu & Maddison (2019), "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives".
    Example:
      >>> import jax
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like=0.0)                                 # the posterior itself: exactly 0
      >>> loss = lambda q: vi.loss(jax.random.key(0), lambda z: -0.5 * z**2, q, objective=vi.IWELBO(8), estimator=vi.DReG())
      >>> jax.grad(loss)(q).loc.tolist()
      [0.0]
    """

    needs: ClassVar[frozenset[type[Need]]] = frozenset({Reparameterized})
    reference: ClassVar[str] = (
        "Tucker, Lawson, Gu & Maddison (2019), Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives."
    )

    def surrogate(self, problem: Problem, noise: Any) -> Array:
        held = detached(problem.q)
        return by_path("vi.DReG", problem, held, noise, lambda first, second: first - second)


def by_path(
    name: str, problem: Problem, held: Guide, noise: Any, coefficient: Callable[..., Array]
) -> Array:
    """φ, with the derivative Σᵢ cᵢ ∂ log wᵢ/∂xᵢ ∂xᵢ/∂θ through the draws, and Σᵢ φᵢ ∂ log p through the model's parameters.

    Args:
      name: who is to blame for a second derivative.
      held: the guide in log q.
      coefficient: c from the first and the second derivatives of φ in the log-weights.
    """
    xs = jax.vmap(problem.q.base.transform)(noise)
    points = stop(xs)
    log_weight = lambda x: problem.log_weight(x, held)
    log_weights = over_elements(log_weight, points)
    first, second = derivatives(problem.objective.value, stop(log_weights))
    slopes = stop(over_elements(jax.grad(log_weight), points))
    c = coefficient(first, second)
    moved = [
        first_order(name, c.reshape(-1, *[1] * (x.ndim - 1)) * slope, x)
        for slope, x in zip(jax.tree.leaves(slopes), jax.tree.leaves(xs))
    ]
    value = stop(problem.objective.value(log_weights))
    # Not `first @ (log_weights − stop(log_weights))`, which is nan where a draw has weight 0.
    return value + first_order(name, first, log_weights) + sum(moved[1:], moved[0])


def derivatives(value: Callable[[Array], Array], log_weights: Array) -> tuple[Array, Array]:
    """φᵢ and φᵢᵢ at every log-weight."""
    slope = jax.grad(value)

    def diagonal(unit: Array) -> Array:
        return jax.jvp(slope, (log_weights,), (unit,))[1] @ unit

    units = jnp.eye(log_weights.shape[0], dtype=log_weights.dtype)
    return slope(log_weights), jax.vmap(diagonal)(units)

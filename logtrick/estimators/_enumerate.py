"""Exact enumeration of a finite support."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.samples import Runs
from logtrick.distributions import Distribution, probability
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._needs import FiniteSupport, Need
from logtrick.estimators._points import Points
from logtrick.estimators._support import claimed
from logtrick.noise import NoNoise


class Enumerate(Estimator):
    """The exact sum over a finite support: E[f] = Σ_x p_θ(x) f(x, θ), variance 0.

    Cost: as many evaluations of f as the support has points (2^D for D Bernoullis), in one vmapped
    call, whatever `num_samples`. Points of probability zero contribute 0, value and derivative: f
    is evaluated at a point of positive probability in their place, and weighted by 0. Only where
    the parameters are probabilities (`probs=`) does a probability of 0 have a derivative: f is
    evaluated there, and left out where it is not finite. Several such sites of a program cost the
    product of their supports; `VariableElimination` sums over chains in linear time.

    Raises:
      ValueError: the support is not finite, or too large.
    References:
      Exact summation; no reference needed.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.Enumerate())
      >>> round(jax.grad(value)(0.0).item(), 6)
      0.025
    """

    needs: ClassVar[frozenset[type[Need]]] = frozenset({FiniteSupport})
    reference: ClassVar[str] = "Exact summation; no reference needed."

    def noise(self, dist: Distribution) -> NoNoise:
        return NoNoise()

    def draw(self, noise: Any, dist: Distribution) -> Points:
        support = dist.enumerate()
        if dist.slopes_at_zero:
            weights = jax.vmap(lambda x: probability(dist, x))(support)
            weights = claimed(self, weights, support)
            return Points(support, dist, stacked=True, kept=weights)
        log_p = claimed(self, jax.vmap(dist.log_prob)(support), support)
        empty = log_p == -jnp.inf
        weights = jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_p)))
        likely = jnp.argmax(log_p)

        def instead(x: Any) -> Any:
            return jnp.where(empty.reshape(-1, *[1] * (x.ndim - 1)), x[likely], x)

        return Points(jax.tree.map(instead, support), dist, stacked=True, kept=weights)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        if points.dist.slopes_at_zero:
            costs = costs.finite_where(points.kept != 0)
        # centered: the weights sum to 1 whatever the parameters, so that a constant in f has no derivative
        return costs.centered().averaged(points.kept)

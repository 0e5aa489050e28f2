"""Exact enumeration of a finite support."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.runs import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator, Rest
from logtrick.estimators._costs import Costs
from logtrick.noise import NoNoise


class Enumerate(Estimator):
    """The exact sum over a finite support: E[f] = Σ_x p_θ(x) f(x, θ), variance 0.

    Cost: as many evaluations of f as the support has points (2^D for D Bernoullis), in one vmapped call, whatever
    `num_samples`. Points of probability zero contribute 0, value and derivative: f is not evaluated there but at a point
    of positive probability, and weighted by 0.

    Raises:
      ValueError: the support is not finite, or too large.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.Enumerate())
      >>> round(jax.grad(value)(0.0).item(), 6)
      0.025
    """

    needs: ClassVar[frozenset[str]] = frozenset({"finite"})
    deterministic: ClassVar[bool] = True
    reference: ClassVar[str] = "Exact summation; no reference needed."

    @property
    def evaluations(self) -> None:
        return None

    def count_evaluations(self, dist: Distribution) -> int:
        return jax.tree.leaves(jax.eval_shape(dist.enumerate))[0].shape[0]

    def noise_spec(self, dist: Distribution) -> NoNoise:
        return NoNoise()

    def example(self, noise: Any, dist: Distribution) -> Any:
        return jax.tree.map(lambda x: x[0], dist.enumerate())

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        points = dist.enumerate()
        log_p = jax.vmap(dist.log_prob)(points)
        empty = log_p == -jnp.inf
        weights = jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_p)))
        likely = jnp.argmax(log_p)
        legal = jax.tree.map(
            lambda x: jnp.where(empty.reshape(-1, *[1] * (x.ndim - 1)), x[likely], x), points
        )
        return jax.vmap(rest)(legal).combine(weights)

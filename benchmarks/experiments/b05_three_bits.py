"""B5. Kool, van Hoof & Welling (2020), the Bernoulli toy at η = 0: three bits, one logit, k evaluations."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import logtrick as lt
from experiments.row import Row, gradients, mean_row, variance_row

TARGETS = jnp.array([0.6, 0.51, 0.48])
LOO = {2: (7.275e-3, 8e-3), 3: (3.20e-3, None), 4: (1.99e-3, None)}  # exact, read off the figure
UNORDERED = {
    2: (6.1125e-3, 6e-3),
    3: (2.2625e-3, None),
    4: (1.13083e-3, None),
    5: (6.105e-4, None),
    6: (3.165e-4, None),
    7: (1.29167e-4, 1.3e-4),
}


def _gradient(estimator: Any, runs: int) -> Callable[[Any], Any]:
    def value(eta: Any, key: Any) -> Any:
        dist = lt.Bernoulli(jnp.broadcast_to(eta, (3,)))
        f = lambda b: jnp.sum((b - TARGETS) ** 2)
        return lt.expect(key, f, dist, estimator=estimator, num_samples=runs)

    return lambda key: jax.grad(value)(0.0, key)


def rows() -> list[Row]:
    """Variances of one call, and the gradient."""
    found = []
    for k, (exact, published) in LOO.items():
        draws = gradients(_gradient(lt.ScoreFunction(), k), 100_000)
        found.append(variance_row(f"variance, LOO, k = {k}", exact, draws, 0.05, published, k))
    for k, (exact, published) in UNORDERED.items():
        draws = gradients(_gradient(lt.UnorderedSet(k), 1), 100_000)
        quantity = f"variance, unordered set, k = {k}"
        found.append(variance_row(quantity, exact, draws, 0.05, published, k))
    found.append(mean_row("gradient, unordered set, k = 7", -0.045, draws, -0.045))
    return found

"""B4. Titsias & Shi (2022), figure 1: f = mean (b − .499)², D = 200, two samples, one coordinate's variance."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from experiments.row import Row, gradients, variance_row

# The best coefficients of the double control variate.
ALPHA = {0.5: -0.0015974441, 0.7: -0.0048878899}
EXACT = {
    0.5: {"LOO": 1.25e-9, "DisARM": 1.24375e-9, "double CV": 1.248e-9, "R*": 6.21875e-10},
    0.7: {"LOO": 8.837e-10, "DisARM": 8.8053e-10, "double CV": 1.11834e-11, "R*": 4.40475e-10},
}
PUBLISHED = {"LOO": 1.25e-9, "DisARM": 1.25e-9, "double CV": 1.25e-9, "R*": 6.5e-10}  # at θ = ½


def rows() -> list[Row]:
    """Variances of one call; R* is the exact mean as the baseline."""
    found = []
    for theta, exact in EXACT.items():
        logits = jnp.full(200, np.log(theta / (1 - theta)))
        mean = theta * 0.501**2 + (1 - theta) * 0.499**2
        estimators: dict[str, tuple[Any, int]] = {
            "LOO": (lt.ScoreFunction(), 2),
            "DisARM": (lt.DisARM(), 1),
            "double CV": (lt.DoubleCV(ALPHA[theta]), 2),
            "R*": (lt.ScoreFunction(lt.ConstantBaseline(mean)), 2),
        }
        for name, (estimator, runs) in estimators.items():

            def value(logits: Any, key: Any, estimator: Any = estimator, runs: int = runs) -> Any:
                f = lambda b: jnp.mean((b - 0.499) ** 2)
                dist = lt.Bernoulli(logits)
                return lt.expect(key, f, dist, estimator=estimator, num_samples=runs)

            draws = gradients(lambda key: jax.grad(value)(logits, key)[0], 50_000)
            published = PUBLISHED[name] if theta == 0.5 else None
            quantity = f"variance at θ = {theta}, {name}"
            found.append(variance_row(quantity, exact[name], draws, 0.05, published, 2))
    return found

"""B6. Arya, Schauer, Schäfer & Rackauckas (2022), figure 3: a random walk of n steps, f = X_n², d/dp at p = 2n."""

from typing import Any

import jax
import numpy as np
from random_walk import walk

import logtrick as lt
from experiments.row import Row, gradients, mean_row, oracle, variance_row

# The paper's figure shows standard deviations: without a baseline, with one, and of stochastic triples.
PUBLISHED = {
    50: {"sf": 35.0, "sf_mean_baseline": 10.4},
    100: {"sf": 95.7, "sf_mean_baseline": 21.4},
}
CALLS = 60_000


def rows() -> list[Row]:
    """Standard deviations of one call beside those of dynamic programming over the walk's places."""
    found = []
    for n in (10, 50, 100):
        plain = oracle(f"walk/n{n}_p{2 * n}/sf")
        exact_mean = _mean_cost(n)
        cases: dict[str, tuple[Any, int]] = {
            "sf": (lt.ScoreFunction(lt.NoBaseline()), 1),
            "sf_mean_baseline": (lt.ScoreFunction(lt.ConstantBaseline(exact_mean)), 1),
            "loo8": (lt.ScoreFunction(), 8),
        }
        for name, (estimator, runs) in cases.items():

            def value(p: Any, key: Any, estimator: Any = estimator, runs: int = runs) -> Any:
                return lt.expect_program(key, walk, p, n, "the end", estimator, num_samples=runs)

            draws = gradients(lambda key: jax.grad(value)(2.0 * n, key), CALLS // runs)
            exact = oracle(f"walk/n{n}_p{2 * n}/{name}")["exact_variance"]
            row = variance_row("", exact, draws)
            found.append(_deviation(f"n = {n}, std, {name}", row, PUBLISHED.get(n, {}).get(name)))
        found.append(mean_row(f"n = {n}, gradient", plain["exact_gradient"], draws))
    return found


def _deviation(quantity: str, row: Row, published: float | None) -> Row:
    """The standard deviation of a row of a variance."""
    std = row.obtained**0.5
    error = row.error / (2 * std)
    within = max(0.03, 5 * error / row.expected**0.5)
    return Row(quantity, row.expected**0.5, std, within, error, published)


def _mean_cost(n: int) -> float:
    """E X_n², exactly, by the law of the walk."""
    places = np.arange(n + 1.0)
    up = np.exp(-places / (2.0 * n))
    law = np.zeros(n + 1)
    law[0] = 1.0
    for _ in range(n):
        law = np.append(0.0, (law * up)[:-1]) + np.append((law * (1 - up))[1:], 0.0)
    return float(law @ places**2)

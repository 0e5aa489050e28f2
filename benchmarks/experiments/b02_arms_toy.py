"""B2. Dimitriev & Zhou (2021), figure 1: one bit, f = (b − .49)², p = ½, at 2, 4 and 10 evaluations."""

from typing import Any

import jax

import logtrick as lt
from experiments.row import Row, gradients, variance_row

# Ours, its number of samples, the exact variance, what can be read off the figure.
CASES: dict[str, tuple[Any, int, float, float | None]] = {
    "LOO, n = 2": (lt.ScoreFunction(), 2, 2.5e-5, 2.5e-5),
    "ARM": (lt.ARM(), 1, 8.33333e-6, 8.3e-6),
    "DisARM": (lt.DisARM(), 1, 0.0, 0.0),
    "LOO, n = 4": (lt.ScoreFunction(), 4, 4.16667e-6, 4.2e-6),
    "ARMS, n = 4": (lt.ARMS(4), 1, 6.07803e-7, None),
    "LOO, n = 10": (lt.ScoreFunction(), 10, 5.55556e-7, None),
    "ARMS, n = 10": (lt.ARMS(10), 1, 1.2868e-7, None),
}


def rows() -> list[Row]:
    """Variances of one call."""
    found = []
    for name, (estimator, runs, exact, published) in CASES.items():

        def value(logit: Any, key: Any, estimator: Any = estimator, runs: int = runs) -> Any:
            f = lambda b: (b - 0.49) ** 2
            return lt.expect(key, f, lt.Bernoulli(logit), estimator=estimator, num_samples=runs)

        draws = gradients(lambda key: jax.grad(value)(0.0, key), 100_000)
        count = runs * estimator.count_evaluations(lt.Bernoulli(0.0))
        found.append(variance_row(f"variance, {name}", exact, draws, 0.1, published, count))
    return found

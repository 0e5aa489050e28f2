"""B11. Liu, Dong, Liu, Yu & Gao (2023), polynomial programming: 128 one-hot pairs, mean |x − .45|^p, logits (.3, 0)."""

from typing import Any

import jax
import jax.numpy as jnp

import logtrick as lt
from experiments.row import Row, oracle


def mean(estimator: Any, power: float) -> float:
    """The mean gradient of one coordinate, over 40,000 draws of 128 alike coordinates."""
    f = lambda x: jnp.mean(jnp.abs(x[:, 0] - 0.45) ** power)

    def value(logits: Any) -> Any:
        dist = lt.OneHotCategorical(logits)
        return lt.expect(jax.random.key(0), f, dist, estimator=estimator, num_samples=40_000)

    logits = jnp.tile(jnp.array([0.3, 0.0]), (128, 1))
    return float(jnp.mean(jax.jit(jax.grad(value))(logits)[:, 0]))


def rows() -> list[Row]:
    """Means of biased estimators; ReinMax has no bias for a quadratic."""
    exact = {name: oracle(f"reinmax_poly/{name}")["exact_mean"] for name in _NAMES}
    through = lt.StraightThrough()
    square = oracle("reinmax_poly/p2.0/reinmax")["exact_gradient"]
    ratio = mean(through, 2.0) / square
    straight = mean(through, 1.5)
    return [
        Row("gradient, p = 2, ReinMax (no bias)", square, mean(lt.ReinMax(), 2.0), 0.03),
        Row(
            "mean, p = 1.5, ReinMax (biased)", exact["p1.5/reinmax"], mean(lt.ReinMax(), 1.5), 0.05
        ),
        Row("mean, p = 1.5, straight-through (biased)", exact["p1.5/st"], straight, 0.03),
        Row("p = 2, straight-through / exact gradient", exact["p2.0/st"] / square, ratio, 0.05),
    ]


_NAMES = ("p1.5/st", "p1.5/reinmax", "p2.0/st")

"""B1. Mohamed, Rosca, Figurnov & Mnih (2020), figures 2 and 3: N(1, 1), four costs, by mean and scale."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from experiments.row import Row, oracle, variance_row

CALLS = 100_000
COSTS: dict[str, Callable[[Any], Any]] = {
    "quad_k0": lambda x: x**2,
    "quad_k-3": lambda x: (x + 3.0) ** 2,
    "cos_k0.5": lambda x: jnp.cos(0.5 * x),
    "exp_k0.1": lambda x: jnp.exp(-0.1 * x**2),
}
MEANS = {"quad_k0": 2.0, "quad_k-3": 17.0}
_PLAIN = lt.ScoreFunction(lt.NoBaseline())
_MIRRORED = lt.ScoreFunction(lt.NoBaseline(), lt.Antithetic())
# The oracle's name of an estimator: ours, its number of samples.
ESTIMATORS: dict[str, tuple[Any, int]] = {
    "sf": (_PLAIN, 1),
    "loo2": (lt.ScoreFunction(), 2),
    "loo4": (lt.ScoreFunction(), 4),
    "loo8": (lt.ScoreFunction(), 8),
    "sf_antithetic": (_MIRRORED, 2),
    "pathwise": (lt.Pathwise(), 1),
    "pathwise_antithetic": (lt.Pathwise(lt.Antithetic()), 2),
    "mvd_coupled": (lt.MeasureValued(coupled=True), 1),
    "mvd_indep": (lt.MeasureValued(coupled=False), 1),
}


def estimates(cost: Callable[[Any], Any], estimator: Any, num_samples: int) -> Any:
    """Gradients by mean and scale, each of shape (CALLS,)."""

    def value(params: Any, key: Any) -> Any:
        dist = lt.Normal(*params)
        return lt.expect(key, cost, dist, estimator=estimator, num_samples=num_samples)

    one = lambda key: jax.grad(value)((1.0, 1.0), key)
    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), CALLS))


def rows() -> list[Row]:
    """The variance of one call of every estimator that the oracles have."""
    found = []
    for problem, cost in COSTS.items():
        cases = dict(ESTIMATORS)
        if problem in MEANS:
            exact_mean = lt.ConstantBaseline(MEANS[problem])
            cases["sf_mean_baseline"] = (lt.ScoreFunction(exact_mean), 1)
        for name, (estimator, num_samples) in cases.items():
            found += _of(problem, cost, name, estimator, num_samples)
    return found


def _of(problem: str, cost: Any, name: str, estimator: Any, num_samples: int) -> list[Row]:
    found = []
    draws = None
    for wrt, index in (("mu", 0), ("sigma", 1)):
        try:
            exact = oracle(f"normal/{problem}/{wrt}/{name}")
        except KeyError:
            continue
        draws = estimates(cost, estimator, num_samples) if draws is None else draws
        quantity = f"{problem}, d/d{wrt}, {name}"
        within = max(exact["suggested_rtol_var"], 0.02)
        values = np.asarray(draws[index], np.float64)
        row = variance_row(
            quantity, exact["exact_variance"], values, within, evaluations=exact["f_evals"]
        )
        found.append(row)
    return found

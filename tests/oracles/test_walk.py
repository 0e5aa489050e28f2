"""Rows walk/*: a random walk whose steps depend on its place, f = X_n² after the last step, through `lt.scan`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.oracles.problems import ROWS, check

CALLS = 100_000
BASELINES = ("sf", "sf_mean_baseline", "sf_opt_baseline", "loo8")


def walk(p, n, estimator):
    """Steps of ±1, P(up) = exp(−X/p), at 0 always up (Arya et al., 2022, section 5.1)."""

    def step(x, _):
        rate = jnp.where(x <= 0, 1.0, x) / p
        logit = jnp.where(x <= 0, 30.0, -rate - jnp.log(-jnp.expm1(-rate)))
        move = yield lt.sample(lt.Bernoulli(logit), estimator)
        return x + 2 * move - 1, None

    x, _ = yield lt.scan(step, jnp.zeros(()), length=n)
    yield lt.cost(x**2)


def moments(n, p):
    """(E f, E[f s²] / E[s²]) with s the score of the whole path: Σ over paths that end in x of 1, s, s², step by step."""
    x = np.arange(n + 1.0)
    up = np.exp(-x / p)
    score_up = x / p**2
    score_down = -score_up * np.divide(up, 1 - up, out=np.zeros(n + 1), where=up < 1)
    sums = np.zeros((3, n + 1))
    sums[0, 0] = 1.0
    for _ in range(n):
        rising, falling = (
            rate
            * np.array([sums[0], sums[1] + s * sums[0], sums[2] + 2 * s * sums[1] + s**2 * sums[0]])
            for rate, s in ((up, score_up), (1 - up, score_down))
        )
        sums = np.zeros((3, n + 1))
        sums[:, 1:] += rising[:, :-1]
        sums[:, :-1] += falling[:, 1:]
    return sums[0] @ x**2, sums[2] @ x**2 / sums[2].sum()


@functools.cache
def compiled(n, structure, num_samples):
    """One compilation for all constants of the baseline."""

    def run(p, estimator, key):
        value = lambda p, k: lt.expect_program(k, walk, p, n, estimator, num_samples=num_samples)
        return jax.lax.map(
            lambda k: jax.grad(value)(p, k), jax.random.split(key, CALLS), batch_size=10_000
        )

    return jax.jit(run)


def check_row(n, how):
    row = ROWS[f"walk/n{n}_p{2 * n}/{how}"]
    mean, best = moments(n, row["params"]["p"])
    constant = {"sf": 0.0, "sf_mean_baseline": mean, "sf_opt_baseline": best}
    baseline = (
        lt.LeaveOneOut()
        if how == "loo8"
        else lt.ConstantBaseline(jnp.asarray(constant[how], float))
    )
    estimator, runs = lt.ScoreFunction(baseline), row["n_samples"]
    run = compiled(n, jax.tree.structure(estimator), runs)
    return check(row, np.asarray(run(row["params"]["p"], estimator, jax.random.key(n))))


def test_moments_are_those_of_the_rows_notes():
    np.testing.assert_allclose(moments(10, 20.0), [50.03273982, 52.85935749], rtol=1e-9)
    np.testing.assert_allclose(moments(50, 100.0), [1130.39883, 1153.594732], rtol=1e-8)
    np.testing.assert_allclose(moments(100, 200.0), [4462.460356, 4510.90034], rtol=1e-9)


@pytest.mark.parametrize("how", BASELINES)
def test_ten_steps(how):
    check_row(10, how)


@pytest.mark.full
@pytest.mark.parametrize("how", BASELINES)
@pytest.mark.parametrize("n", [50, 100])
def test_long_walks(n, how):
    check_row(n, how)

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, gradients, moments
from tests.estimators.test_unordered_set import CAT, categorical, indexed_cost, point_probabilities
from tests.oracles.problems import ROWS, check, problem


def order_noise(p, k, stochastic):
    """Uniforms for every outcome, and its exact probability: the point drawn, or the first k of the Gumbels' order."""
    noise, weights = [], []
    if not stochastic:
        others = np.argsort(-p, kind="stable")[k - 1 :]
        for z in others:
            noise.append(np.where(np.arange(len(p)) == z, 1 - 1e-12, 1e-12))
            weights.append(p[z] / p[others].sum())
        return np.array(noise)[:, None], np.array(weights)
    for order in itertools.permutations(range(len(p)), k):
        left, weight = 1.0, 1.0
        for s in order:
            weight, left = weight * p[s] / left, left - p[s]
        u = np.full(len(p), 1e-12)
        # keys −log(−log u) + log p in the order wanted
        for place, s in enumerate(order):
            u[s] = np.exp(-p[s] * np.exp(-(30.0 - 4.0 * place)))
        noise.append(u)
        weights.append(weight)
    assert abs(sum(weights) - 1) < 1e-12
    return np.array(noise)[:, None], np.array(weights)


CASES = [(categorical, indexed_cost, CAT[4], k) for k in (1, 3)] + [
    (bernoulli, coupled_bits_cost, LOGITS[2], 3)
]
MORE = [(categorical, indexed_cost, CAT[4], k) for k in (2, 4)] + [
    (bernoulli, coupled_bits_cost, LOGITS[3], 4)
]
CASES += [pytest.param(*case, marks=pytest.mark.full) for case in MORE]


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize("dist_of, cost, params, k", CASES)
def test_unbiased_over_all_outcomes(x64, dist_of, cost, params, k, stochastic):
    noise, weights = order_noise(point_probabilities(dist_of(params)), k, stochastic)
    value, mean, _ = moments(lt.SumAndSample(k, stochastic), dist_of, cost, params, noise, weights)
    want_value, want = exact(dist_of, cost, params)
    np.testing.assert_allclose(value, want_value, atol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)


ORACLE = [i for i in ROWS if "sum_and_sample" in i or "stoch_sas" in i]


@pytest.mark.parametrize("name", [i for i in ORACLE if ROWS[i]["f_evals"] <= 4])
def test_oracle_row_exactly(x64, name):
    row, p = ROWS[name], problem(ROWS[name])
    params, stochastic, k = np.asarray(p.params[p.wrt]), "stoch" in name, row["f_evals"]
    dist_of = lambda theta: p.dist({**p.params, p.wrt: theta})
    noise, weights = order_noise(point_probabilities(dist_of(params)), k, stochastic)
    estimator = lt.SumAndSample(k, stochastic)
    _, mean, variance = moments(
        estimator, dist_of, lambda _, x: p.cost(p.params, x), params, noise, weights
    )
    np.testing.assert_allclose(np.atleast_1d(mean), np.atleast_1d(row["exact_mean"]), atol=1e-12)
    np.testing.assert_allclose(
        np.atleast_1d(variance), np.atleast_1d(row["exact_variance"]), rtol=1e-9
    )


@pytest.mark.parametrize("name", [i for i in ORACLE if ROWS[i]["f_evals"] > 4])
def test_oracle_row_of_many_orders(name):
    row = {"suggested_rtol_var": 0.05, **ROWS[name]}
    check(row, problem(row).gradients(lt.SumAndSample(row["f_evals"], stochastic=True), 1, 200_000))


def test_low_entropy_in_float32():
    """P(not C) is summed over what is outside, not taken from 1: here 2e-9 + 1e-11."""
    logits = jnp.array([0.0, -20.0, -25.0, -30.0])
    cost = lambda _, x: jnp.array([0.0, 0.0, 1.0, 1.0])[x]
    noise = jax.random.uniform(jax.random.key(0), (10, 1, 4))
    values, _ = gradients(
        lt.SumAndSample(2), categorical, lambda p, x: cost(p, x) + (x == 1), logits, noise
    )
    np.testing.assert_allclose(values, np.exp(-20.0) + np.exp(-25.0) + np.exp(-30.0), rtol=1e-5)


@pytest.mark.parametrize("stochastic", [False, True])
def test_impossible_points(stochastic):
    logits = jnp.array([0.0, -jnp.inf, 1.0, -jnp.inf])
    cost = lambda params, x: jnp.array([1.0, jnp.nan, 3.0, jnp.nan])[x]
    noise = jax.random.uniform(jax.random.key(0), (20, 1, 4))
    values, grads = gradients(lt.SumAndSample(3, stochastic), categorical, cost, logits, noise)
    p = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(values, p[0] + 3 * p[2], rtol=1e-6)
    assert np.all(np.isfinite(grads))


def test_refuses_more_draws_than_points():
    message = r"SumAndSample\(num_draws=…\) needs at most as many draws as the support has points, 2; got 3. Use Enumerate\(\)"
    with pytest.raises(ValueError, match=message):
        lt.expect(jax.random.key(0), lambda x: x, lt.Bernoulli(0.0), estimator=lt.SumAndSample(3))


def test_refuses_no_draws():
    with pytest.raises(
        ValueError, match=r"SumAndSample\(num_draws=…\) needs an int of at least 1; got 0"
    ):
        lt.SumAndSample(0)

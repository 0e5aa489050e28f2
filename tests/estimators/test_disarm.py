import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import logtrick as lt
from tests.estimators.exact import (
    LOGITS,
    bernoulli,
    cells,
    coupled_bits_cost,
    exact,
    moments,
    product,
)
from tests.oracles.problems import ROWS, problem


def pair_noise(logits, nodes=2):
    points, weights = product(*(cells([expit(l), expit(-l)], nodes) for l in logits))
    return points[:, None], weights


@pytest.mark.parametrize("size", [1, 2, 3])
def test_unbiased_over_all_cells(x64, size):
    noise, weights = pair_noise(LOGITS[size])
    value, mean, _ = moments(
        lt.DisARM(), bernoulli, coupled_bits_cost, LOGITS[size], noise, weights
    )
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)


ORACLE = [i for i in ROWS if i.startswith("bern") and i.endswith("/disarm")]


@pytest.mark.parametrize("name", ORACLE)
def test_oracle_row_exactly(x64, name):
    row, p = ROWS[name], problem(ROWS[name])
    noise, weights = pair_noise(p.params["logits"])
    _, mean, variance = moments(
        lt.DisARM(), bernoulli, lambda _, x: p.cost(p.params, x), p.params["logits"], noise, weights
    )
    np.testing.assert_allclose(mean, np.atleast_1d(row["exact_mean"]), atol=1e-12)
    np.testing.assert_allclose(
        variance, np.atleast_1d(row["exact_variance"]), rtol=1e-10, atol=1e-20
    )


def test_extreme_logits():
    """σ(|φ|) is 1 there, and nothing overflows."""
    value = lambda l: lt.expect(
        jax.random.key(0), jnp.sum, lt.Bernoulli(l), estimator=lt.DisARM(), num_samples=4
    )
    assert jnp.all(jax.grad(value)(jnp.array([1e3, -1e3, 88.0])) == 0)


def test_half_precision():
    """Computed in float32: the gradient of p, 2 p (1 − p) σ|φ| wide cells, is right to bfloat16's rounding."""
    value = lambda l: lt.expect(
        jax.random.key(0), lambda x: x, lt.Bernoulli(l), estimator=lt.DisARM(), num_samples=20_000
    )
    grad = jax.grad(value)(jnp.asarray(1.0, jnp.bfloat16))
    assert grad.dtype == jnp.bfloat16
    assert abs(float(grad) - 0.1966) < 0.004  # 5 standard errors of 20,000 draws

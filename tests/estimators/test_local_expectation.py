import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

import logtrick as lt
from tests.estimators.exact import (
    LOGITS,
    bernoulli,
    cells,
    coupled_bits_cost,
    exact,
    gradients,
    moments,
    product,
)
from tests.oracles.problems import ROWS, problem

ROWS_OF_LOGITS = {
    (1, 3): np.array([[0.3, -1.1, 0.8]]),
    (2, 3): np.array([[0.3, -1.1, 0.8], [1.0, 0.0, -0.5]]),
}
one_hot = lambda params: lt.OneHotCategorical(params)


def draw_noise(logits):
    points, weights = product(*(cells(expit(-l), 1) for l in logits))
    return points[:, None], weights


def one_hot_noise(logits):
    """Uniforms that make every tuple of classes, and its probability."""
    noise, weights = [], []
    for classes in itertools.product(range(logits.shape[1]), repeat=logits.shape[0]):
        u = np.full(logits.shape, 1e-9)
        u[np.arange(len(classes)), classes] = 1 - 1e-9
        noise.append(u)
        weights.append(np.prod(softmax(logits, -1)[np.arange(len(classes)), classes]))
    return np.array(noise)[:, None], np.array(weights)


def coupled_rows_cost(params, x):
    x = x.reshape(-1, x.shape[-1])
    level = x @ jnp.array([0.5, -1.0, 2.0])
    return (
        (jnp.sum(level * jnp.arange(1.0, len(level) + 1)) - 0.3) ** 2
        + jnp.prod(level)
        + 0.1 * jnp.sum(params**2)
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_unbiased_over_all_draws(x64, size):
    noise, weights = draw_noise(LOGITS[size])
    value, mean, variance = moments(
        lt.LocalExpectation(), bernoulli, coupled_bits_cost, LOGITS[size], noise, weights
    )
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, atol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)
    if size == 1:
        assert np.all(variance < 1e-28)


@pytest.mark.parametrize("shape", ROWS_OF_LOGITS)
def test_unbiased_over_all_one_hot_draws(x64, shape):
    logits = ROWS_OF_LOGITS[shape]
    noise, weights = one_hot_noise(logits)
    value, mean, _ = moments(
        lt.LocalExpectation(), one_hot, coupled_rows_cost, logits, noise, weights
    )
    want_value, want = exact(one_hot, coupled_rows_cost, logits)
    np.testing.assert_allclose(value, want_value, atol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)


def test_oracle_row_exactly(x64):
    row, p = ROWS["bernD4/poly/leg"], problem(ROWS["bernD4/poly/leg"])
    noise, weights = draw_noise(p.params["logits"])
    cost = lambda _, x: p.cost(p.params, x)
    _, mean, variance = moments(
        lt.LocalExpectation(), bernoulli, cost, p.params["logits"], noise, weights
    )
    np.testing.assert_allclose(mean, row["exact_mean"], atol=1e-12)
    np.testing.assert_allclose(variance, row["exact_variance"], rtol=1e-10)
    assert (
        lt.LocalExpectation().count_evaluations(lt.Bernoulli(p.params["logits"])) == row["f_evals"]
    )


def test_evaluations_of_one_hot_rows():
    assert lt.LocalExpectation().count_evaluations(lt.OneHotCategorical(jnp.zeros((2, 3)))) == 5
    assert lt.LocalExpectation().count_evaluations(lt.Bernoulli(0.0)) == 2


def test_a_single_class_has_no_neighbors():
    value = lambda l: lt.expect(
        jax.random.key(0), jnp.sum, lt.OneHotCategorical(l), estimator=lt.LocalExpectation()
    )
    assert jax.value_and_grad(value)(jnp.zeros(1)) == (1.0, 0.0)


def test_impossible_classes():
    """f is nan at a class of probability zero, and is not evaluated there."""
    logits = jnp.array([[0.0, -jnp.inf, 1.0]])
    cost = lambda _, x: jnp.sum(jnp.where(x == 1, jnp.array([[1.0, jnp.nan, 3.0]]), 0.0))
    noise = jax.random.uniform(jax.random.key(0), (10, 1, 1, 3))
    _, grads = gradients(lt.LocalExpectation(), one_hot, cost, logits, noise)
    p = np.asarray(jax.nn.softmax(logits))[0]
    np.testing.assert_allclose(
        grads[:, 0], np.tile(p * (np.array([1, 0, 3]) - p[0] - 3 * p[2]), (10, 1)), atol=1e-6
    )

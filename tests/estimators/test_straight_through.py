import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, moments
from tests.estimators.test_local_expectation import draw_noise, one_hot, one_hot_noise
from tests.oracles.problems import ROWS, problem

POLYNOMIAL = [i for i in ROWS if i.startswith("reinmax_poly/")]


def one_hot_row(name, estimator):
    """The moments of a one-hot oracle row. Coordinates of the polynomial problems are alike and independent: one of them."""
    row = ROWS[name]
    if name in POLYNOMIAL:
        p = row["params"]
        cost = lambda _, x: jnp.abs(x[0, 0] - p["target"]) ** p["pnorm"] / p["D"]
        logits, pick = np.array([p["logits"]]), (0, 0)
    else:
        q = problem(row)
        cost, logits, pick = (lambda _, x: q.cost(q.params, x[0])), q.params["logits"][None], 0
    noise, weights = one_hot_noise(logits)
    value, mean, variance = moments(estimator, one_hot, cost, logits, noise, weights)
    return row, value, mean[pick], variance[pick]


@pytest.mark.parametrize("name", ["cat5/quad/st"] + [i for i in POLYNOMIAL if i.endswith("/st")])
def test_one_hot_oracle_row_exactly(x64, name):
    row, _, mean, variance = one_hot_row(name, lt.StraightThrough())
    np.testing.assert_allclose(mean, row["exact_mean"], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(variance, row["exact_variance"], rtol=1e-9)
    assert np.any(np.abs(mean - np.array(row["exact_gradient"])) > 1e-5)  # biased, as declared


@pytest.mark.parametrize("name", [i for i in ROWS if i.startswith("bern") and i.endswith("/st")])
def test_oracle_row_exactly(x64, name):
    row, p = ROWS[name], problem(ROWS[name])
    noise, weights = draw_noise(p.params["logits"])
    cost = lambda _, x: p.cost(p.params, x)
    _, mean, variance = moments(
        lt.StraightThrough(), bernoulli, cost, p.params["logits"], noise, weights
    )
    np.testing.assert_allclose(mean, np.atleast_1d(row["exact_mean"]), atol=1e-10)
    np.testing.assert_allclose(variance, np.atleast_1d(row["exact_variance"]), rtol=1e-9)


def test_value_and_mean_over_all_draws(x64):
    """The value is unbiased; the gradient's mean is J(p)ᵀ E ∇f plus the direct term."""
    logits = LOGITS[2]
    noise, weights = draw_noise(logits)
    value, mean, _ = moments(
        lt.StraightThrough(), bernoulli, coupled_bits_cost, logits, noise, weights
    )
    points = np.array([[a, b] for a in (0.0, 1.0) for b in (0.0, 1.0)])
    mass = np.prod(np.where(points == 1, expit(logits), expit(-logits)), 1)
    slopes = jax.vmap(jax.grad(coupled_bits_cost, 1), (None, 0))(logits, points)
    direct = jax.vmap(jax.grad(coupled_bits_cost, 0), (None, 0))(logits, points)
    np.testing.assert_allclose(value, exact(bernoulli, coupled_bits_cost, logits)[0], rtol=1e-12)
    np.testing.assert_allclose(
        mean,
        mass @ (expit(logits) * expit(-logits) * np.asarray(slopes) + np.asarray(direct)),
        rtol=1e-10,
    )


def test_a_draw_by_hand(x64):
    logits, weights = np.array([0.3, -1.1, 0.8]), np.array([1.0, -2.0, 0.5])
    u = np.array([0.2, 0.9, 0.6])
    x = np.eye(3)[np.argmax(logits - np.log(-np.log(u)))]
    p = softmax(logits)
    want = (np.diag(p) - np.outer(p, p)) @ (2 * (weights @ x) * weights)
    _, grad, _ = moments(
        lt.StraightThrough(), one_hot, lambda _, x: (x @ weights) ** 2, logits, u[None, None], [1.0]
    )
    np.testing.assert_allclose(grad, want, rtol=1e-12)

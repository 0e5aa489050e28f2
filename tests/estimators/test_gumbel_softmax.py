import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

import logtrick as lt
from tests.estimators.exact import bernoulli, cells, moments
from tests.estimators.test_local_expectation import one_hot
from tests.oracles.problems import ROWS, problem

KIND = re.compile(r"bern/.*/(gs|stgs)_tau([\d.]+)$")
RATE = {
    1.0: 1 / 6,
    0.5: 1 - np.pi / 4,
}  # E[y (1 − y)] / τ at p = ½: ∫ u (1 − u) du, ∫ 2 y (1 − y) du, y = u²/(u² + (1 − u)²)
ESTIMATORS = {"gs": lt.GumbelSoftmax, "stgs": lt.StraightThroughGumbelSoftmax}


@pytest.mark.parametrize("name", [i for i in ROWS if KIND.match(i)])
def test_oracle_row_exactly(x64, name):
    row, p, kind = ROWS[name], problem(ROWS[name]), KIND.match(name)
    points, weights = cells(expit(-p.params["logits"]), 60)
    estimator, cost = ESTIMATORS[kind[1]](float(kind[2])), lambda _, x: p.cost(p.params, x)
    value, mean, variance = moments(
        estimator, bernoulli, cost, p.params["logits"], points[:, None, None], weights
    )
    exact = RATE[float(kind[2])] * (1 - 2 * p.params["t"])  # at p = ½
    np.testing.assert_allclose(mean, exact, rtol=1e-9)
    # The rows' own quadrature puts a cell at the threshold on one side: straight-through means are low by 6.25e-5.
    np.testing.assert_allclose(mean, row["exact_mean"], atol=1e-9 if kind[1] == "gs" else 7e-5)
    np.testing.assert_allclose(
        variance, row["exact_variance"], rtol=1e-6 if kind[1] == "gs" else 1e-3
    )
    if kind[1] == "stgs":  # the value is that of hard draws, unbiased
        assert abs(value - p.mean_cost()) < 1e-12


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_a_draw_by_hand(x64, kind):
    logits, weights, tau = np.array([0.3, -1.1, 0.8]), np.array([1.0, -2.0, 0.5]), 0.7
    u = np.array([0.2, 0.9, 0.6])
    y = softmax((logits - np.log(-np.log(u))) / tau)
    x = np.eye(3)[np.argmax(y)] if kind == "stgs" else y
    want = (np.diag(y) - np.outer(y, y)) / tau @ (2 * (weights @ x) * weights)
    value, grad, _ = moments(
        ESTIMATORS[kind](tau),
        one_hot,
        lambda _, x: (x @ weights) ** 2,
        logits,
        u[None, None],
        [1.0],
    )
    np.testing.assert_allclose(value, (weights @ x) ** 2, rtol=1e-9)
    np.testing.assert_allclose(grad, want, rtol=1e-9)


def test_second_derivatives_are_those_of_the_relaxation(x64):
    """E f(y), y = σ(φ + logistic) uniform at φ = 0: by quadrature."""
    cost = lambda x: x**3
    points, weights = cells(0.5, 40)
    noise = np.log(points) - np.log1p(-points)
    relaxed = lambda l: weights @ cost(jax.nn.sigmoid(l + noise))
    u = jnp.asarray(points)[:, None]

    def value(l):
        run = lambda u: cost(lt.GumbelSoftmax(1.0).draw(u, lt.Bernoulli(l)).x)
        return weights @ jax.vmap(run)(u[:, 0])

    np.testing.assert_allclose(jax.hessian(value)(0.2), jax.hessian(relaxed)(0.2), rtol=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS.values())
def test_half_precision_keeps_its_dtype(estimator):
    value = lambda l: lt.expect(
        jax.random.key(0), lambda x: jnp.sum(x**2), lt.Bernoulli(l), estimator=estimator(0.5)
    )
    grad = jax.grad(value)(jnp.zeros(2, jnp.bfloat16))
    assert grad.dtype == jnp.bfloat16 and bool(jnp.all(jnp.isfinite(grad)))


@pytest.mark.parametrize("estimator", ESTIMATORS.values())
def test_refusals(estimator):
    name = estimator.__name__
    with pytest.raises(
        ValueError, match=rf"{name}\(temperature=…\) needs a positive finite number; got -1.0"
    ):
        estimator(-1.0)
    with pytest.raises(
        ValueError,
        match=rf"{name}\(\) needs a Bernoulli or one-hot distribution; Normal is not. Use .*Pathwise",
    ):
        lt.expect(jax.random.key(0), lambda x: x, lt.Normal(0.0, 1.0), estimator=estimator(1.0))


def test_a_traced_temperature_below_zero_is_nan():
    value = jax.jit(
        lambda t: lt.expect(
            jax.random.key(0), lambda x: x, lt.Bernoulli(0.0), estimator=lt.GumbelSoftmax(t)
        )
    )
    assert jnp.isnan(value(-1.0)) and jnp.isfinite(value(1.0))

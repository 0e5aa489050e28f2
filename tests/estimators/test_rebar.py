import re

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
    gradients,
    moments,
    product,
)
from tests.oracles.problems import ROWS, problem

ORACLE = [i for i in ROWS if re.search(r"/rebar_(coupled|eta)", i)]


def noise_of(logits, nodes):
    """Uniforms (u, v) of every coordinate: (cases, 1, 2, D)."""
    axes = [axis for l in logits for axis in (cells(expit(-l), nodes), cells([], nodes))]
    points, weights = product(*axes)
    return points.reshape(-1, 1, len(logits), 2).swapaxes(2, 3), weights


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(
    "size, nodes, tolerance", [(1, 40, 1e-11), pytest.param(2, 9, 2e-6, marks=pytest.mark.full)]
)
def test_unbiased_by_quadrature(x64, size, nodes, tolerance, coupled):
    """With the direct term; a few nodes for four noises leave a quadrature's error."""
    noise, weights = noise_of(LOGITS[size], nodes)
    estimator = lt.REBAR(1.0, 0.7, coupled)
    value, mean, _ = moments(estimator, bernoulli, coupled_bits_cost, LOGITS[size], noise, weights)
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-10)
    np.testing.assert_allclose(mean, want, atol=tolerance)


@pytest.mark.parametrize("name", ORACLE)
def test_oracle_row_exactly(x64, name):
    """The rows are right to a quadrature's 1e-6."""
    row, p = ROWS[name], problem(ROWS[name])
    best = re.search(r"eta\*=([-+\d.e]+)", row["notes"])
    scale = float(best[1]) if best else 1.0
    estimator = lt.REBAR(float(name.rsplit("tau", 1)[1]), scale, "coupled" in name)
    noise, weights = noise_of(p.params["logits"], 60)
    _, mean, variance = moments(
        estimator, bernoulli, lambda _, x: p.cost(p.params, x), p.params["logits"], noise, weights
    )
    np.testing.assert_allclose(mean, row["exact_mean"], atol=1e-8)
    np.testing.assert_allclose(variance, row["exact_variance"], rtol=1e-4)


def test_unbiased_on_a_one_hot_row():
    """As drawn, against enumeration: the exact tests above are of bits."""
    logits = jnp.array([0.4, -0.3, 0.1])
    cost = lambda x: (x @ jnp.array([1.0, -2.0, 0.5]) - 0.7) ** 2

    def value(logits, key):
        return lt.expect(
            key, cost, lt.OneHotCategorical(logits), estimator=lt.REBAR(), num_samples=1
        )

    keys = jax.random.split(jax.random.key(0), 400_000)
    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(logits, keys)
    want = exact(lambda l: lt.OneHotCategorical(l), lambda _, x: cost(x), logits)[1]
    lt.testing.assert_unbiased(np.asarray(draws, np.float64), want, resolve=0.05)


def test_the_adaptive_loss_is_the_squared_gradient(x64):
    """Its value, and its derivative in τ and η by differences; none of it reaches the logits or f's parameters."""
    logits, u = LOGITS[2], np.random.default_rng(0).uniform(size=(7, 1, 2, 2))
    cost = lambda params, x: coupled_bits_cost(LOGITS[2], x)

    def parts(temperature, scale):
        (_, aux), grads = gradients(
            lt.REBAR(temperature, scale, learn=True), bernoulli, cost, logits, u, has_aux=True
        )
        return aux.losses[:, 0], grads

    loss, grads = parts(0.6, 0.8)
    _, fixed = gradients(lt.REBAR(0.6, 0.8), bernoulli, cost, logits, u)
    np.testing.assert_allclose(grads, fixed, rtol=1e-9)
    np.testing.assert_allclose(loss, np.sum(grads**2, 1), rtol=1e-9)

    def total(learned, logits, weight):
        f = lambda x: weight * coupled_bits_cost(LOGITS[2], x)
        run = lt.REBAR(learned[0], learned[1], learn=True)
        return lt.expect(
            jax.random.key(0), f, lt.Bernoulli(logits), estimator=run, num_samples=4, has_aux=True
        )[1].adaptive_loss

    learned = jnp.array([0.6, 0.8])
    slope, *others = jax.jit(jax.grad(total, (0, 1, 2)))(learned, logits, 1.0)
    jitted = jax.jit(total)
    for i, step in enumerate(np.eye(2) * 1e-5):
        numeric = (jitted(learned + step, logits, 1.0) - jitted(learned - step, logits, 1.0)) / 2e-5
        np.testing.assert_allclose(slope[i], numeric, rtol=1e-6)
    assert all(np.all(np.asarray(o) == 0) for o in others)


def test_learning_without_aux_is_refused():
    with pytest.raises(ValueError, match="learns, and without has_aux=True it never would"):
        lt.expect(jax.random.key(0), jnp.sum, lt.Bernoulli(0.0), estimator=lt.REBAR(learn=True))


def test_refuses_illegal_temperatures():
    with pytest.raises(
        ValueError, match=r"REBAR\(temperature=…\) needs a positive finite number; got 0.0"
    ):
        lt.REBAR(0.0)

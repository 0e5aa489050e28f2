import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, gradients, moments
from tests.estimators.test_rebar import noise_of


def surrogate(w, y):
    y = jnp.atleast_1d(y)
    return w[0] + w[1] * jnp.sum(y**2) + w[2] * jnp.prod(y)


W = np.array([0.3, -0.8, 1.1])


@pytest.mark.parametrize(
    "size, nodes, tolerance", [(1, 40, 1e-10), pytest.param(2, 9, 2e-6, marks=pytest.mark.full)]
)
def test_unbiased_by_quadrature(x64, size, nodes, tolerance):
    noise, weights = noise_of(LOGITS[size], nodes)
    estimator = lt.RELAX(surrogate, W, 1.0, 0.9)
    value, mean, _ = moments(estimator, bernoulli, coupled_bits_cost, LOGITS[size], noise, weights)
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-10)
    np.testing.assert_allclose(mean, want, atol=tolerance)


def test_with_f_as_its_surrogate_it_is_rebar(x64):
    logits, u = LOGITS[2], np.random.default_rng(0).uniform(size=(20, 1, 2, 2))
    cost = lambda params, x: coupled_bits_cost(LOGITS[2], x)
    _, rebar = gradients(lt.REBAR(0.6, 0.8), bernoulli, cost, logits, u)
    _, relax = gradients(
        lt.RELAX(lambda w, y: cost(w, y), None, 0.6, 0.8), bernoulli, cost, logits, u
    )
    np.testing.assert_allclose(relax, rebar, rtol=1e-9, atol=1e-12)


def test_the_adaptive_loss_is_the_squared_gradient(x64):
    logits, u = LOGITS[2], np.random.default_rng(0).uniform(size=(20, 1, 2, 2))
    cost = lambda params, x: coupled_bits_cost(LOGITS[2], x)
    (_, aux), grads = gradients(lt.RELAX(surrogate, W), bernoulli, cost, logits, u, has_aux=True)
    np.testing.assert_allclose(aux.losses[:, 0], np.sum(grads**2, 1), rtol=1e-10)

    def total(learned, logits, weight):
        f = lambda x: weight * coupled_bits_cost(LOGITS[2], x)
        run = lt.RELAX(surrogate, learned[2:], learned[0], learned[1])
        return lt.expect(
            jax.random.key(0), f, lt.Bernoulli(logits), estimator=run, num_samples=4, has_aux=True
        )[1].adaptive_loss

    learned = jnp.concatenate([jnp.array([0.6, 0.8]), W])
    slope, *others = jax.jit(jax.grad(total, (0, 1, 2)))(learned, logits, 1.0)
    jitted = jax.jit(total)
    for i, step in enumerate(np.eye(5) * 1e-5):
        numeric = (jitted(learned + step, logits, 1.0) - jitted(learned - step, logits, 1.0)) / 2e-5
        np.testing.assert_allclose(slope[i], numeric, rtol=1e-6, atol=1e-8)
    assert all(np.all(np.asarray(o) == 0) for o in others)


def test_training_the_surrogate_lowers_the_variance():
    """The toy of the papers: t = .45, a surrogate that can learn the constant that REBAR's cannot."""
    f = lambda x: (x - 0.45) ** 2

    def loss(w, key):
        estimator = lt.RELAX(surrogate, w)
        return lt.expect(
            key, f, lt.Bernoulli(0.0), estimator=estimator, num_samples=32, has_aux=True
        )[1].adaptive_loss

    def step(w, key):
        value, slope = jax.value_and_grad(loss)(w, key)
        return w - 0.5 * slope, value

    _, history = jax.jit(
        lambda: jax.lax.scan(step, jnp.zeros(3), jax.random.split(jax.random.key(0), 500))
    )()
    assert history[0] > 10 * history[-20:].mean()


def test_f_may_be_a_step_function():
    """No derivative of f: it could be a black box."""
    f = lambda x: jax.lax.stop_gradient(jnp.where(jnp.sum(x) > 1.5, 1.0, 0.0))
    value = lambda l: lt.expect(
        jax.random.key(0),
        f,
        lt.Bernoulli(l),
        estimator=lt.RELAX(surrogate, W),
        num_samples=20_000,
        has_aux=True,
    )[0]
    np.testing.assert_allclose(jax.grad(value)(jnp.zeros(2)), 0.125, atol=0.02)


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (
            lambda: lt.RELAX(3.0, W),
            TypeError,
            r"RELAX\(fn=…\) needs a function fn\(params, y\); got float",
        ),
        (
            lambda: lt.RELAX(surrogate, W, -1.0),
            ValueError,
            r"RELAX\(temperature=…\) needs a positive finite number; got -1.0",
        ),
    ],
)
def test_refuses_illegal_arguments(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_refuses_a_surrogate_that_is_no_scalar():
    with pytest.raises(
        ValueError, match=r"RELAX\(fn=…\) must return a scalar for one draw; got shape \(2,\)"
    ):
        lt.expect(
            jax.random.key(0),
            jnp.sum,
            lt.Bernoulli(jnp.zeros(2)),
            estimator=lt.RELAX(lambda w, y: y, W),
            has_aux=True,
        )


def test_learning_without_aux_is_refused():
    with pytest.raises(ValueError, match="learns, and without has_aux=True it never would"):
        lt.expect(jax.random.key(0), jnp.sum, lt.Bernoulli(0.0), estimator=lt.RELAX(surrogate, W))

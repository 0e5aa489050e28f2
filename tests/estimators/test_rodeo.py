import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, gradients, moments
from tests.estimators.test_double_cv import runs_noise


def heads(w, u):
    return jnp.tanh(w @ u)


W = np.array([[0.4, -0.7], [-0.2, 0.9]])


@pytest.mark.parametrize("size, runs", [(1, 2), (2, 3), (3, 2)])
def test_unbiased_over_all_draws(x64, size, runs):
    noise, weights = runs_noise(LOGITS[size], runs)
    estimator = lt.RODEO(heads, W)
    value, mean, variance = moments(
        estimator, bernoulli, coupled_bits_cost, LOGITS[size], noise, weights
    )
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-10)
    np.testing.assert_allclose(mean, want, atol=1e-11)
    if size > 1:  # it does something
        plain = moments(
            lt.ScoreFunction(), bernoulli, coupled_bits_cost, LOGITS[size], 1 - noise, weights
        )[2]
        assert np.all(np.abs(variance / plain - 1) > 1e-3)


def test_a_call_by_hand(x64):
    """The formula as the docstring prints it, brackets and all."""
    logits, u = LOGITS[3], np.random.default_rng(3).uniform(size=(3, 3))
    cost = lambda x: coupled_bits_cost(LOGITS[3], x)
    p = 1 / (1 + np.exp(-logits))
    x = (u > 1 - p).astype(float)
    f, slope = np.array([cost(b) for b in x]), np.array([jax.grad(cost)(b) for b in x])

    def features(k, y):
        rest = [j for j in range(3) if j != k]
        return np.array([f[rest].mean(), np.mean([f[j] + slope[j] @ (y - x[j]) for j in rest])])

    def stein(k, h):
        flip = np.where(x[k] == 1, 1 - p, p)
        flipped = [np.where(np.arange(3) == d, 1 - x[k], x[k]) for d in range(3)]
        return sum(flip[d] * (h(flipped[d]) - h(x[k])) for d in range(3)) / 3

    head = lambda k, y: np.tanh(W @ features(k, y))
    vector = [stein(k, lambda y: head(k, y)[0] * (y - p)) for k in range(3)]
    scalar = [stein(k, lambda y: head(k, y)[1]) for k in range(3)]
    want = (
        sum(
            (f[k] - np.mean([f[j] + scalar[j] for j in range(3) if j != k])) * (x[k] - p)
            + vector[k]
            for k in range(3)
        )
        / 3
    )
    _, grads = gradients(lt.RODEO(heads, W), bernoulli, lambda _, x: cost(x), logits, u[None])
    np.testing.assert_allclose(grads[0], want, rtol=1e-9)


def test_the_adaptive_loss_is_the_squared_gradient(x64):
    logits, noise = LOGITS[2], np.random.default_rng(0).uniform(size=(20, 3, 2))
    cost = lambda params, x: coupled_bits_cost(LOGITS[2], x)
    (_, aux), grads = gradients(lt.RODEO(heads, W), bernoulli, cost, logits, noise, has_aux=True)
    np.testing.assert_allclose(aux.losses.mean(1), np.sum(grads**2, 1), rtol=1e-9)

    def total(w, logits, weight):
        f = lambda x: weight * coupled_bits_cost(LOGITS[2], x)
        run = lt.RODEO(heads, w)
        return lt.expect(
            jax.random.key(0), f, lt.Bernoulli(logits), estimator=run, num_samples=4, has_aux=True
        )[1].adaptive_loss

    slope, *others = jax.jit(jax.grad(total, (0, 1, 2)))(jnp.asarray(W), logits, 1.0)
    jitted = jax.jit(total)
    for i in range(2):
        step = 1e-5 * np.outer(np.eye(2)[i], np.eye(2)[1 - i])
        numeric = (jitted(W + step, logits, 1.0) - jitted(W - step, logits, 1.0)) / 2e-5
        np.testing.assert_allclose(slope[i, 1 - i], numeric, rtol=1e-6)
    assert all(np.all(np.asarray(o) == 0) for o in others)


def test_refuses_heads_that_are_not_two():
    with pytest.raises(
        ValueError,
        match=r"RODEO\(fn=…\) must return two numbers, shape \(2,\); got \(\). Add an output",
    ):
        lt.expect(
            jax.random.key(0),
            jnp.sum,
            lt.Bernoulli(jnp.zeros(2)),
            estimator=lt.RODEO(lambda w, u: u[0], W),
            has_aux=True,
        )


def test_refuses_what_is_no_function():
    with pytest.raises(
        TypeError, match=r"RODEO\(fn=…\) needs a function fn\(params, u\); got ndarray"
    ):
        lt.RODEO(W, W)


def test_refuses_one_run_and_no_aux():
    with pytest.raises(
        ValueError, match=r"RODEO\(\) needs num_samples >= 2 \(in every chunk\); got 1"
    ):
        lt.expect(
            jax.random.key(0),
            jnp.sum,
            lt.Bernoulli(0.0),
            estimator=lt.RODEO(heads, W),
            num_samples=1,
            has_aux=True,
        )
    with pytest.raises(ValueError, match="learns, and without has_aux=True it never would"):
        lt.expect(jax.random.key(0), jnp.sum, lt.Bernoulli(0.0), estimator=lt.RODEO(heads, W))

"""lt.plate(stand_in=…): VIMCO for three draws of two coins, exact by enumeration, and draw by draw by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import logsumexp, sigmoid

import logtrick as lt
from tests.programs.exact import all_runs, estimate, expected, up_to

K = 3
THETA = (0.3, -0.6)
NONE, OUT = lt.ScoreFunction(lt.NoBaseline()), lt.ScoreFunction()
OUTCOMES = np.array(list(itertools.product([0.0, 1.0], repeat=2 * K))).reshape(-1, K, 2)
UNIFORMS = np.where(OUTCOMES > 0, -1.0, 2.0)


def log_q(t, x):
    return jnp.sum(x * jax.nn.log_sigmoid(t) + (1 - x) * jax.nn.log_sigmoid(-t))


def log_weight(t, x):
    """log p(x) − log q(x): the model is no product."""
    return 0.7 * x[0] - 1.1 * x[1] + 1.6 * x[0] * x[1] - log_q(t, x)


def bound(log_weights):
    return logsumexp(log_weights) - np.log(K)


def geometric(others):
    assert others.shape == (K - 1,)
    return jnp.mean(others)


def program(t, stand_in=geometric, estimator=NONE):
    def draw(_):
        x = yield lt.sample(lt.Bernoulli(t), estimator, name="x")
        return log_weight(t, x)

    log_weights = yield lt.plate(draw, length=K, name="draws", stand_in=stand_in)
    yield lt.cost(bound(log_weights), name="bound")


def exact(t):
    def one(xs):
        probability = jnp.exp(jnp.sum(jax.vmap(lambda x: log_q(t, x))(xs)))
        return probability * bound(jax.vmap(lambda x: log_weight(t, x))(xs))

    return jnp.sum(jax.vmap(one)(jnp.asarray(OUTCOMES)))


def probabilities():
    p = np.asarray(sigmoid(np.array(THETA)))
    return np.prod(np.where(OUTCOMES > 0, p, 1 - p), axis=(1, 2))


def of_noise(t, u, **how):
    return estimate(lambda: program(t, **how), [[[], [u]]], u.shape[0])


def agree(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-10), got, want)


def test_value_gradient_and_hessian_are_exact(x64):
    u, weights = all_runs(UNIFORMS, probabilities(), 1)
    theta = jnp.array(THETA)
    got = expected(lambda u: up_to(2, lambda t: of_noise(t, u))(theta), u, weights)
    agree(got, jax.jit(up_to(2, exact))(theta))


def test_every_outcome_agrees_with_the_formula_of_the_paper(x64):
    """Σᵢ (φ − φ₋ᵢ) ∇log q(xᵢ) + ∇φ: the formula of the paper."""
    theta = jnp.array(THETA)

    def by_hand(xs):
        def surrogate(t):
            log_weights = jnp.stack([log_weight(t, x) for x in xs])
            held = jax.lax.stop_gradient(log_weights)
            total = bound(log_weights)
            for i in range(K):
                others = jnp.delete(held, i)
                without = bound(held.at[i].set(jnp.mean(others)))
                total = total + (bound(held) - without) * log_q(t, xs[i])
            return total

        return jax.grad(surrogate)(theta)

    def ours(u):
        return jax.grad(of_noise)(theta, u[None])

    agree(jax.jit(jax.vmap(ours))(UNIFORMS), jax.jit(jax.vmap(by_hand))(jnp.asarray(OUTCOMES)))
    written = jax.jit(jax.vmap(lambda u: jax.grad(of_noise)(theta, u[None], estimator=Surrogate())))
    agree(written(UNIFORMS), jax.jit(jax.vmap(ours))(UNIFORMS))


class Surrogate(lt.Estimator):
    """REINFORCE as a user writes it."""

    max_order = 1

    def draw(self, noise, dist):
        return lt.Points(dist.draw(noise), dist)

    def close(self, costs, points, runs):
        log_prob, stop = points.dist.log_prob(points.x), jax.lax.stop_gradient
        return costs.plus(stop(costs.total) * (log_prob - stop(log_prob)))


def test_a_stand_in_halves_the_variance(x64):
    theta, weights = jnp.array(THETA), probabilities()
    variance = {}
    for name, stand_in in (("none", None), ("geometric", geometric)):
        run = lambda u, s=stand_in: jax.grad(of_noise)(theta, u[None], stand_in=s)
        grads = np.asarray(jax.jit(jax.vmap(run))(UNIFORMS))
        variance[name] = float(np.sum(weights @ (grads - weights @ grads) ** 2))
    assert variance["geometric"] < 0.5 * variance["none"], variance


def test_what_is_reported():
    how = {"num_samples": 4, "has_aux": True}
    run = jax.jit(lambda t: lt.expect_program(jax.random.key(0), program, t, **how))
    value, aux = run(jnp.array(THETA))
    assert aux.draws["draws.x"].shape == (4, K, 2)
    want = jax.vmap(lambda xs: bound(jax.vmap(lambda x: log_weight(jnp.array(THETA), x))(xs)))
    np.testing.assert_allclose(aux.costs["bound"], want(aux.draws["draws.x"]), rtol=1e-5)
    np.testing.assert_allclose(value, jnp.mean(aux.costs["bound"]), rtol=1e-6)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"lt.plate\(stand_in=…\) needs at least 2 elements"):
        lt.plate(lambda x: x, length=1, stand_in=geometric)

    run = lambda stand_in: lt.expect_program(
        jax.random.key(0), program, jnp.array(THETA), stand_in, num_samples=2
    )
    for stand_in, got in (
        (lambda ys: ys, r"float32\[2\]"),
        (lambda ys: (ys[0],), r"\('float32\[\]',\)"),
    ):
        with pytest.raises(ValueError, match=rf"one element returns, float32\[\]; got {got}"):
            run(stand_in)

    def of_whole_numbers():
        def flip(_):
            return (yield lt.sample(lt.Categorical(jnp.zeros(3)), NONE))

        ys = yield lt.plate(flip, length=K, stand_in=lambda ys: jnp.mean(ys))
        yield lt.cost(jnp.sum(ys))

    with pytest.raises(ValueError, match=r"one element returns, int32\[\]; got float32\[\]"):
        lt.expect_program(jax.random.key(0), of_whole_numbers, num_samples=2)

    def in_a_loop():
        def step(carry, _):
            yield from program(jnp.array(THETA))
            return carry, None

        yield lt.scan(step, 0.0, length=2)

    with pytest.raises(ValueError, match=r"lt.scan: lt.plate\(stand_in=…\) evaluates the rest"):
        lt.expect_program(jax.random.key(0), in_a_loop, num_samples=2)

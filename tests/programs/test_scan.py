"""lt.scan is exact: every pair of trajectories of a small decision process, orders 0 to 3."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.nn import sigmoid

import logtrick as lt
from tests.programs.exact import ORDERS, all_runs, estimate

T, GAMMA = 3, 0.9
THETA = (0.3, -0.5, 0.7)


def action(theta, s):
    return theta[0] + theta[1] * s


def transition(theta, s, a):
    return theta[2] * (2 * a - 1) + 0.3 * s


def cost(theta, s, a, t):
    return GAMMA**t * ((1.0 + t) * (s - 0.4 * a) ** 2 + 0.1 * theta[0] * a)


def final(theta, s):
    return 2.0 * s + theta[1] * s


def process(theta, baseline=None, late=False):
    """Two sites and one cost a step; the cost comes before the transition, or after it."""
    baseline = lt.LeaveOneOut() if baseline is None else baseline

    def step(carry, _):
        s, t = carry
        a = yield lt.sample(lt.Bernoulli(action(theta, s)), lt.ScoreFunction(baseline))
        if not late:
            yield lt.cost(cost(theta, s, a, t))
        n = yield lt.sample(lt.Bernoulli(transition(theta, s, a)), lt.ScoreFunction(baseline))
        if late:
            yield lt.cost(cost(theta, s, a, t))
        return (n, t + 1), None

    (s, _), _ = yield lt.scan(step, (jnp.zeros(()), 0.0), length=T)
    yield lt.cost(final(theta, s))


def exact(theta):
    def value(s, t):
        if t == T:
            return final(theta, s)
        total, p = 0.0, sigmoid(action(theta, s))
        for a in (0.0, 1.0):
            q = sigmoid(transition(theta, s, a))
            rest = sum((q if n else 1 - q) * value(n, t + 1) for n in (0.0, 1.0))
            total += (p if a else 1 - p) * (cost(theta, s, a, t) + rest)
        return total

    return value(0.0, 0)


def probability(path):
    s, weight = 0.0, 1.0
    for a, n in path.reshape(T, 2):
        p, q = float(sigmoid(action(THETA, s))), float(sigmoid(transition(THETA, s, a)))
        weight, s = weight * (p if a else 1 - p) * (q if n else 1 - q), n
    return weight


def trajectories():
    """The uniforms and probabilities of every pair of trajectories: (4096, runs, T, sites)."""
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=2 * T)))
    uniforms = np.where(paths > 0, -1.0, 2.0).reshape(-1, T, 2)  # below or above any probability
    noises, weights = all_runs(uniforms, [probability(p) for p in paths], 2)
    return jnp.asarray(noises), jnp.asarray(weights)


def moments(order, theta, **how):
    noises, weights = trajectories()

    def one(u):
        value = lambda t: estimate(lambda: process(t, **how), [[u[..., 0], u[..., 1]]], 2)
        return ORDERS[order](value)(theta)

    values = jax.jit(jax.vmap(one))(noises)
    mean = jnp.tensordot(weights, values, 1)
    return mean, jnp.tensordot(weights, (values - mean[None]) ** 2, 1).sum()


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_exact_leave_one_out(x64, order):
    theta = jnp.array(THETA)
    mean, variance = moments(order, theta)
    np.testing.assert_allclose(mean, ORDERS[order](exact)(theta), rtol=0, atol=1e-10)
    if order == 2:  # the boxes of the earlier sites on the baselines; without them it is twice that
        assert variance < 5.5


@pytest.mark.parametrize("how", [{"baseline": lt.NoBaseline()}, {"late": True}, {"baseline": lt.ConstantBaseline(1.3)}])
def test_exact_variants(x64, how):
    theta = jnp.array(THETA)
    for order in (1, 2):
        mean, _ = moments(order, theta, **how)
        np.testing.assert_allclose(mean, ORDERS[order](exact)(theta), rtol=0, atol=1e-10)

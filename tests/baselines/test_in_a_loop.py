"""Baselines inside lt.scan: every tuple of draws of two steps and two runs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import logtrick as lt
from tests.estimators.exact import cells
from tests.programs.exact import estimate

PARAMS = np.array([0.4, -0.9])
BASELINES = {
    "optimal": lt.OptimalBaseline(),
    "moving average": lt.MovingAverage(0.9, average=1.7, weight=0.4),
    "learned": lt.LearnedBaseline(lambda b: b, 0.8),
    "none": lt.NoBaseline(),
}


def program(params, estimator):
    def step(carry, x):
        bit = yield lt.sample(lt.Bernoulli(params[0] + carry * params[1]), estimator)
        yield lt.cost((carry + 1.0) * bit * x + params[1] * bit)
        return carry + bit, None

    yield lt.scan(step, 0.0, jnp.array([1.0, -2.0]))


def exact(params):
    total = 0.0
    for bits in itertools.product([0.0, 1.0], repeat=2):
        p, carry, cost = 1.0, 0.0, 0.0
        for bit, x in zip(bits, (1.0, -2.0)):
            q = jax.nn.sigmoid(params[0] + carry * params[1])
            p, cost = p * (q if bit else 1 - q), cost + (carry + 1.0) * bit * x + params[1] * bit
            carry += bit
        total += p * cost
    return total


@pytest.mark.parametrize("name", BASELINES)
def test_gradient(x64, name):
    u, w = cells(expit(PARAMS[0] + PARAMS[1] * np.arange(2)), 1)
    index = np.array(list(itertools.product(range(u.size), repeat=4)))
    noise, weights = u[index].reshape(-1, 2, 2), np.prod(w[index], axis=1)  # cases, runs, steps
    estimator = lt.ScoreFunction(BASELINES[name])
    one = lambda noise: jax.grad(lambda p: estimate(lambda: program(p, estimator), [[noise]], 2))(
        jnp.asarray(PARAMS, float)
    )
    gradients = jax.jit(jax.vmap(one))(jnp.asarray(noise))
    np.testing.assert_allclose(
        weights @ gradients, jax.grad(exact)(jnp.asarray(PARAMS, float)), atol=1e-10
    )


def test_statistics_advance_once_a_call():
    estimator = lt.ScoreFunction(lt.MovingAverage(0.5))
    _, aux = lt.expect_program(
        jax.random.key(0),
        program,
        jnp.asarray(PARAMS, float),
        estimator,
        num_samples=64,
        has_aux=True,
    )
    assert aux.estimator.baseline.weight == 0.5 and aux.estimator.baseline.average != 0


def test_an_expansion_needs_a_second_point_and_is_refused():
    with pytest.raises(
        ValueError,
        match="lt.scan: ScoreFunction differentiates the rest of the program",
    ):
        lt.expect_program(
            jax.random.key(0), program, jnp.asarray(PARAMS, float), lt.ScoreFunction(lt.MuProp())
        )
    with pytest.raises(
        ValueError, match="lt.scan: the noise of ScoreFunction depends from sample to sample"
    ):
        lt.expect_program(
            jax.random.key(0),
            program,
            jnp.asarray(PARAMS, float),
            lt.ScoreFunction(plan=lt.Antithetic()),
            num_samples=4,
        )

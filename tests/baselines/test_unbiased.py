"""Every baseline leaves value, gradient and (where it claims so) Hessian alone: all tuples of draws, enumerated."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.baselines.bits import bit_noise
from tests.estimators.exact import LOGITS, bernoulli, cells, coupled_bits_cost, exact, moments
from tests.programs.exact import estimate

BASELINES = {
    "moving average": lambda: lt.MovingAverage(0.9, average=1.7, weight=0.4),
    "learned": lambda: lt.LearnedBaseline(
        lambda w: jnp.sum(w["a"]) - w["b"] ** 2, {"a": jnp.ones(2), "b": 0.3}
    ),
    "optimal": lambda: lt.OptimalBaseline(),
    "control variate": lambda: lt.ControlVariate(
        lambda x: x[0] - 2.0 * x[1], lambda d: d.mean() @ jnp.array([1.0, -2.0])
    ),
    "delta 1": lambda: lt.DeltaMethod(1),
    "delta 2": lambda: lt.DeltaMethod(2),
    "MuProp": lambda: lt.MuProp(),
}


@pytest.mark.parametrize(
    ("name", "runs"), [*itertools.product(BASELINES, (2, 3)), ("control variate", 4)]
)
def test_value_and_gradient(x64, name, runs):
    baseline = BASELINES[name]()
    if runs < baseline.least_samples:
        pytest.skip("refused")
    params = jnp.asarray(LOGITS[2])
    value, gradient, _ = moments(
        lt.ScoreFunction(baseline), bernoulli, coupled_bits_cost, params, *bit_noise(params, runs)
    )
    want_value, want_gradient = exact(bernoulli, coupled_bits_cost, params)
    np.testing.assert_allclose(value, want_value, atol=1e-10)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-10)


def _hessian(baseline, params, runs):
    noise, weights = bit_noise(params, runs)

    def value(params, noise):
        def program():
            x = yield lt.sample(lt.Bernoulli(params), lt.ScoreFunction(baseline))
            yield lt.cost(coupled_bits_cost(params, x))

        return estimate(program, [noise], runs)

    hessians = jax.jit(jax.vmap(jax.hessian(value), (None, 0)))(params, noise)
    return np.tensordot(weights, hessians, 1)


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"optimal"}))
def test_hessian(x64, name):
    params = jnp.asarray(LOGITS[2])
    want = jax.hessian(lambda p: _enumerated(p))(params)
    np.testing.assert_allclose(_hessian(BASELINES[name](), params, 3), want, atol=1e-10)


def _enumerated(params):
    dist = lt.Bernoulli(params)
    points = dist.enumerate()
    return jnp.exp(jax.vmap(dist.log_prob)(points)) @ jax.vmap(
        lambda x: coupled_bits_cost(params, x)
    )(points)


def test_optimal_refuses_a_second_derivative():
    value = lambda p: lt.expect(
        jax.random.key(0),
        lambda x: x,
        lt.Bernoulli(p),
        estimator=lt.ScoreFunction(lt.OptimalBaseline()),
    )
    assert lt.ScoreFunction(lt.OptimalBaseline()).max_order == 1
    with pytest.raises(
        lt.DerivativeOrderError, match=r"ScoreFunction\(OptimalBaseline\(\)\) is right for first"
    ):
        jax.hessian(value)(0.3)


CHAIN = {
    "optimal": lambda: lt.OptimalBaseline(),
    "control variate": lambda: lt.ControlVariate(lambda x: 3.0 * x, lambda d: 3.0 * d.mean()),
    "MuProp": lambda: lt.MuProp(),
}


@pytest.mark.parametrize("name", CHAIN)
@pytest.mark.parametrize("first", ["same", "enumerated"])
def test_sites_in_a_row(x64, name, first):
    """Both sites of a chain a → b, and b inside an outer estimator's points: the gradient in every parameter."""
    params = jnp.array([0.4, -0.8, 1.1])
    inner = lt.ScoreFunction(CHAIN[name]())
    outer = inner if first == "same" else lt.Enumerate()
    runs = 3 if name == "control variate" else 2

    def program(params, outer, inner):
        a = yield lt.sample(lt.Bernoulli(params[0]), outer)
        b = yield lt.sample(lt.Bernoulli(params[1] + 2.0 * a * params[2]), inner)
        yield lt.cost((a - 0.3) * (b + 0.7) ** 2 + params[2] * b)

    def enumerated(params):
        return lt.expect_program(
            jax.random.key(0), program, params, lt.Enumerate(), lt.Enumerate(), num_samples=1
        )

    # b's threshold depends on a: cells between all of its thresholds
    q = jax.nn.sigmoid(params[1] + 2.0 * params[2] * jnp.array([0.0, 1.0]))
    nodes_b, weights_b = cells(np.asarray(q), 1)
    nodes_a, weights_a = cells(np.asarray(jax.nn.sigmoid(params[0])), 1)
    pairs = list(itertools.product(range(len(nodes_a)), range(len(nodes_b))))
    cases = list(itertools.product(pairs, repeat=runs))
    noise_a = np.array([[nodes_a[i] for i, _ in case] for case in cases])
    noise_b = np.array([[nodes_b[j] for _, j in case] for case in cases])
    weights = np.array([np.prod([weights_a[i] * weights_b[j] for i, j in case]) for case in cases])
    noises = [noise_a if first == "same" else None, noise_b]

    def gradient(a, b):
        return jax.value_and_grad(
            lambda p: estimate(lambda: program(p, outer, inner), [a, b], runs)
        )(params)

    axes = (0 if first == "same" else None, 0)
    values, gradients = jax.jit(jax.vmap(gradient, axes))(*noises)
    want_value, want = jax.value_and_grad(enumerated)(params)
    np.testing.assert_allclose(weights @ values, want_value, atol=1e-10)
    np.testing.assert_allclose(weights @ gradients, want, atol=1e-10)

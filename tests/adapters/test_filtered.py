"""Filtered optimization: other libraries' parameter containers through lt.minimize, in ten lines each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.adapters.conftest import require

KEY, INPUT = jax.random.key(0), jnp.array([0.5, -1.0])
TARGET = jnp.array([1.0, 0.0, 1.0])


def loss_of(key, logits):
    """E |bits − TARGET|²: least where every bit is certain."""
    return lt.expect(key, lambda x: jnp.sum((x - TARGET) ** 2), lt.Bernoulli(logits), num_samples=8)


def fitted(objective, params):
    fit = lt.minimize(KEY, objective, params, optax.adam(0.1), num_steps=150)
    assert jax.tree.structure(fit.params) == jax.tree.structure(params)
    return fit.params


def learned(logits):
    np.testing.assert_array_equal(logits > 0, TARGET == 1)
    assert float(jnp.sum((jax.nn.sigmoid(logits) - TARGET) ** 2)) < 0.05


def test_plain_pytrees():
    params = {"w": jnp.zeros((2, 3)), "b": [jnp.zeros(3)]}
    logits = lambda params: INPUT @ params["w"] + params["b"][0]
    learned(logits(fitted(lambda params, key: loss_of(key, logits(params)), params)))


def test_equinox_modules():
    require("equinox")
    import equinox as eqx

    model = eqx.nn.MLP(2, 3, 4, 1, activation=jax.nn.tanh, key=KEY)
    params, static = eqx.partition(model, eqx.is_inexact_array)
    objective = lambda params, key: loss_of(key, eqx.combine(params, static)(INPUT))
    learned(eqx.combine(fitted(objective, params), static)(INPUT))
    with pytest.raises(
        TypeError, match="partition"
    ):  # a whole module has an activation function among its leaves
        lt.minimize(
            KEY, lambda model, key: loss_of(key, model(INPUT)), model, optax.sgd(0.1), num_steps=1
        )


def test_flax_nnx_states():
    require("flax")
    from flax import nnx

    graph, params, rest = nnx.split(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Param, ...)
    objective = lambda params, key: loss_of(key, nnx.merge(graph, params, rest)(INPUT))
    learned(nnx.merge(graph, fitted(objective, params), rest)(INPUT))


def test_haiku_params():
    require("haiku")
    import haiku as hk

    net = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(3)(jnp.tanh(hk.Linear(4)(x)))))
    objective = lambda params, key: loss_of(key, net.apply(params, INPUT))
    learned(net.apply(fitted(objective, net.init(KEY, INPUT)), INPUT))


def test_a_flow_of_flowjax():
    require("flowjax", "equinox")
    import equinox as eqx
    from flowjax.distributions import Normal

    params, static = eqx.partition(Normal(jnp.zeros(2)), eqx.is_inexact_array)

    def objective(params, key):
        flow = lt.adapters.from_flowjax(eqx.combine(params, static))
        return lt.expect(
            key, lambda x: jnp.sum((x - 2.0) ** 2), flow, estimator=lt.Pathwise(), num_samples=8
        )

    np.testing.assert_allclose(
        eqx.combine(fitted(objective, params), static).loc, [2.0, 2.0], atol=0.3
    )

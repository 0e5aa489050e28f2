"""Objectives with a gradient of their own, and in forward mode: the same gradients, loops that reverse mode refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt

KEY = jax.random.key(0)
SGD = optax.sgd(0.25)


def halvings(x):
    return jax.lax.while_loop(lambda x: jnp.abs(x) > 1.0, lambda x: 0.5 * x, x)


def test_the_gradients_are_those_of_reverse_mode():
    """Of the value and of the adaptive losses; an integer leaf is left alone."""
    surrogate = lambda w, y: w * jnp.sum(y**2)

    def objective(params, key):
        estimator = lt.RELAX(surrogate, params["w"])
        f = lambda x: (jnp.sum(x) - 0.4) ** 2
        return lt.expect(
            key, f, lt.Bernoulli(params["t"]), estimator=estimator, num_samples=4, has_aux=True
        )

    def loss(objective):
        def total(floats):
            value, aux = objective(floats | {"n": 3}, KEY)
            return value + 0.5 * aux.adaptive_loss

        return jax.jit(jax.grad(total))

    params = {"t": jnp.array([0.3, -0.2]), "w": jnp.array(0.1)}
    got, want = loss(lt.training.forward_mode(objective))(params), loss(objective)(params)
    assert abs(want["w"]) > 1e-4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), got, want)


def test_a_loop_whose_length_depends_on_the_draw_is_differentiated_forward():
    def objective(params, key, scale):
        f = lambda x: (halvings(x) - 0.75) ** 2 * scale
        dist = lt.Normal(params["mu"], 0.01)
        return lt.expect(key, f, dist, estimator=lt.Pathwise(), num_samples=16)

    how = {"num_steps": 40, "data": jnp.ones(()).reshape(1), "batch_size": 1}
    start, sgd = {"mu": jnp.array(1.8)}, optax.sgd(0.5)
    forward = lt.training.forward_mode(lambda p, k, batch: objective(p, k, batch[0]))
    fit = lt.minimize(KEY, forward, start, sgd, **how)
    assert fit.params["mu"] == pytest.approx(1.5, abs=0.02)
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        lt.minimize(KEY, lambda p, k, b: objective(p, k, b[0]), start, sgd, **how)


def test_an_objective_that_is_no_scalar_is_refused():
    with pytest.raises(ValueError, match="forward_mode: the objective"):
        lt.training.forward_mode(lambda p, k: p * jnp.ones(2))(1.0, KEY)


def cubes(target):
    return lt.training.with_gradient(lambda p, key: ((p - target) ** 3, 3 * (p - target) ** 2))


def forward_cubes(target):
    return lt.training.forward_mode(lambda p, key: (p - target) ** 3)


@pytest.mark.parametrize("objective", [cubes, forward_cubes])
def test_other_derivatives_are_right_or_refused(objective):
    """With respect to what the objective closes over: right. The second one: refused, since it would be 0."""
    value = lambda p, target: objective(target)(p, KEY)
    assert jax.grad(value, (0, 1))(1.0, 3.0) == (12.0, -12.0)
    slope = lambda p, target: jax.grad(value)(p, target)
    for second in (jax.jacfwd(slope), jax.jacrev(slope)):
        with pytest.raises(lt.DerivativeOrderError, match="right for first derivatives only"):
            second(1.0, 3.0)
    fit = lambda target: lt.minimize(KEY, objective(target), 1.0, SGD, num_steps=2).params
    with pytest.raises(lt.DerivativeOrderError):
        jax.jacfwd(fit)(3.0)
    np.testing.assert_allclose(jax.jacfwd(slope, 1)(1.0, 3.0), 12.0)


def test_with_gradient_is_the_function_that_computes_it():
    def by_hand(p, key):
        return ((p - 3.0) ** 2, {"p": p}), 2 * (p - 3.0)

    fit = lt.minimize(KEY, lt.training.with_gradient(by_hand), 0.0, SGD, num_steps=3)
    assert fit.history.value.tolist() == [9.0, 2.25, 0.5625]
    assert fit.history.metrics["p"].tolist() == [0.0, 1.5, 2.25]
    with pytest.raises(ValueError, match="must be like the parameters"):
        lt.minimize(
            KEY, lt.training.with_gradient(lambda p, key: (p, jnp.ones(2))), 0.0, SGD, num_steps=1
        )

"""Log-sigmoid and softplus: JAX's values, and derivatives of every order at every point."""

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.smooth import at_least, at_most, log_sigmoid, softplus

POINTS = np.array([-1e3, -90.0, -20.0, -1.0, 0.0, 1.0, 20.0, 90.0, 1e3], np.float32)


def test_values_are_jaxs():
    for ours, theirs in ((log_sigmoid, jax.nn.log_sigmoid), (softplus, jax.nn.softplus)):
        np.testing.assert_allclose(ours(POINTS), theirs(POINTS), rtol=1e-6)
    assert log_sigmoid(jnp.array(-jnp.inf)) == -jnp.inf
    assert log_sigmoid(jnp.array(jnp.inf)) == 0.0


def test_derivatives_to_order_three():
    p = jax.nn.sigmoid(POINTS)
    exact = (1 - p, -p * (1 - p), -p * (1 - p) * (1 - 2 * p))
    f = log_sigmoid
    for want in exact:
        f = jax.grad(f)
        np.testing.assert_allclose(jax.vmap(f)(POINTS), want, rtol=1e-5, atol=1e-7)


def test_no_rule_that_could_be_lost():
    assert "custom_jvp" not in str(jax.make_jaxpr(log_sigmoid)(0.0))


def test_bounds_keep_nan_and_what_is_inside():
    x = jnp.array([-jnp.inf, -3.0, 0.5, 2.0, jnp.inf, jnp.nan])
    np.testing.assert_array_equal(at_most(x, 1.0), jnp.minimum(x, 1.0))
    np.testing.assert_array_equal(at_least(x, -1.0), jnp.maximum(x, -1.0))
    for bounded, inside in ((lambda x: at_most(x, 1.0), x <= 1), (lambda x: at_least(x, -1.0), x >= -1)):  # fmt: skip
        slopes = jax.vmap(jax.grad(bounded))(x)
        np.testing.assert_array_equal(slopes[:-1], jnp.where(inside, 1.0, 0.0)[:-1])

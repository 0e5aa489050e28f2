"""Foreign draws that round to an end of their support: a right score, or nan, and no other number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt


def gradients(make, params):
    f = lambda x: jnp.sum((x - 0.3) ** 2)

    def value(p, key):
        return lt.expect(key, f, make(p), num_samples=64)

    keys = jax.random.split(jax.random.key(0), 400)
    return np.asarray(jax.jit(jax.vmap(jax.grad(value), (None, 0)))(params, keys))


@pytest.mark.parametrize("library", ["numpyro.distributions", "distrax"])
def test_small_concentrations(library: str) -> None:
    """Half of the draws round to 0 or 1; today's libraries score them as the number next to it."""
    foreign = pytest.importorskip(library)
    adapt = lt.adapters.from_distrax if library == "distrax" else lt.adapters.from_numpyro

    def exact(p):  # E(x − 0.3)² of a beta
        a, b = jnp.exp(p)
        mean = a / (a + b)
        return mean * (a + 1) / (a + b + 1) - 0.6 * mean + 0.09

    params = jnp.array([-3.5, -3.2])
    drawn = gradients(lambda p: adapt(foreign.Beta(*jnp.exp(p))), params)
    lt.testing.assert_unbiased(drawn, np.asarray(jax.grad(exact)(params)), resolve=0.1)


def test_what_is_moved_inside_has_no_score() -> None:
    nd = pytest.importorskip("numpyro.distributions")
    make = lambda p: lt.adapters.from_numpyro(nd.Kumaraswamy(*jnp.exp(p)))
    assert np.isnan(gradients(make, jnp.array([-3.0, -3.0]))).all()
    assert np.isfinite(gradients(make, jnp.array([0.5, 0.5]))).all()

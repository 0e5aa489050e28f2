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


@pytest.mark.parametrize("library", ["numpyro.distributions", "distrax"])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("Beta", (0.5, 2.0)), ("Gamma", (0.5, 2.0)), ("Dirichlet", (np.array([0.5, 1.0, 2.0]),))],
)
def test_families_of_ours_have_the_law_of_the_foreign_ones(library, name, parameters) -> None:
    """The same log-prob; the same numbers from one key too, but for NumPyro's Beta, which takes them from a Dirichlet."""
    foreign = getattr(pytest.importorskip(library), name)(*map(jnp.asarray, parameters))
    numpyro, key = library.startswith("numpyro"), jax.random.key(3)
    adapt = lt.adapters.from_numpyro if numpyro else lt.adapters.from_distrax
    ours = adapt(foreign)
    draw = foreign.sample(key) if numpyro else foreign.sample(seed=key)
    assert isinstance(ours, getattr(lt, name))
    np.testing.assert_allclose(ours.log_prob(draw), foreign.log_prob(draw), rtol=1e-5)
    if (library, name) != ("numpyro.distributions", "Beta"):
        np.testing.assert_allclose(ours.sample(key), draw, rtol=1e-6)

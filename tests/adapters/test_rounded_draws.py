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


def test_wrapped_families_are_ours_too() -> None:
    """Of the same log-prob: broadcast, of an event, in a mixture of one family, by another name."""
    nd = pytest.importorskip("numpyro.distributions")
    a, b = jnp.array([0.5, 2.0]), jnp.array([1.5, 0.7])
    weights = nd.Categorical(logits=jnp.array([0.3, -0.2]))
    cases = [
        (nd.Beta(0.5, 2.0).expand((2,)).to_event(1), lt.Beta),
        (nd.MixtureSameFamily(weights, nd.Beta(a, b)), lt.Mixture),
        (nd.MixtureSameFamily(weights, nd.Dirichlet(jnp.ones((2, 3)) * a[:, None])), lt.Mixture),
        (nd.Chi2(1.3), lt.Gamma),
    ]
    for foreign, family in cases:
        ours = lt.adapters.from_numpyro(foreign)
        draw = foreign.sample(jax.random.key(1))
        assert isinstance(ours, family)
        np.testing.assert_allclose(ours.log_prob(draw), foreign.log_prob(draw), rtol=2e-5)


def test_families_of_tfp_are_ours() -> None:
    pytest.importorskip("tensorflow_probability")
    import tensorflow_probability.substrates.jax as tfp

    tfd, a, b = tfp.distributions, jnp.array([0.5, 2.0]), jnp.array([1.5, 0.7])
    weights = tfd.Categorical(logits=jnp.array([0.3, -0.2]))
    cases = [
        (tfd.Beta(0.5, 2.0), lt.Beta),
        (tfd.Independent(tfd.Gamma(a, b), 1), lt.Gamma),
        (tfd.Sample(tfd.Beta(0.5, 2.0), 3), lt.Beta),
        (tfd.MixtureSameFamily(weights, tfd.Gamma(a, b)), lt.Mixture),
        (tfd.Chi2(1.3), lt.Gamma),
        (tfd.Dirichlet(jnp.array([0.5, 1.0, 2.0])), lt.Dirichlet),
    ]
    for foreign, family in cases:
        ours = lt.adapters.from_tfp(foreign)
        draw = ours.sample(jax.random.key(1))
        assert isinstance(ours, family)
        np.testing.assert_allclose(ours.log_prob(draw), foreign.log_prob(draw), rtol=2e-5)
    # a sample of a batch, whose dimensions come in another order
    assert not isinstance(
        lt.adapters.from_tfp(tfd.Sample(tfd.Beta(a, b), 3), event_ndims=2), lt.Beta
    )


def test_a_users_class_of_the_same_name_is_not_ours() -> None:
    """Its law may be another: this one is of 1 − x."""
    nd = pytest.importorskip("numpyro.distributions")

    class Beta(nd.Distribution):
        concentration1, concentration0 = 0.5, 2.0
        support = nd.constraints.unit_interval

        def sample(self, key, sample_shape=()):
            return 1 - nd.Beta(self.concentration1, self.concentration0).sample(key)

        def log_prob(self, x):
            return nd.Beta(self.concentration1, self.concentration0).log_prob(1 - x)

    ours = lt.adapters.from_numpyro(Beta())
    assert not isinstance(ours, lt.Beta)
    np.testing.assert_allclose(ours.log_prob(0.25), Beta().log_prob(0.25), rtol=1e-6)


def test_a_squashed_foreign_policy_beside_a_normal() -> None:
    """Each component reads the coordinates of its own kind; the foreign one is impossible outside of its image."""
    distrax = pytest.importorskip("distrax")
    loc, weights = 8.0, jnp.log(jnp.array([0.7, 0.3]))

    def make(loc):
        policy = distrax.Transformed(distrax.Normal(loc, 4.0), distrax.Tanh())
        return lt.Mixture(weights, (lt.adapters.from_distrax(policy), lt.Normal(0.5, 1.0)))

    def one(key):
        draw = make(loc).draw(make(loc).noise(key))
        log_p, score = jax.value_and_grad(lambda loc: make(loc).log_prob(draw))(loc)
        return draw, log_p, score

    draws, log_p, scores = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 100))
    z, x = np.asarray(draws.coordinates, float), np.asarray(draws.value, float)
    beyond = np.isnan(z)
    z = np.where(beyond, 0.0, z)
    assert (x > 0.99999).any() and beyond.any()
    normal = lambda x, loc, scale: (
        -0.5 * ((x - loc) / scale) ** 2 - np.log(scale * (2 * np.pi) ** 0.5)
    )
    log_slope = 2 * (np.log(2) - z - np.logaddexp(0, -2 * z))
    policy = np.log(0.7) + normal(z, loc, 4.0) - log_slope
    beside = np.log(0.3) + normal(x, 0.5, 1.0)
    want = np.where(beyond, beside, np.logaddexp(policy, beside))
    share = np.where(beyond, 0.0, np.exp(policy - want) * (z - loc) / 16)
    np.testing.assert_allclose(log_p, want, rtol=2e-3)
    np.testing.assert_allclose(scores, share, rtol=2e-3, atol=1e-4)

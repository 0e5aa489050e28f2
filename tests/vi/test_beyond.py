"""Steps by hand, calibration, ArviZ, MCMC starts, predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick import vi
from logtrick.vi._calibrate import kolmogorov_p_value, kolmogorov_smirnov

KEY = jax.random.key(0)


def test_steps_are_pure():
    log_density = lambda z: -0.5 * jnp.sum((z - 2.0) ** 2)
    state = vi.init(vi.MeanFieldNormal(like=jnp.zeros(2)), optax.adam(0.1))

    def body(state, key):
        state, info = vi.step(key, state, log_density, num_samples=4)
        return state, info.elbo

    state, elbos = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(KEY, 200)))(state)
    np.testing.assert_allclose(state.q.mean(), 2.0, atol=0.05)
    assert elbos[-1] > elbos[0]
    assert isinstance(state.q, vi.MeanFieldNormal)


def test_parameters_of_the_model_get_their_gradient():
    """A decoder inside the log density: every estimator gives it the derivative of log p."""
    q = vi.MeanFieldNormal(like=0.0, scale=0.5)
    density = lambda w: lambda z: -0.5 * (z - w) ** 2
    for options in (
        {"estimator": vi.STL()},
        {"estimator": lt.ScoreFunction()},
        {"objective": vi.IWELBO(4), "estimator": vi.DReG()},
        {"objective": vi.IWELBO(4), "estimator": vi.VIMCO()},
    ):
        loss = lambda w: vi.loss(KEY, density(w), q, num_samples=20_000, **options)
        values, slopes = jax.jit(jax.vmap(jax.value_and_grad(loss)))(jnp.array([0.49, 0.5, 0.51]))
        np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / 0.02, rtol=0.02)


def linear():
    def simulate(key):
        a, b, c = (jax.random.fold_in(key, i) for i in range(3))
        z = {"x": jax.random.normal(a), "on": jax.random.bernoulli(b, 0.5).astype(float)}
        return z, z["x"] + 2 * z["on"] + jax.random.normal(c)

    def log_density(z, y):
        return -0.5 * z["x"] ** 2 - 0.5 * (y - z["x"] - 2 * z["on"]) ** 2

    return simulate, log_density


def test_calibration_with_a_discrete_latent():
    """A product is no exact posterior here, but the bit's ranks are uniform; a guide that never moves fails."""
    simulate, log_density = linear()
    q0 = vi.Blocks(
        x=vi.MeanFieldNormal(like=0.0), on=(vi.BernoulliProduct(like=0.0), lt.Enumerate())
    )
    found = vi.calibrate(
        KEY, simulate, log_density, q0, num_simulations=100, num_draws=99, max_steps=300
    )
    assert found.names == ("on", "x")
    assert found.ranks.shape == (100, 2)
    assert found.histogram(5).sum() == 200
    assert "KS" in str(found)
    assert found.symmetry_p_value.min() > 1e-3
    narrow = vi.Blocks(x=vi.MeanFieldNormal(like=0.0, scale=0.01), on=vi.BernoulliProduct(like=0.0))
    wrong = vi.calibrate(
        KEY,
        simulate,
        log_density,
        narrow,
        num_simulations=100,
        max_steps=1,
        optimizer=optax.sgd(0.0),
    )
    assert wrong.p_value[1] < 1e-3


def test_calibration_refuses_variables_of_other_shapes():
    simulate = lambda key: (jnp.zeros(()), jnp.zeros(()))
    q0 = vi.MeanFieldNormal(like=jnp.zeros(3))
    with pytest.raises(
        ValueError, match=r"needs variables like those of the guide, \(3,\); got \(\)"
    ):
        vi.calibrate(KEY, simulate, lambda z, x: -jnp.sum(z**2), q0, num_simulations=2, max_steps=2)


def test_kolmogorov_smirnov_has_its_known_values():
    assert kolmogorov_smirnov(np.array([0.5])) == 0.5
    assert kolmogorov_p_value(0.0, 100) == 1.0
    np.testing.assert_allclose(
        kolmogorov_p_value(0.136, 100), 0.045, atol=0.01
    )  # the 5 % point is .134


def test_arviz_gets_the_draws_and_their_log_weights_by_name():
    pytest.importorskip("arviz_base")
    q = vi.MeanFieldNormal(like={"mu": np.zeros(3), "tau": 1.0}, support={"tau": vi.positive})
    tree = vi.to_arviz(KEY, lambda z: -jnp.sum(z["mu"] ** 2) - z["tau"], q, num_draws=50)
    assert tree.posterior["mu"].shape == (50, 3)
    assert tree.posterior["mu"].dims[0] == "sample"
    stats = tree.sample_stats
    np.testing.assert_allclose(stats["log_weight"], stats["lp"] - stats["log_q"])


def test_mcmc_starts_at_draws_with_the_covariance_of_q():
    q = vi.FullRankNormal(like={"a": np.zeros(2), "b": 1.0}, support={"b": vi.positive}, scale=0.5)
    log_density = lambda z: -jnp.sum(z["a"] ** 2) - z["b"]
    start = vi.mcmc_start(KEY, log_density, q, num_chains=3)
    assert start.positions.shape == (3, 3)
    assert start.variables["b"].shape == (3,)
    np.testing.assert_allclose(start.inverse_mass_matrix, 0.25 * np.eye(3), atol=0.03)
    z = start.constrain(start.positions[0])
    np.testing.assert_allclose(
        start.log_density(start.positions[0]), log_density(z) + jnp.log(z["b"]), rtol=1e-5
    )


def test_predictions_do_not_depend_on_the_chunk():
    q = vi.MeanFieldNormal(like=2.0, scale=0.1)
    simulate = lambda key, z: z + jax.random.normal(key)
    a, b = (vi.predict(KEY, q, simulate, 200, chunk_size=c) for c in (7, 200))
    np.testing.assert_allclose(a, b, rtol=1e-6)
    np.testing.assert_allclose([a.mean(), a.std()], [2.0, 1.0], atol=0.2)

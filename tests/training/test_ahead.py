"""What hangs on the keys alone is worked out for a chunk at once: the same numbers, bounded, and never what has an effect."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick.training import _ahead
from logtrick.training._ahead import worked_ahead

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 5)
PLACE = jnp.array(0.3)


def step(key, x):
    noise = jax.random.normal(key, (3,))
    return jnp.sum(jnp.sin(noise) * x), jax.random.uniform(jax.random.fold_in(key, 1)) < 0.5


def test_the_noise_is_made_before_and_the_rest_after():
    prepared, resume = worked_ahead(step, KEYS, PLACE)
    kinds = [(leaf.shape, str(leaf.dtype)) for leaf in jax.tree.leaves(prepared)]
    assert kinds == [((5, 3), "float32"), ((5,), "bool")]  # sin(noise) and the coin: nothing else is kept
    first = [leaf[0] for leaf in jax.tree.leaves(prepared)]
    inside = jax.make_jaxpr(lambda row, x: resume(row, x))(first, PLACE)
    assert not {"random_bits", "erf_inv", "sin"} & {eqn.primitive.name for eqn in inside.jaxpr.eqns}
    for i, key in enumerate(KEYS):
        row = [leaf[i] for leaf in jax.tree.leaves(prepared)]
        for got, want in zip(resume(row, PLACE), step(key, PLACE)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("use", [lambda x: x, jnp.sum])
def test_what_is_large_stays_inside(use):
    """Kept or only passing: the sum of many draws is one number, but 128 steps of it would need all the draws."""
    for count, moved in ((2**13, True), (2**13 + 1, False)):
        draws = lambda key, x: x * use(jax.random.normal(jax.random.fold_in(key, 1), (count,)))
        prepared, resume = worked_ahead(draws, KEYS, PLACE)
        (leaf,) = jax.tree.leaves(prepared)
        assert jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) != moved
        row = [leaf[1]]
        np.testing.assert_allclose(resume(row, PLACE), draws(KEYS[1], PLACE), rtol=2e-5)


def test_of_many_draws_too_large_together_the_keys_are_prepared():
    def draws(key, x):
        return [x * jax.random.normal(jax.random.fold_in(key, i), (2**12,)) for i in range(3)]

    leaves = jax.tree.leaves(worked_ahead(draws, KEYS, PLACE)[0])
    assert [leaf.shape for leaf in leaves] == [(5,)] * 3


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators_draw_step_by_step(impl):
    """Their bits under vmap depend on the batch, here on the chunk."""

    def objective(p, key):
        return jnp.sum((p - jax.random.normal(key, (3,))) ** 2)

    fit = lambda chunk: lt.minimize(key, objective, jnp.zeros(3), optax.sgd(0.1), num_steps=8, chunk=chunk).params
    key, by_hand = jax.random.key(0, impl=impl), jnp.zeros(3)
    for t in range(8):
        by_hand -= 0.1 * jax.grad(objective)(by_hand, jax.random.fold_in(jax.random.fold_in(key, t), 1))
    for chunk in (3, 8):
        np.testing.assert_allclose(fit(chunk), by_hand, rtol=1e-5)


def test_what_has_an_effect_or_asks_the_host_is_done_in_its_step():
    def host(key, x):
        jax.debug.callback(lambda u: None, jax.random.uniform(key))
        drawn = jax.pure_callback(lambda u: u, jax.ShapeDtypeStruct((), jnp.float32), jax.random.uniform(key))
        return x * drawn

    prepared, resume = worked_ahead(host, KEYS, PLACE)
    row = [leaf[0] for leaf in jax.tree.leaves(prepared)]
    assert "pure_callback" in str(jax.make_jaxpr(resume)(row, PLACE))
    assert "debug_callback" in str(jax.make_jaxpr(resume)(row, PLACE))


@pytest.mark.parametrize("estimator", [lt.ScoreFunction(), lt.Pathwise()], ids=["score", "pathwise"])
def test_a_fit_is_the_same(estimator, monkeypatch):
    """To the bit whatever the chunk, blocks of more than one included; to rounding where every step draws its own."""

    def fit(chunk):
        def objective(p, key):
            return lt.expect(key, lambda x: jnp.sum(jnp.cos(x)), lt.Normal(p, 1.0), estimator=estimator, num_samples=8)

        return lt.minimize(KEY, objective, jnp.zeros(3), optax.adam(0.1), num_steps=300, chunk=chunk)

    ahead = fit(100)
    for chunk in (7, 128, 150, 300):
        other = fit(chunk)
        np.testing.assert_array_equal(ahead.params, other.params)
        np.testing.assert_array_equal(ahead.history.value, other.history.value)
        np.testing.assert_array_equal(ahead.history.gradient_norm, other.history.gradient_norm)
    monkeypatch.setattr(_ahead, "_MOST", 0)
    inside = fit(100)
    np.testing.assert_allclose(ahead.params, inside.params, rtol=1e-5)
    np.testing.assert_allclose(ahead.history.value, inside.history.value, rtol=1e-5, atol=1e-6)


def test_a_batch_of_rows_and_many_fits_at_once():
    data = jnp.arange(10.0)

    def objective(p, key, rows):
        noise = lt.expect(key, lambda x: (x - p) ** 2, lt.Normal(0.0, 1.0), num_samples=4)
        return noise + jnp.mean((rows - p) ** 2)

    fit = lambda key: lt.minimize(key, objective, 0.0, optax.sgd(0.1), num_steps=6, data=data, batch_size=3).params
    together = jax.vmap(fit)(KEYS[:2])
    np.testing.assert_allclose(together, [fit(key) for key in KEYS[:2]], rtol=2e-6)

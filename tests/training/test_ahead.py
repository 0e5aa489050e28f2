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
    assert kinds == [
        ((5, 3), "float32"),
        ((5,), "bool"),
    ]  # sin(noise) and the coin: nothing else is kept
    first = [leaf[0] for leaf in jax.tree.leaves(prepared)]
    inside = jax.make_jaxpr(lambda row, x: resume(row, x))(first, PLACE)
    assert not {"random_bits", "erf_inv", "sin"} & {eqn.primitive.name for eqn in inside.jaxpr.eqns}
    for i, key in enumerate(KEYS):
        row = [leaf[i] for leaf in jax.tree.leaves(prepared)]
        for got, want in zip(resume(row, PLACE), step(key, PLACE)):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("count, moved", [(2**10, True), (2**10 + 1, False)])
def test_of_large_noise_the_keys_are_prepared(count, moved):
    draws = lambda key, x: x * jax.random.normal(jax.random.fold_in(key, 1), (count,))
    prepared, resume = worked_ahead(draws, KEYS, PLACE)
    (leaf,) = jax.tree.leaves(prepared)
    assert leaf.shape == ((5, count) if moved else (5,))
    np.testing.assert_allclose(resume([leaf[1]], PLACE), draws(KEYS[1], PLACE), rtol=2e-5)


def test_of_many_draws_too_large_together_the_keys_are_prepared():
    draws = lambda key, x: [
        x * jax.random.normal(jax.random.fold_in(key, i), (2**9,)) for i in range(3)
    ]
    leaves = jax.tree.leaves(worked_ahead(draws, KEYS, PLACE)[0])
    assert [leaf.shape for leaf in leaves] == [(5,)] * 3


def test_what_other_constants_make_is_no_hindrance():
    draws = lambda key, x: (
        x * jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(key, i)))(jnp.arange(4))
    )
    (leaf,) = jax.tree.leaves(worked_ahead(draws, KEYS, PLACE)[0])
    assert (leaf.shape, str(leaf.dtype)) == ((5, 4), "float32")


def _by_hand(objective, key, start, steps):
    """Gradient descent at rate 0.1, a step at a time."""
    grad = jax.jit(jax.grad(objective))
    for t in range(steps):
        start = start - 0.1 * grad(start, jax.random.fold_in(jax.random.fold_in(key, t), 1))
    return start


def _host(u):
    return jax.pure_callback(lambda u: np.asarray(u), jax.ShapeDtypeStruct((), jnp.float32), u)


def _endless(n):
    return jax.lax.cond(
        n > 0,
        lambda n: n * 1.0,
        lambda n: jax.lax.while_loop(lambda c: c > 0, lambda c: c + 1, n + 1.0),
        n,
    )


def _own_generator(key):
    words = jax.random.key_data(key)
    return jax.random.uniform(
        jax.random.wrap_key_data(jnp.concatenate([words, words]), impl="unsafe_rbg")
    )


@pytest.mark.parametrize(
    "impl, draw",
    [
        ("rbg", jax.random.uniform),
        (
            "unsafe_rbg",
            jax.random.uniform,
        ),  # under vmap its bits depend on the batch, here on the chunk
        ("threefry2x32", _own_generator),
        ("threefry2x32", lambda key: _host(jax.random.uniform(key))),
        ("threefry2x32", lambda key: jax.jit(lambda key: _host(jax.random.uniform(key)))(key)),
        (
            "threefry2x32",
            lambda key: _endless(jax.random.randint(key, (), 1, 5)),
        ),  # as a choice it would never end
        ("threefry2x32", lambda key: jax.random.gamma(key, 2.0)),
    ],
    ids=[
        "rbg",
        "unsafe_rbg",
        "own generator",
        "host",
        "host in jit",
        "endless branch",
        "rejection",
    ],
)
def test_what_is_no_work_entry_by_entry_is_done_in_its_step(impl, draw):
    objective = lambda p, key: p**2 + p * draw(key)
    key = jax.random.key(0, impl=impl)
    want = _by_hand(objective, key, jnp.array(0.5), 6)
    for chunk in (4, 6):
        fit = lt.minimize(key, objective, 0.5, optax.sgd(0.1), num_steps=6, chunk=chunk)
        np.testing.assert_allclose(fit.params, want, rtol=1e-5)


@pytest.mark.parametrize(
    "objective",
    [
        lambda p, key: (p - 1) ** 2 + p * jax.random.uniform(key),
        lambda p, key: p**2 + 0.01 * p * jax.scipy.special.logsumexp(jax.random.normal(key, (37,))),
        lambda p, key: (
            p**2 + 0.001 * p * jnp.sum(jnp.tanh(x := jax.random.normal(key, (1000,))) * jnp.exp(x))
        ),
        lambda p, key: jnp.mean((p - jnp.mean(jax.random.normal(key, (30, 20)), 0)) ** 2),
    ],
    ids=["uniform", "logsumexp", "sum", "mean"],
)
def test_the_bits_do_not_depend_on_the_chunk(objective):
    fit = lambda chunk: lt.minimize(
        KEY, objective, 0.3, optax.adam(0.01), num_steps=1_100, chunk=chunk
    )
    want = fit(100)
    for chunk in (1, 130, 1_100):
        got = fit(chunk)
        np.testing.assert_array_equal(got.history.value, want.history.value)
        np.testing.assert_array_equal(got.params, want.params)


def test_callbacks_come_after_chunks_of_any_length():
    seen = []
    objective = lambda p, key: (p - jax.random.normal(key)) ** 2
    lt.minimize(
        KEY,
        objective,
        0.0,
        optax.sgd(0.1),
        num_steps=2_500,
        chunk=1_200,
        callback=lambda r: seen.append(len(r.history.value)),
    )
    assert seen == [1_200, 2_400, 2_500]


@pytest.mark.parametrize(
    "estimator", [lt.ScoreFunction(), lt.Pathwise()], ids=["score", "pathwise"]
)
def test_a_fit_is_the_same(estimator, monkeypatch):
    """To the bit whatever the chunk; to rounding where every step draws its own."""

    def fit(chunk):
        def objective(p, key):
            return lt.expect(
                key,
                lambda x: jnp.sum(jnp.cos(x)),
                lt.Normal(p, 1.0),
                estimator=estimator,
                num_samples=8,
            )

        return lt.minimize(
            KEY, objective, jnp.zeros(3), optax.adam(0.1), num_steps=300, chunk=chunk
        )

    ahead = fit(100)
    for chunk in (7, 300):
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

    fit = lambda key: (
        lt.minimize(
            key, objective, 0.0, optax.sgd(0.1), num_steps=6, data=data, batch_size=3
        ).params
    )
    together = jax.vmap(fit)(KEYS[:2])
    np.testing.assert_allclose(together, [fit(key) for key in KEYS[:2]], rtol=2e-6)

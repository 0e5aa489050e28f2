"""`lt.gradient_statistics`: moments against numpy, against exact enumeration, and where float32 would lose them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.diagnostics._replicates import Moments, replicator

KEY = jax.random.key(11)


def gaussian(params, key):
    """Gradients a + ε, and 3 b + ε."""
    noise = jax.random.normal(key, (2,))
    return (
        jnp.sum(params["a"] ** 2 / 2 + params["a"] * noise)
        + 1.5 * params["b"] ** 2
        + params["b"] * noise[0]
    )


PARAMS = {"a": jnp.array([1.0, -2.0]), "b": 0.5}


def by_hand(count):
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, 4), i) for i in range(count)]
    grads = [jax.grad(gaussian)(PARAMS, k) for k in keys]
    return {name: np.stack([np.asarray(g[name], np.float64) for g in grads]) for name in PARAMS}


@pytest.mark.parametrize("block_size", [None, 1, 7, 20])
def test_against_numpy_whatever_the_blocks(block_size):
    rows = by_hand(20)
    reference = {"a": np.array([1.0, -2.0]), "b": 1.5}
    s = lt.gradient_statistics(
        KEY, gaussian, PARAMS, num_replicates=20, reference=reference, block_size=block_size
    )
    for name in PARAMS:
        mean, variance = rows[name].mean(0), rows[name].var(0, ddof=1)
        np.testing.assert_allclose(s.mean[name], mean, rtol=1e-6)
        np.testing.assert_allclose(s.variance[name], variance, rtol=1e-5)
        np.testing.assert_allclose(s.standard_error[name], np.sqrt(variance / 20), rtol=1e-5)
        np.testing.assert_allclose(
            s.signal_to_noise[name], np.abs(mean) / np.sqrt(variance), rtol=1e-5
        )
        np.testing.assert_allclose(
            s.bias_z[name], (mean - reference[name]) / np.sqrt(variance / 20), rtol=1e-4
        )
    assert not s.exact and s.num_replicates == 20


def test_without_a_reference_there_is_no_z():
    s = lt.gradient_statistics(KEY, gaussian, PARAMS, num_replicates=20, block_size=20)
    assert s.bias_z is None and not s.exact


def test_the_variance_is_the_exact_one():
    """Against the enumeration of all draws, within four standard errors of a variance estimate."""
    f = lambda x, t: jnp.sum((x - 0.45) ** 2)
    logits, count = jnp.array([0.3, -0.5]), 20_000
    exact = lt.testing.exact_estimator_variance(f, lt.Bernoulli, logits, num_samples=3)
    objective = lambda t, key: lt.expect(key, lambda x: f(x, t), lt.Bernoulli(t), num_samples=3)
    s = lt.gradient_statistics(KEY, objective, logits, num_replicates=count, reference=exact.mean)
    assert np.all(np.abs(s.bias_z) < 5)
    np.testing.assert_allclose(s.variance, exact.variance, rtol=0.1)


def test_fault_20_squares_that_overflow_float32():
    objective = lambda p, key: 1e30 * p * (1 + 0.1 * jax.random.normal(key))
    s = lt.gradient_statistics(KEY, objective, 1.0, num_replicates=200)
    assert np.isfinite(s.variance) and 0.8e58 < s.variance < 1.2e58
    assert 9 < s.signal_to_noise < 11


def test_fault_21_a_small_variance_on_a_large_mean():
    moments = Moments()
    rows = 1e8 + np.random.default_rng(0).normal(size=(1000, 1))
    for block in np.split(rows, 10):
        moments.add(block)
    np.testing.assert_allclose(moments.variance, rows.var(0, ddof=1), rtol=1e-7)
    naive = np.mean(rows.astype(np.float32) ** 2, 0) - np.mean(rows.astype(np.float32), 0) ** 2
    assert abs(naive - 1) > 0.5


def test_zero_variance_is_never_zero_over_zero():
    still = lambda p, key: jnp.sum(p**2)
    p = jnp.array([1.0, 0.0])
    right = lt.gradient_statistics(
        KEY, still, p, num_replicates=10, reference=jnp.array([2.0, 0.0])
    )
    assert (
        right.exact
        and right.bias_z.tolist() == [0.0, 0.0]
        and right.signal_to_noise.tolist() == [np.inf, 0.0]
    )
    wrong = lt.gradient_statistics(
        KEY, still, p, num_replicates=10, reference=jnp.array([2.0, 0.01])
    )
    assert not wrong.exact and np.isfinite(wrong.bias_z).all() and abs(wrong.bias_z[1]) > 20


def test_a_bias_is_seen():
    s = lt.gradient_statistics(
        KEY, gaussian, PARAMS, num_replicates=4000, reference={"a": np.array([1.1, -2.0]), "b": 1.5}
    )
    assert s.bias_z["a"][0] < -4 and abs(s.bias_z["a"][1]) < 4 and abs(s.bias_z["b"]) < 4


def test_memory_is_bounded_by_the_largest_array():
    objective = lambda p, key: (
        p * jnp.sum(jax.lax.map(lambda i: jnp.sum(jax.random.normal(key, (1000,))), jnp.arange(3)))
    )
    assert 1000 <= replicator("x", objective).probe(jnp.ones(()), KEY)[0] < 4096


def test_a_second_call_traces_nothing():
    traces = []

    def objective(params, key):
        traces.append(1)
        return gaussian(params, key)

    for seed in range(2):
        lt.gradient_statistics(jax.random.key(seed), objective, PARAMS, num_replicates=20)
        assert len(traces) == 1


def test_objectives_with_aux_and_with_statistics_in_params():
    from tests.training.doubles import Average

    def objective(params, key):
        dist = lt.Bernoulli(params["logits"])
        return lt.expect(
            key, jnp.sum, dist, estimator=params["estimator"], num_samples=4, has_aux=True
        )

    params = {"logits": jnp.zeros(2), "estimator": lt.ScoreFunction(Average(1.0, 3))}
    s = lt.gradient_statistics(KEY, objective, params, num_replicates=20)
    assert jax.tree.leaves(s.mean["estimator"]) == [] and s.mean["logits"].shape == (2,)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"num_replicates": 1}, ValueError, "at least 2; got 1"),
        ({"block_size": 0}, ValueError, "block_size=…"),
        ({"params": {"a": 1}}, TypeError, "which has no gradient"),
        ({"params": {}}, ValueError, "no trainable parameters"),
        ({"reference": {"a": jnp.ones(3), "b": 1.0}}, ValueError, "needs a pytree like params"),
        ({"reference": 1.0}, ValueError, "needs a pytree like params"),
        ({"objective": 1}, TypeError, "needs a function"),
        ({"objective": lambda p, k: p["a"]}, ValueError, r"got shape \(2,\)"),
        ({"key": 1}, TypeError, "PRNG key"),
    ],
)
def test_arguments(change, error, match):
    arguments = {"key": KEY, "objective": gaussian, "params": PARAMS, "num_replicates": 4} | change
    with pytest.raises(error, match=match):
        lt.gradient_statistics(arguments.pop("key"), **arguments)

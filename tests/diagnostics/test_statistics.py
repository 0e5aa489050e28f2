"""`lt.gradient_statistics`: moments against numpy, against exact enumeration, and where float32 would lose them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.diagnostics._moments import GradientMoments, Moments
from logtrick.diagnostics._replicates import replicator

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
    assert right.exact and right.bias_z.tolist() == [0.0, 0.0]
    assert right.signal_to_noise.tolist() == [np.inf, 0.0]
    wrong = lt.gradient_statistics(
        KEY, still, p, num_replicates=10, reference=jnp.array([2.0, 0.01])
    )
    assert not wrong.exact and np.isfinite(wrong.bias_z).all() and abs(wrong.bias_z[1]) > 20


def test_each_coordinate_is_judged_by_its_own_scale():
    """An error of half of a small coordinate beside a large one; a gradient cut off at a large value."""
    f = lambda x: 1e3 * x[0] + 1.5e-4 * x[1]
    beside = lambda q, k: lt.expect(k, f, lt.Bernoulli(q), estimator=lt.Enumerate())
    reference = jnp.array([250.0, 0.25e-4])
    s = lt.gradient_statistics(KEY, beside, jnp.zeros(2), num_replicates=4, reference=reference)
    assert not s.exact and s.bias_z[0] == 0 and s.bias_z[1] > 100 and not s.zero

    def cut(q, k):
        dist = lt.Bernoulli(jax.lax.stop_gradient(q))
        return 100.0 + lt.expect(k, lambda x: 2e-3 * x, dist, estimator=lt.Enumerate())

    s = lt.gradient_statistics(KEY, cut, 0.0, num_replicates=4, reference=5e-4)
    assert not s.exact and s.bias_z < -100 and s.zero
    assert lt.gradient_statistics(KEY, cut, 0.0, num_replicates=4, reference=0.0).exact

    noisy = lambda p, k: jnp.sum(p * jnp.array([1e6, 1e-3]) * (1 + 0.1 * jax.random.normal(k)))
    s = lt.gradient_statistics(
        KEY, noisy, jnp.ones(2), num_replicates=400, reference=jnp.array([1e6, 1.1e-3])
    )
    assert abs(s.bias_z[0]) < 5 and s.bias_z[1] < -10


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_noise_in_16_bits_is_not_called_rounding(dtype):
    """A spread of 5 % is six steps of bfloat16; what does not vary is exact to the last bits."""
    noisy = lambda p, key: p * (1.0 + 0.05 * jax.random.normal(key)).astype(dtype)
    p = jnp.ones((), dtype)
    s = lt.gradient_statistics(KEY, noisy, p, num_replicates=400, reference=1.0)
    assert not s.exact and not s.constant and s.total_variance == pytest.approx(0.0025, rel=0.3)
    biased = lt.gradient_statistics(KEY, noisy, p, num_replicates=400, reference=1.2)
    assert abs(s.bias_z) < 4 < abs(biased.bias_z)
    bits = jnp.array([0.3, -1.2, 2.0], dtype)
    third = lambda q, key: lt.expect(
        key, lambda x: jnp.sum(x**2) / 3, lt.Bernoulli(q), estimator=lt.Enumerate()
    )
    probs = jax.nn.sigmoid(bits.astype(float))
    s = lt.gradient_statistics(
        KEY, third, bits, num_replicates=4, reference=probs * (1 - probs) / 3
    )
    assert s.exact


def test_the_interval_of_the_variance_is_the_range_of_eight_groups():
    rows = np.random.default_rng(1).normal(size=(804, 3))
    moments = GradientMoments(2, len(rows))
    for block in np.split(rows, 4):  # blocks that are not the groups
        moments.add([block[:, :1], block[:, 1:]])
    groups = np.split(rows, [round(i * 804 / 8) for i in range(1, 8)])
    first = [g[:, 0].var(ddof=1) for g in groups]
    np.testing.assert_allclose(moments.interval(0), (min(first), max(first)))
    whole = [g.var(0, ddof=1).sum() for g in groups]
    np.testing.assert_allclose(moments.total_interval(), (min(whole), max(whole)))
    np.testing.assert_allclose(moments.variance(1), rows[:, 1:].var(0, ddof=1).sum())


def test_one_replicate_that_makes_the_variance_is_said():
    rare = lambda p, key: p * 1e3 * (jax.random.uniform(key) < 2e-3)
    s = lt.gradient_statistics(KEY, rare, 1.0, num_replicates=1000)
    assert s.heavy_tails and 0.1 < s.largest_share <= 1 and "heavy tails" in repr(s)
    calm = lt.gradient_statistics(KEY, gaussian, PARAMS, num_replicates=1000)
    assert not calm.heavy_tails and calm.largest_share < 0.03
    np.testing.assert_allclose(
        calm.total_variance, np.sum(calm.variance["a"]) + calm.variance["b"], rtol=1e-12
    )
    np.testing.assert_allclose(calm.leaf_variance["a"], np.sum(calm.variance["a"]), rtol=1e-12)
    low, high = calm.leaf_interval["b"]
    assert low < calm.leaf_variance["b"] < high


def test_what_it_prints():
    s = lt.gradient_statistics(KEY, gaussian, PARAMS, num_replicates=1000)
    lines = repr(s).splitlines()
    assert lines[0].startswith("1,000 gradients: total variance ") and len(lines) == 4
    assert "signal-to-noise" in lines[0] and lines[2].startswith("['a']") and "(2,)" in lines[2]
    assert s._repr_html_().count("<tr>") == 3
    still = lambda p, key: p["a"] * 0.0 + p["b"]
    zero = lt.gradient_statistics(KEY, still, {"a": 1.0, "b": 1.0}, num_replicates=2)
    assert [row.split()[-2:] for row in repr(zero).splitlines()[2:]] == [["0", "–"], ["inf", "–"]]


def test_data_are_the_third_argument():
    objective = lambda p, key, data: p * jnp.sum(data) + 0.0 * jax.random.normal(key)
    s = lt.gradient_statistics(
        KEY, objective, 1.0, num_replicates=4, data=np.arange(4.0), reference=6.0
    )
    assert s.exact


def test_a_bias_is_seen():
    s = lt.gradient_statistics(
        KEY, gaussian, PARAMS, num_replicates=4000, reference={"a": np.array([1.1, -2.0]), "b": 1.5}
    )
    assert s.bias_z["a"][0] < -4 and abs(s.bias_z["a"][1]) < 4 and abs(s.bias_z["b"]) < 4


def test_memory_is_bounded_by_the_largest_array():
    objective = lambda p, key: (
        p * jnp.sum(jax.lax.map(lambda i: jnp.sum(jax.random.normal(key, (1000,))), jnp.arange(3)))
    )
    params = jnp.ones(())
    probe = replicator("x", objective, False, params).probe(params, KEY, ())
    assert 4 * 1000 <= probe.bytes < 4 * 4096


def test_a_second_call_traces_nothing():
    traces = []

    def objective(params, key):
        traces.append(1)
        return gaussian(params, key)

    for seed in range(2):
        lt.gradient_statistics(jax.random.key(seed), objective, PARAMS, num_replicates=20)
        assert len(traces) == 2  # once for the program, once to count evaluations


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


def test_changed_data_behind_an_objective_are_seen_and_equal_ones_compile_nothing():
    traced = []

    class Model:
        scale = 1.0

        def objective(self, params, key):
            traced.append(1)
            return self.scale * params

    model = Model()
    slope = lambda: lt.gradient_statistics(KEY, model.objective, 1.0, num_replicates=2).mean.item()
    assert slope() == 1.0
    count = len(traced)
    assert slope() == 1.0 and len(traced) == count
    model.scale = 5.0
    assert slope() == 5.0

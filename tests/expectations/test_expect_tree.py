"""lt.expect_tree: every entry is what lt.expect gives for it, from the same draws, and so as exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt

KEY = jax.random.key(0)
T = np.array([0.4, -0.8])  # float64 where it is there


def f(t, x):
    """Arrays of mixed shapes and dtypes."""
    return {
        "matrix": jnp.outer(x, jnp.array([1.0, -2.0, 0.5])) * t[0],
        "scalar": (x[0] - 0.3 * x[1]) ** 2,
        "bits": (x > 0.5).astype(jnp.int32),
    }


def entries(t, x):
    found = f(t, x)
    parts = [found[k].reshape(-1) for k in ("matrix", "scalar", "bits")]
    return jnp.concatenate([p.astype(float) for p in parts])


def tree(t, estimator, **how):
    found = lt.expect_tree(KEY, lambda x: f(t, x), lt.Bernoulli(t), estimator=estimator, **how)
    return jnp.concatenate([found[k].reshape(-1) for k in ("matrix", "scalar", "bits")])


def one_by_one(t, estimator, **how):
    """Entry by entry with `lt.expect`, in one vmap."""

    def one(unit):
        cost = lambda x: unit @ entries(t, x)
        return lt.expect(KEY, cost, lt.Bernoulli(t), estimator=estimator, **how)

    return jax.vmap(one)(jnp.eye(9))


@pytest.mark.parametrize("how", [{"num_samples": 6}, {"num_samples": 7, "chunk_size": 3}])
@pytest.mark.parametrize("estimator", [lt.ScoreFunction(), lt.DisARM()])
def test_entry_by_entry(x64, estimator, how):
    both = lambda g: jax.jit(lambda t: (g(t, estimator, **how), jax.jacrev(g)(t, estimator, **how)))
    got, want = both(tree)(T), both(one_by_one)(T)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), got, want)


def exact(t):
    total = 0.0
    for a in (0.0, 1.0):
        for b in (0.0, 1.0):
            x = jnp.array([a, b])
            total = total + jnp.exp(lt.Bernoulli(t).log_prob(x)) * entries(t, x)
    return total


def test_enumerated(x64):
    """Value, Jacobian and second derivatives."""
    up_to = lambda g: jax.jit(lambda t: (g(t), jax.jacfwd(g)(t), jax.jacfwd(jax.jacrev(g))(t)))
    got = up_to(lambda t: tree(t, lt.Enumerate(), num_samples=1))(T)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, up_to(exact)(T))


def test_the_mean_of_many_calls_is_exact(x64):
    def call(key):
        t = T
        g = lambda t: lt.expect_tree(key, lambda x: entries(t, x), lt.Bernoulli(t), num_samples=2)
        return jax.jacrev(g)(t)

    draws = jax.jit(jax.vmap(call))(jax.random.split(KEY, 20_000))
    lt.testing.assert_unbiased(np.asarray(draws), np.asarray(jax.jacrev(exact)(T)), resolve=0.1)


def test_shapes_and_dtypes():
    found = jax.eval_shape(
        lambda t: lt.expect_tree(KEY, lambda x: f(t, x), lt.Bernoulli(t), num_samples=4), T
    )
    assert {k: v.shape for k, v in found.items()} == {"matrix": (2, 3), "scalar": (), "bits": (2,)}
    assert all(v.dtype == jnp.float32 for v in found.values())


@pytest.mark.parametrize("estimator", [lt.DoubleCV(0.3), lt.ScoreFunction(lt.MovingAverage())])
def test_estimators_that_it_refuses(estimator):
    with pytest.raises(ValueError, match="needs one that neither learns nor differentiates f"):
        lt.expect_tree(KEY, lambda x: x, lt.Bernoulli(T), estimator=estimator)


def test_returns_that_it_refuses():
    with pytest.raises(TypeError, match=r"lt.expect_tree\(f=…\) must return arrays"):
        lt.expect_tree(KEY, lambda x: (), lt.Bernoulli(T))


def test_a_function_of_a_draw_and_a_key_is_refused():
    with pytest.raises(TypeError, match=r"lt.expect_tree\(f=…\) is called with one draw"):
        lt.expect_tree(KEY, lambda x, key: x, lt.Bernoulli(T))


def test_costs_in_half_precision_are_averaged_in_single():
    """As by `lt.expect`: a mean of 257 is no bfloat16 number."""
    cost = lambda x: (256 + 2 * x[0]).astype(jnp.bfloat16)
    got, want = (
        jax.grad(lambda t, g=g: g(KEY, cost, lt.Bernoulli(t), num_samples=64))(jnp.zeros(2))
        for g in (lt.expect_tree, lt.expect)
    )
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_samples_that_depend_on_each_other_are_not_cut_apart():
    """A third sample of antithetic pairs had no partner."""
    message = (
        r"lt.expect_tree\(num_samples=…\) needs a multiple of 2: under its plan the samples of"
    )
    with pytest.raises(ValueError, match=message):
        normal, pairs = lt.Normal(0.0, 1.0), lt.Pathwise(lt.Antithetic())
        lt.expect_tree(KEY, lambda x: x, normal, estimator=pairs, num_samples=3)


def test_what_the_host_raises():
    """As by `lt.expect`."""

    def simulator(x):
        raise KeyError("no such state")

    with pytest.raises(
        lt.BlackBoxError, match=r"lt.black_box\(simulator\): the host function raised"
    ):
        lt.expect_tree(KEY, lt.black_box(simulator), lt.Normal(0.0, 1.0))

"""Lazy scores and Fisher matrices against dense ones, and the natural gradients of the oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, PartitionSpec as P

import logtrick as lt

PARAMS = {"w": jnp.array([0.3, -0.2, 0.5]), "b": jnp.array(0.1)}
DRAWS = jax.random.normal(jax.random.key(0), (5, 3))


def log_prob(params, x):
    return -0.5 * (jnp.tanh(params["w"] * x).sum() - params["b"]) ** 2


@pytest.mark.parametrize("centered, chunk_size", [(False, None), (True, 2), (True, 5)])
def test_products_are_those_of_the_dense_matrix(x64, centered, chunk_size):
    params, draws = jax.tree.map(lambda a: jnp.asarray(a, float), (PARAMS, DRAWS))
    _, tree = ravel_pytree(params)
    flat = lambda tree: ravel_pytree(tree)[0]
    v, u = np.arange(4.0) - 1.5, np.arange(5.0) ** 2

    @jax.jit
    def products(params, draws):
        s = lt.scores(log_prob, params, draws, centered=centered, chunk_size=chunk_size)
        f = lt.fisher(log_prob, params, draws, centered=centered, damping=0.3)
        of_scores = s.dense(), s.matvec(tree(v)), flat(s.rmatvec(u)), s.gram()
        of_fisher = f.dense(), flat(f.matvec(tree(v))), flat(f.solve_by_draws(tree(v)))
        return of_scores, of_fisher, flat(f.solve(tree(v), tolerance=1e-12))

    rows = jax.jit(jax.vmap(lambda x: flat(lt.score(log_prob, params, x))))(draws)
    rows = np.asarray(rows - rows.mean(0)[None] if centered else rows)
    dense = rows.T @ rows / 5 + 0.3 * np.eye(4)
    solved = np.linalg.solve(dense, v)
    want = (rows, rows @ v, rows.T @ u, rows @ rows.T), (dense, dense @ v, solved)
    *found, by_steps = products(params, draws)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    jax.tree.map(close, tuple(found), want)
    np.testing.assert_allclose(by_steps, solved, rtol=1e-9)


def test_natural_gradients_of_the_oracles(x64):
    """Rows natural/normal_quad and natural/bernoulli: F⁻¹ g = (2μσ², σ³) and f(1) − f(0)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    theta = jnp.array([1.0, 1.5])
    normal = lambda t, x: lt.Normal(t[0], t[1]).log_prob(x)
    f = lt.fisher(normal, theta, theta[0] + theta[1] * nodes, weights=weights / weights.sum())
    np.testing.assert_allclose(
        f.solve(jnp.array([2.0, 3.0]), tolerance=1e-12), [4.5, 3.375], rtol=1e-9
    )
    p = 0.3
    coin = lt.fisher(
        lambda t, x: lt.Bernoulli(t).log_prob(x),
        jnp.log(p / (1 - p)),
        jnp.array([0.0, 1.0]),
        weights=jnp.array([1 - p, p]),
    )
    np.testing.assert_allclose(coin.solve(p * (1 - p) * (2.0 + 0.5)), 2.5, rtol=1e-9)


def test_constants_cancel_when_centered():
    shifted = lambda params, x: log_prob(params, x) + 100.0 * params["w"].sum()
    plain, moved = (lt.scores(f, PARAMS, DRAWS, centered=True) for f in (log_prob, shifted))
    np.testing.assert_allclose(moved.gram(), plain.gram(), atol=1e-3)


@pytest.mark.parametrize("chunk_size", [None, 1, 7])
def test_parameters_of_half_precision_are_summed_in_float32(chunk_size):
    """A sum in bfloat16 stops at 256, where adding 1 no longer changes it."""
    draws = jnp.full((1000,), 2.0, jnp.bfloat16)
    s = lt.scores(
        lambda mu, x: -0.5 * (x - mu) ** 2, jnp.bfloat16(1.0), draws, chunk_size=chunk_size
    )
    total = s.rmatvec(jnp.ones(1000))
    assert total == 1000 and total.dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_products_and_solutions_have_the_dtype_of_the_parameters(x64, dtype):
    """Also where double precision is switched on, in which the damping is."""
    log_prob = lambda mu, x: -0.5 * (x - mu) ** 2  # scores 1 and 3, F = 5 + ½
    f = lt.fisher(log_prob, jnp.asarray(1.0, dtype), jnp.array([2.0, 4.0], dtype), damping=0.5)
    v = jnp.asarray(2.0, dtype)
    found = [f.matvec(v), f.solve(v), f.solve_by_draws(v)]
    assert [a.dtype for a in found] == [dtype] * 3
    np.testing.assert_allclose(np.array(found, float), [11, 4 / 11, 4 / 11], rtol=0.02)


def test_a_density_far_from_one_with_parameters_of_half_precision():
    """p = e⁻⁵⁰·³ and dp = 3 p; in bfloat16 a log-prob of −50.3 is −50.25, which is 5 % of p."""
    log_prob = lambda w, x: 3.0 * w.astype(jnp.float32) - x
    p, grad = lt.density_and_grad(log_prob, jnp.bfloat16(1.0), 53.3)
    np.testing.assert_allclose(p, np.exp(-50.3), rtol=1e-5)
    np.testing.assert_allclose(float(grad), 3 * np.exp(-50.3), rtol=2**-8)
    assert grad.dtype == jnp.bfloat16


def test_never_draws_by_parameters():
    """A million parameters and 32 draws: products and the kernel solve in memory far below n × P."""
    size, n = 1_000_000, 32
    model = lambda w, x: -0.5 * jnp.sum((w * x[0] - x[1]) ** 2)
    solve = jax.jit(
        lambda w, x: lt.fisher(model, w, x, damping=0.1, chunk_size=1).solve_by_draws(w)
    )
    shapes = jax.ShapeDtypeStruct((size,), jnp.float32), jax.ShapeDtypeStruct((n, 2), jnp.float32)
    assert solve.lower(*shapes).compile().memory_analysis().temp_size_in_bytes < 0.5 * n * size * 4


def test_under_jit_and_vmap():
    solve = lambda scale: lt.fisher(log_prob, PARAMS, scale * DRAWS, damping=0.1).solve(PARAMS)
    found = jax.jit(jax.vmap(solve))(jnp.array([1.0, 2.0]))
    for i, scale in enumerate((1.0, 2.0)):
        close = lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5)
        jax.tree.map(close, found, solve(scale))


def test_in_a_users_shard_map_each_device_has_its_own_draws():
    """The derivative in what all devices share is summed over them, unless the parameters are made to vary."""
    mesh, draws = Mesh(jax.devices()[:4], ("d",)), jax.random.normal(jax.random.key(1), (8, 3))

    def products(params, draws):
        f = lt.fisher(log_prob, params, draws, damping=0.3, chunk_size=1)
        s = f.scores
        found = (
            s.dense(),
            s.matvec(params),
            s.rmatvec(jnp.ones(2)),
            f.matvec(params),
            f.solve_by_draws(params),
        )
        return jax.tree.map(lambda a: a[None], found)

    sharded = jax.shard_map(products, mesh=mesh, in_specs=(P(), P("d")), out_specs=P("d"))
    got, alone = jax.jit(sharded)(PARAMS, draws), jax.jit(products)
    want = [alone(PARAMS, own) for own in jnp.split(draws, 4)]
    close = lambda a, *b: np.testing.assert_allclose(a, jnp.concatenate(b), rtol=1e-4, atol=1e-6)
    jax.tree.map(close, got, *want)


def test_wrong_arguments_are_refused():
    with pytest.raises(
        ValueError, match=r"lt.fisher\(damping=…\) needs a number of at least 0; got -1.0"
    ):
        lt.fisher(log_prob, PARAMS, DRAWS, damping=-1.0)
    with pytest.raises(
        ValueError, match=r"Fisher.solve_by_draws\(damping=…\) needs a positive number; got 0.0"
    ):
        lt.fisher(log_prob, PARAMS, DRAWS).solve_by_draws(PARAMS)
    with pytest.raises(
        ValueError,
        match=r"Scores.rmatvec\(u=…\) needs shape \(5,\), one number per draw; got \(4,\)",
    ):
        lt.scores(log_prob, PARAMS, DRAWS).rmatvec(jnp.ones(4))
    for make in (lt.scores, lt.fisher):
        with pytest.raises(ValueError, match="no trainable parameters"):
            make(log_prob, {}, DRAWS)
        with pytest.raises(TypeError, match="has no gradient"):
            make(log_prob, {"w": jnp.arange(3), "b": 0.0}, DRAWS)
        with pytest.raises(ValueError, match=r"lt.scores\(samples=…\) needs one leading axis"):
            make(log_prob, PARAMS, (DRAWS, DRAWS[:2]))
        for draws in ((DRAWS, 2.0), DRAWS[:0]):
            with pytest.raises(ValueError, match=r"lt.scores\(samples=…\) needs one leading axis"):
                make(log_prob, PARAMS, draws)
    with pytest.raises(ValueError, match="log_prob must be scalar per draw"):
        lt.scores(lambda p, x: p["w"] * x, PARAMS, DRAWS).dense()
    with pytest.raises(ValueError, match=r"lt.fisher\(weights=…\) needs shape \(5,\)"):
        lt.fisher(log_prob, PARAMS, DRAWS, weights=jnp.ones(4))
    with pytest.raises(ValueError, match=r"needs weights that sum to 1; got a sum of 5. Divide"):
        lt.fisher(log_prob, PARAMS, DRAWS, weights=jnp.ones(5))

"""A program's expectation is a number like any other under jit, vmap, forward and reverse mode, scan, shard_map."""

import gc
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import sigmoid
from jax.sharding import Mesh, PartitionSpec as P

import logtrick as lt
from logtrick._core.samples import standard_error
from logtrick.programs import automatic_chunk, start, structure_of

KEY = jax.random.key(3)
THETA = jnp.array([0.3, -0.6, 0.5])


def program(theta):
    """Every kind of item: a scored, a pathwise and an enumerated draw, a loop, costs with a direct term."""
    a = yield lt.sample(lt.Bernoulli(theta[0]), name="a")
    z = yield lt.sample(lt.Normal(theta[1] + a, 0.5), lt.Pathwise(), name="z")
    yield lt.cost(z * a * theta[2], name="first")

    def step(carry, x):
        b = yield lt.sample(lt.Bernoulli(theta[2] + 0.3 * carry * x), name="b")
        yield lt.cost(b * carry * 0.1, name="c")
        return 0.5 * carry + b, b

    last, _ = yield lt.scan(step, z, jnp.arange(3, dtype=theta.dtype), name="walk")
    e = yield lt.sample(lt.Bernoulli(theta[0] * last), lt.Enumerate(), name="e")
    yield lt.cost(e * last + z, name="last")


def value(theta, key=KEY, **how):
    return lt.expect_program(key, program, theta, **{"num_samples": 6, **how})


# --- other ways to the same numbers


@pytest.fixture(scope="module")
def reference():
    return jax.jit(lambda t: (value(t), jax.grad(value)(t), jax.hessian(value)(t)))(THETA)


def test_eager_is_jit(reference):
    np.testing.assert_allclose(value(THETA), reference[0], rtol=1e-5)


def test_forward_and_reverse_agree(reference):
    along = lambda t: jax.linearize(value, t)[1](THETA)
    for way, want in (
        (jax.jacrev(jax.checkpoint(value)), reference[1]),
        (along, reference[1] @ THETA),
    ):
        np.testing.assert_allclose(jax.jit(way)(THETA), want, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(jax.jacfwd(jax.jacfwd(value)))(THETA), reference[2], rtol=1e-4, atol=1e-5
    )


def test_vmap_is_a_loop():
    thetas, keys = jnp.stack([THETA, -THETA]), jax.random.split(KEY, 2)
    gradient = jax.jit(jax.value_and_grad(value))
    together = jax.vmap(gradient)(thetas, keys)
    for i in range(2):
        for got, want in zip(jax.tree.map(lambda x: x[i], together), gradient(thetas[i], keys[i])):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_in_a_scan_of_steps():
    keys = jax.random.split(KEY, 3)
    step = lambda t, k: t - 0.1 * jax.grad(value)(t, k)
    scanned = lax.scan(lambda t, k: (step(t, k), None), THETA, keys)[0]
    looped, once = THETA, jax.jit(step)
    for k in keys:
        looped = once(looped, k)
    np.testing.assert_allclose(scanned, looped, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 3, 6])
def test_chunked_is_whole_without_leave_one_out(chunk):
    """The same draws; 7 runs in chunks of 1, of 3 and 4, of 7: a remainder of one joins the chunk before it."""

    def plain(theta, **how):
        def inner():
            a = yield lt.sample(lt.Bernoulli(theta[0]), lt.ScoreFunction(lt.NoBaseline()))
            z = yield lt.sample(lt.Normal(theta[1] + a, 0.5), lt.Pathwise())
            yield lt.cost(z**2 * theta[2])

        return lt.expect_program(KEY, inner, num_samples=7, has_aux=True, **how)

    results = [
        jax.jit(jax.value_and_grad(lambda t: plain(t, **how), has_aux=True))(THETA)
        for how in ({}, {"chunk_size": chunk})
    ]
    (whole, aux), gradient = results[0]
    (chunked, other), same = results[1]
    np.testing.assert_array_equal(aux.draws[0], other.draws[0])
    np.testing.assert_allclose(aux.draws[1], other.draws[1], rtol=1e-6)
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)
    np.testing.assert_allclose(same, gradient, rtol=1e-5)
    np.testing.assert_allclose(other.standard_error, aux.standard_error, rtol=1e-5)


def test_chunks_of_leave_one_out_have_the_same_draws():
    whole, aux = value(THETA, has_aux=True)
    chunked, other = value(THETA, has_aux=True, chunk_size=3)
    np.testing.assert_allclose(chunked, whole, rtol=1e-6)
    assert jax.tree.map(jnp.shape, aux.draws) == {"a": (6,), "z": (6,), "e": (6,), "walk.b": (6, 3)}
    assert jax.tree.map(jnp.shape, aux.costs) == {"first": (6,), "last": (6,), "walk.c": (6, 3)}
    for name in aux.draws:
        np.testing.assert_allclose(other.draws[name], aux.draws[name], rtol=1e-5)
    total = aux.costs["first"] + aux.costs["last"] + aux.costs["walk.c"].sum(1)
    np.testing.assert_allclose(total.mean(), whole, rtol=1e-5)
    np.testing.assert_allclose(aux.standard_error, total.std(ddof=1) / np.sqrt(6), rtol=1e-4)
    assert set(aux.estimators) == {"a", "z", "e", "walk.b"}


def test_in_a_users_shard_map_in_chunks():
    """A key for each device under the default check_vma, reverse mode, against the same on one device.

    Without chunks: the next two tests.
    """
    mesh, keys = Mesh(jax.devices()[:4], ("d",)), jax.random.split(KEY, 4)
    local = lambda t, k: value(t, k, chunk_size=2)
    sharded = jax.shard_map(
        lambda t, k: lax.pmean(local(t, k[0]), "d"),
        mesh=mesh,
        in_specs=(P(), P("d")),
        out_specs=P(),
    )
    found, gradient = jax.jit(jax.value_and_grad(sharded))(THETA, keys)
    plain = lambda t: jnp.mean(jax.vmap(lambda k: local(t, k))(keys))
    want, exact = jax.jit(jax.value_and_grad(plain))(THETA)
    np.testing.assert_allclose(found, want, rtol=1e-5)
    np.testing.assert_allclose(gradient, exact, rtol=1e-4, atol=1e-6)


def test_in_a_shard_map_over_parameters():
    """Parameters that differ from device to device, one key: the loop's carry varies through what it closes over."""
    mesh, thetas = (
        Mesh(jax.devices()[:4], ("d",)),
        jnp.stack([THETA * s for s in (1.0, 0.5, -0.5, 2.0)]),
    )
    sharded = jax.shard_map(
        lambda t: value(t[0])[None], mesh=mesh, in_specs=P("d"), out_specs=P("d")
    )
    gradient = jax.jit(jax.grad(lambda t: sharded(t).sum()))(thetas)
    want = jax.jit(jax.vmap(jax.grad(value)))(thetas)
    np.testing.assert_allclose(gradient, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("varies", ["parameters", "keys"])
def test_loops_in_a_shard_map_from_a_constant(varies):
    """Carries that start from a Python number while the steps see each device's own numbers, or are handed on constant."""

    def main(theta):
        def inner(carry, _):
            b = yield lt.sample(lt.Bernoulli(theta[0] + 0.3 * carry))
            yield lt.cost(b * theta[1])
            return 0.5 * carry + b, None

        def outer(carry, x):
            still, moves = carry
            moves, _ = yield lt.scan(inner, moves, length=2)
            z = yield lt.sample(lt.Normal(theta[1] * moves * x, 0.5), lt.Pathwise())
            yield lt.cost(z**2 + still)
            return (0.5, z), None

        (_, last), _ = yield lt.scan(outer, (0.5, 0.0), jnp.arange(3.0))
        yield lt.cost(last * theta[2])

    one = lambda t, k: lt.expect_program(k, main, t, num_samples=4)
    mesh, keys = Mesh(jax.devices()[:4], ("d",)), jax.random.split(KEY, 4)
    thetas = jnp.stack([THETA * s for s in (1.0, 0.5, -0.5, 2.0)])
    if varies == "parameters":
        local, args, specs = (lambda t: one(t[0], KEY)), (thetas,), (P("d"),)
        plain = lambda ts: jnp.mean(jax.vmap(one, (0, None))(ts, KEY))
    else:
        local, args, specs = (lambda t, k: one(t, k[0])), (THETA, keys), (P(), P("d"))
        plain = lambda t, ks: jnp.mean(jax.vmap(one, (None, 0))(t, ks))
    sharded = jax.shard_map(
        lambda *a: lax.pmean(local(*a), "d"), mesh=mesh, in_specs=specs, out_specs=P()
    )
    found, want = (jax.jit(jax.value_and_grad(f))(*args) for f in (sharded, plain))
    np.testing.assert_allclose(found[0], want[0], rtol=1e-5)
    np.testing.assert_allclose(found[1], want[1], rtol=1e-4, atol=1e-6)


def test_python_loops_and_sub_programs():
    def coin(logit):
        x = yield lt.sample(lt.Bernoulli(logit), lt.Enumerate())
        yield lt.cost(x)
        return x

    def main(logit):
        total = 0.0
        for _ in range(3):
            total = total + (yield from coin(logit + total))

    def exact(logit, total=0.0, left=3):
        if not left:
            return 0.0
        p = sigmoid(logit + total)
        return p * (1 + exact(logit, total + 1.0, left - 1)) + (1 - p) * exact(
            logit, total, left - 1
        )

    f = lambda t: lt.expect_program(KEY, main, t, num_samples=1)
    for d in (lambda f: f, jax.grad, lambda f: jax.grad(jax.grad(f))):
        np.testing.assert_allclose(jax.jit(d(f))(0.2), jax.jit(d(exact))(0.2), rtol=1e-5)


def test_draws_that_are_pytrees():
    pair = lt.distribution(
        lambda p, x: -0.5 * ((x["u"] - p) ** 2).sum() - 0.5 * (x["v"] - p) ** 2,
        lambda key, p: {
            "u": p + jax.random.normal(key, (2,)),
            "v": p + jax.random.normal(jax.random.fold_in(key, 1)),
        },
    )

    def main(p):
        x = yield lt.sample(pair(p), name="x")
        yield lt.cost(x["u"].sum() + x["v"])

    value = lambda p: lt.expect_program(KEY, main, p, num_samples=64, has_aux=True)
    (found, aux), gradient = jax.jit(jax.value_and_grad(value, has_aux=True))(1.0)
    assert jax.tree.map(jnp.shape, aux.draws) == {"x": {"u": (64, 2), "v": (64,)}}
    costs = aux.draws["x"]["u"].sum(1) + aux.draws["x"]["v"]
    scores = costs - 3.0  # Σ (x − p), p = 1
    others = (costs.sum() - costs) / 63
    np.testing.assert_allclose(found, costs.mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient, jnp.mean((costs - others) * scores), rtol=1e-5)


def test_the_standard_error_of_huge_and_of_tiny_costs():
    """Their squares are out of the range of float32."""
    error = lambda size: (
        lt.expect(KEY, lambda x: size * x, lt.Normal(0.0, 1.0), num_samples=100, has_aux=True)[
            1
        ].standard_error
    )
    np.testing.assert_allclose([error(1e30) / 1e30, error(1e-30) / 1e-30], error(1.0), rtol=1e-5)
    assert error(0.0) == 0
    many = standard_error(jnp.arange(100_000) % 2.0)  # n (n − 1) is no int32
    np.testing.assert_allclose(many, 0.5 / 99_999**0.5, rtol=1e-5)


def test_dtype_is_kept(x64):
    theta = np.asarray(THETA, np.float32)
    for how in ({}, {"chunk_size": 3}):
        assert jax.eval_shape(lambda t: value(t, **how), theta).dtype == jnp.float32


def chain(logits, key):
    """Bits whose logits depend on the sum of those before, each with a cost."""

    def main():
        z = 0.0
        for logit in logits:
            b = yield lt.sample(lt.Bernoulli(logit + 0.1 * z))
            z = z + b
            yield lt.cost((b - 0.45) ** 2)

    return lt.expect_program(key, main, num_samples=8)


@pytest.mark.parametrize(
    ("count", "size", "chunk"),
    [(4096, 1000, 128), (100_000, 100, 1250), (4099, 1000, 131), (4096, 10, None)],
)
def test_chunks_are_of_one_size_where_the_number_of_samples_allows_it(count, size, chunk):
    def program():
        x = yield lt.sample(lt.Normal(jnp.zeros(size), 1.0))
        yield lt.cost(jnp.sum(x))

    assert automatic_chunk(structure_of(start(program, ()), count), count, 1) == chunk


def test_compiled_text_is_linear_in_the_sites():
    """Twice the sites gave 3.4 times the text: XLA repeated the sum of the costs from a site on in each of its consumers."""

    def size(sites):
        traced = jax.jit(jax.value_and_grad(chain)).lower(jnp.zeros(sites), KEY)
        text = traced.compile().as_text()
        kernels = text[text.index("\nENTRY") :].count(" fusion(")
        return text.count("\n"), kernels

    (few, few_kernels), (many, many_kernels) = size(12), size(24)
    assert many < 2.2 * few
    # six kernels to a site; seven where terms of value zero are computed
    assert many_kernels - few_kernels <= 12 * 6


def test_tracing_is_linear_in_the_sites():
    """25 sites in a chain trace in under a second of one core, and four times the sites in less than eight times that."""

    def seconds(sites):
        start = time.process_time()
        jax.jit(jax.grad(chain)).trace(jnp.zeros(sites), KEY)
        return time.process_time() - start

    seconds(3)
    gc.collect()  # what other tests left behind is not ours to sweep while the clock runs
    gc.disable()
    try:
        few, many = min(seconds(25) for _ in range(3)), seconds(100)
    finally:
        gc.enable()
    assert few < 1.0 and many < 8 * few

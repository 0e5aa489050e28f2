"""Rows of one counter-based draw, bit for bit those of jax.random."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import noise
from logtrick._core.threefry import _wide_product
from logtrick.noise import KeyPerRun, NoNoise, StandardNormal, Uniform
from tests.core.x64 import double_precision

KEY = jax.random.key(7)
LAWS = {Uniform: jax.random.uniform, StandardNormal: jax.random.normal}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("shape", [(), (3,), (5, 2)])
def test_rows_are_those_of_jax_random(law, shape):
    whole = LAWS[law](KEY, (100, *shape))
    for start, count in ((0, 100), (0, 1), (37, 20), (99, 1)):
        assert np.array_equal(law(shape).rows(KEY, start, count, 100), whole[start : start + count])
    traced = jax.jit(lambda s: law(shape).rows(KEY, s, 8, 100))(jnp.uint32(40))
    assert np.array_equal(traced, whole[40:48])


@pytest.mark.parametrize("law", LAWS)
def test_rows_in_double_precision(law):
    with double_precision():
        whole = LAWS[law](KEY, (50, 3), jnp.float64)
        assert np.array_equal(law((3,), np.dtype("float64")).rows(KEY, 11, 30, 50), whole[11:41])
        assert law((3,)).rows(KEY, 0, 2, 2).dtype == jnp.float32


@pytest.mark.parametrize("law", LAWS)
def test_one_draw_is_jax_randoms(law):
    assert np.array_equal(law((4,)).one(KEY), LAWS[law](KEY, (4,)))


def test_half_precision_is_rounded_float32():
    half = StandardNormal((3,), np.dtype(jnp.bfloat16)).rows(KEY, 0, 4, 4)
    assert half.dtype == jnp.bfloat16
    assert np.array_equal(half, jax.random.normal(KEY, (4, 3)).astype(jnp.bfloat16))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("key", [KEY, jax.random.key(3, impl="rbg")])
def test_uniforms_in_half_precision_are_rounded_down(dtype, key):
    """Rounded to the nearest, one in 512 of bfloat16 was 1. Rounded down, u < p holds as often as in float32."""
    count = 4096 if key is KEY else 64
    half = Uniform((), np.dtype(dtype)).rows(key, 0, count, count)
    full = np.asarray(Uniform(()).rows(key, 0, count, count))
    assert half.dtype == dtype and np.all(half < 1)
    for p in (0.5, 0.01, 0.999):
        p = jnp.asarray(p, dtype)
        assert np.sum(half < p) == np.sum(full < float(p))
    inner = noise.interior(half)
    assert inner.dtype == dtype and np.all((inner > 0) & (inner < 1))
    with pytest.raises(
        ValueError, match=r"Uniform\(dtype=\w+\) has no mirror image of the same law"
    ):
        Uniform((), np.dtype(dtype)).reflect(half)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_a_dtype_that_jax_has_not_is_refused(law, dtype):
    """Float64 outside of 64-bit mode was all zeros, or −∞."""
    with pytest.raises(
        ValueError, match=rf"{law.__name__}\(dtype=…\) needs a float type .* {dtype}"
    ):
        law((3,), np.dtype(dtype)).rows(KEY, 0, 2, 2)


def test_counters_past_32_bits():
    """Far rows of a draw of more than 2³² words continue the 64-bit counter."""
    with double_precision():
        product = np.uint64(4_000_000_007) * np.uint64(3_000_000_019)
    high, low = _wide_product(jnp.uint32(4_000_000_007), 3_000_000_019)
    assert (int(high) << 32 | int(low)) == int(product)
    far = Uniform((4,)).rows(KEY, np.uint32(2**30 - 2), 4, 2**31)  # words 2³² − 8 … 2³² + 8
    near = Uniform((4,)).rows(KEY, np.uint32(2**30 - 2), 2, 2**30)
    assert np.array_equal(far[:2], near)
    assert not np.array_equal(
        far[2:], Uniform((4,)).rows(KEY, 0, 2, 2**30)
    )  # no wrap to the beginning


def test_too_large_a_block_says_chunk_size():
    with pytest.raises(ValueError, match=r"exceed 2\*\*32 in one block. Pass chunk_size"):
        jax.eval_shape(lambda: Uniform((2**20,)).rows(KEY, 0, 2**12, 2**12))


def test_other_keys_take_one_key_a_run():
    key = jax.random.key(3, impl="rbg")
    whole = StandardNormal((2,)).rows(key, 0, 10, 10)
    assert np.array_equal(StandardNormal((2,)).rows(key, 4, 3, 10), whole[4:7])
    assert np.array_equal(whole[4], jax.random.normal(jax.random.fold_in(key, 4), (2,)))


def test_keys_per_run_do_not_depend_on_the_block():
    whole, part = (
        jax.random.key_data(KeyPerRun().rows(KEY, s, n, 10)) for s, n in ((0, 10), (6, 3))
    )
    assert np.array_equal(part, whole[6:9])
    assert np.array_equal(whole[6], jax.random.key_data(jax.random.fold_in(KEY, 6)))


def test_several_noises_are_independent():
    spec = {"a": Uniform((2,)), "b": Uniform((2,)), "none": NoNoise()}
    drawn = noise.rows(spec, KEY, 0, 5, 5)
    assert drawn["none"] is None
    assert not np.array_equal(drawn["a"], drawn["b"])
    assert np.array_equal(noise.one(spec, KEY)["b"], drawn["b"][0])


BIT = lt.Bernoulli(0.0)  # 1 where the uniform is below 1/2
PLAIN = lt.ScoreFunction(lt.NoBaseline())


def injected(f):
    with noise.injected(jnp.array([0.1, 0.9, 0.8, 0.2])):
        return lt.expect(KEY, f, BIT, num_samples=4, estimator=PLAIN)


def test_injected_noise_is_for_one_site_of_one_expectation():
    """An expectation inside of f had the outer one's numbers: E x E y was E x²."""
    inner = lambda x, estimator: x * lt.expect(KEY, lambda y: y, BIT, estimator=estimator)
    assert injected(lambda x: x) == 0.5
    assert injected(lambda x: inner(x, lt.Enumerate())) == 0.25
    with pytest.raises(ValueError, match="gives the noise of one expectation; another one, inside"):
        injected(lambda x: inner(x, PLAIN))

    def pair():
        x = yield lt.sample(BIT)
        y = yield lt.sample(BIT)
        yield lt.cost(x * y)

    with noise.injected(jnp.full(4, 0.1)):
        with pytest.raises(ValueError, match="gives the noise of one random site; got a program"):
            lt.expect_program(KEY, pair, num_samples=4)
        with pytest.raises(ValueError, match="needs the structure of the site's noise"):
            lt.expect(KEY, lambda x: x["a"], lt.Joint({"a": BIT}), num_samples=4)


def test_in_shard_map_the_bits_and_the_gradient_are_those_of_one_device():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec

    def local(t, first):
        rows = StandardNormal((3,)).rows(KEY, first[0], 2, 8)
        return jax.lax.psum(jnp.sum(jnp.sin(t * rows)), "d")

    sharded = jax.shard_map(local, mesh=mesh, in_specs=(spec(), spec("d")), out_specs=spec())
    whole = lambda t: jnp.sum(jnp.sin(t * StandardNormal((3,)).rows(KEY, 0, 8, 8)))
    first = jnp.arange(0, 8, 2, dtype=jnp.uint32)
    got = jax.jit(jax.grad(sharded))(0.7, first)  # compiled as one
    assert got == pytest.approx(float(jax.jit(jax.grad(whole))(0.7)), rel=1e-5)

"""An expectation inside an expectation has noise of its own in every outer sample: its distinct numbers are counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import logtrick as lt

N = 8
KEY = jax.random.key(3)
PLAIN = lt.ScoreFunction(lt.NoBaseline())


def noise(key=KEY):
    """An expectation of one sample: its value is the number that it has drawn."""
    return lt.expect(key, lambda y: y, lt.Normal(0.0, 1.0), estimator=PLAIN, num_samples=1)


def outer(inner, **how):
    """The values of `inner()` in each outer sample, and the aux."""
    how = {"num_samples": N, "has_aux": True} | how
    _, aux = lt.expect(KEY, lambda x: inner() + 0.0 * x, lt.Normal(0.0, 1.0), **how)
    return aux


def distinct(values):
    return len(np.unique(np.asarray(values)))


def test_every_outer_sample_has_its_own():
    aux = jax.jit(lambda: outer(noise))()
    assert distinct(aux.costs) == N
    want = np.std(np.asarray(aux.costs)) / np.sqrt(N - 1)
    np.testing.assert_allclose(aux.standard_error, want, rtol=1e-5)
    assert not np.isin(np.asarray(aux.costs), np.asarray(aux.draws)).any()


def test_whatever_the_chunks():
    """A remainder too: the numbers belong to the samples, not to where they stand in a chunk."""
    whole, chunked = (jax.jit(lambda c=c: outer(noise, chunk_size=c))().costs for c in (None, 3))
    np.testing.assert_array_equal(whole, chunked)


def test_a_jitted_function_called_inside_and_outside():
    """What is traced at one place is not found in JAX's caches at the other."""
    inner = jax.jit(noise)
    before = inner(KEY)
    inside = jax.jit(lambda: outer(lambda: inner(KEY)).costs)()
    assert distinct(inside) == N
    assert inner(KEY) == before
    again = jax.jit(lambda: outer(lambda: inner(KEY), num_samples=4))().costs
    np.testing.assert_array_equal(again, inside[:4])


@pytest.mark.full  # the threefry of three levels compiles slowly
def test_three_deep():
    """N outer samples of 3 of 2: every one of the 6 N numbers is its own."""
    seen = []

    def innermost(y):
        def record(y):
            jax.debug.callback(lambda v: seen.append(float(v)), y)
            return y

        return lt.expect(KEY, record, lt.Normal(0.0 * y, 1.0), num_samples=2)

    middle = lambda: lt.expect(KEY, innermost, lt.Normal(0.0, 1.0), num_samples=3)
    jax.block_until_ready(jax.jit(lambda: outer(middle).costs)())
    jax.effects_barrier()
    assert len(seen) == 6 * N == len(set(seen))


def test_a_users_vmap_inside():
    """Lanes with keys of their own are distinct in each sample; lanes with one key share its number, within a sample."""
    keys = jax.random.split(KEY, 3)
    lanes = jax.jit(lambda: lanes_of(keys))()
    assert lanes.shape == (N, 3)
    assert distinct(lanes) == 3 * N
    one = jnp.broadcast_to(keys[0], (3,))
    assert distinct(jax.jit(lambda: lanes_of(one))()) == N


def lanes_of(keys):
    def f(x):
        return tuple(jax.vmap(noise)(keys) + 0.0 * x)

    _, aux = lt.expect(KEY, f, lt.Normal(0.0, 1.0), num_samples=N, has_aux=True)
    return jnp.stack(aux.costs, -1)


def test_in_a_users_vmap_outside():
    """Lanes with one key agree; with keys of their own, all is distinct."""
    many = jax.jit(jax.vmap(lambda key: with_key(key)))
    assert distinct(many(jax.random.split(KEY, 3))) == 3 * N
    assert distinct(many(jnp.broadcast_to(KEY, (3,)))) == N


def with_key(key):
    nested = lambda x: noise(key) + 0.0 * x
    return lt.expect(key, nested, lt.Normal(0.0, 1.0), num_samples=N, has_aux=True)[1].costs


def test_in_a_users_shard_map():
    """Four devices with keys of their own: the same numbers as one by one."""
    mesh = Mesh(np.array(jax.devices()[:4]), ("i",))
    keys = jax.random.split(KEY, 4)
    spec = PartitionSpec("i")

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=spec, out_specs=spec)
    def sharded(keys):
        return with_key(keys[0])

    got = np.asarray(sharded(keys))
    assert distinct(got) == 4 * N
    want = jax.jit(jax.vmap(with_key))(keys)
    np.testing.assert_allclose(got, np.asarray(want).reshape(-1), rtol=1e-6)


def test_in_a_program_in_its_loops_and_plates():
    def program():
        yield lt.cost(noise(), name="before")
        a = yield lt.sample(lt.Bernoulli(0.0), lt.Enumerate())
        yield lt.cost(noise() * (1 + 0 * a), name="points")

        def step(carry, _):
            b = yield lt.sample(lt.Bernoulli(0.0))
            yield lt.cost(noise() + 0 * b, name="step")
            return carry, None

        yield lt.scan(step, 0.0, length=2, name="loop")
        key = yield lt.fresh_key()
        yield lt.cost(jax.random.normal(key), name="fresh")

    run = lambda: lt.expect_program(KEY, program, num_samples=N, has_aux=True)[1].costs
    costs = jax.jit(run)()
    assert distinct(costs["before"]) == N
    # the points of one sample see common random numbers
    np.testing.assert_allclose(costs["points"], costs["before"], rtol=1e-6)
    assert distinct(costs["loop.step"]) == 2 * N
    assert distinct(costs["fresh"]) == N


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_a_key_of_each_samples_own(chunk_size):
    def run(f):
        how = {"num_samples": N, "has_aux": True, "chunk_size": chunk_size}
        return lt.expect(KEY, f, lt.Normal(0.0, 1.0), **how)[1]

    aux = jax.jit(lambda: run(lambda x, key: jax.random.normal(key)))()
    assert distinct(aux.costs) == N
    without = jax.jit(lambda: run(lambda x: x))()
    np.testing.assert_allclose(aux.draws, without.draws, rtol=1e-6)  # two programs: to rounding


def test_the_gradient_of_a_nested_expectation(x64):
    """E_a[(E_b[b | a])²], enumerated outside: the inner samples are independent of the outer ones, so the mean is exact."""

    def value(t, key):
        def f(a):
            product = 1.0
            for i in (0, 1):  # two independent estimates of the inner mean
                inner = jax.random.fold_in(key, i)
                product *= lt.expect(inner, lambda b: b, lt.Bernoulli(t[1] + a), num_samples=2)
            return product

        return lt.expect(key, f, lt.Bernoulli(t[0]), estimator=lt.Enumerate(), num_samples=1)

    def exact(t):
        p, s = jax.nn.sigmoid(t[0]), jax.nn.sigmoid
        return (1 - p) * s(t[1]) ** 2 + p * s(t[1] + 1) ** 2

    t = jnp.array([0.3, -0.4])
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(t, keys)
    lt.testing.assert_unbiased(np.asarray(draws), np.asarray(jax.grad(exact)(t)), resolve=0.1)

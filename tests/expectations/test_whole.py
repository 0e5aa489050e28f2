"""Expectations as a whole: programs without draws, samples on a mesh, chunks that come by themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

import logtrick as lt

KEY = jax.random.key(0)


# --- programs without draws


def closed_form(t):
    yield lt.cost(t**2, name="square")

    def step(carry, x):
        yield lt.cost(carry * x)
        return carry + 1.0, None

    yield lt.scan(step, t, jnp.arange(3.0))
    yield lt.cost(1.0)


def total(t):
    return t**2 + (t + 1) + 2 * (t + 2) + 1.0


def test_a_program_without_draws_is_the_sum_of_its_costs():
    value = lambda t: lt.expect_program(KEY, closed_form, t, num_samples=5)
    for order in (lambda g: g, jax.grad, jax.hessian):
        np.testing.assert_allclose(jax.jit(order(value))(0.7), order(total)(0.7), rtol=1e-6)


@pytest.mark.parametrize("how", [{}, {"chunk_size": 2}, {"num_samples": 1}])
def test_its_standard_error_is_zero(how):
    options = {"num_samples": 5, "has_aux": True} | how
    value, aux = lt.expect_program(KEY, closed_form, 0.7, **options)
    np.testing.assert_allclose(value, total(0.7), rtol=1e-6)
    assert aux.standard_error == 0
    assert dict(aux.draws) == {}
    np.testing.assert_allclose(aux.costs["square"], [0.49], rtol=1e-6)


# --- a mesh


@pytest.mark.parametrize("chunk_size", [None, 8])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_samples_on_a_mesh(devices, chunk_size):
    """The same draws on any layout, and the same gradient to rounding."""
    mesh = Mesh(np.array(jax.devices()[:devices]), ("d",))

    def run(mu, mesh):
        how = {"num_samples": 16, "chunk_size": chunk_size, "has_aux": True, "mesh": mesh}
        value, aux = lt.expect(KEY, lambda x: jnp.sum(x**2), lt.Normal(mu, 1.0), **how)
        return value, aux.draws

    mu = jnp.array([0.3, -1.0, 0.5])
    once = lambda m: jax.jit(jax.value_and_grad(lambda mu: run(mu, m), has_aux=True))(mu)
    (value, draws), grad = once(mesh)
    (want, drawn), want_grad = once(None)
    np.testing.assert_array_equal(draws, drawn)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    np.testing.assert_allclose(grad, want_grad, rtol=1e-6, atol=1e-6)
    if devices > 1 and chunk_size is None:
        assert len(draws.sharding.device_set) == devices


def test_a_number_of_samples_that_the_mesh_does_not_divide():
    mesh = Mesh(np.array(jax.devices()[:4]), ("d",))
    with pytest.raises(ValueError, match=r"num_samples=…\) needs a multiple of the 4 devices"):
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), num_samples=6, mesh=mesh)


# --- chunks that come by themselves


def largest(jaxpr):
    """The size of the largest array in a jaxpr, its parts included."""
    sizes = [1]
    for eqn in jaxpr.eqns:
        sizes += [int(np.prod(v.aval.shape)) for v in eqn.outvars if hasattr(v.aval, "shape")]
        for part in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns") or hasattr(p, "jaxpr")
        ):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                sizes.append(largest(inner))
    return max(sizes)


def size_of(num_samples, **how):
    def value(mu):
        return lt.expect(KEY, jnp.sum, lt.Normal(mu, 1.0), num_samples=num_samples, **how)

    return largest(jax.make_jaxpr(jax.grad(value))(jnp.zeros(256)).jaxpr)


def test_no_more_than_a_block_at_a_time():
    """2²⁰ numbers: in blocks of 2¹⁷; whole where that is asked for, or where there are fewer."""
    assert size_of(4096) <= 2**17
    assert size_of(4096, chunk_size=4096) >= 2**20
    assert size_of(4095) == 4095 * 256


@pytest.mark.parametrize("num_samples", [1_000, 1_003, 1_001])
def test_chunks_of_a_value_alone_keep_one_number_each(num_samples):
    """The memory of value and gradient does not grow with the samples; a smaller last chunk has its weight."""
    cost = lambda x: (x - 1.0) ** 2

    def value(mu, count, **how):
        return lt.expect(KEY, cost, lt.Normal(mu, 1.0), num_samples=count, chunk_size=100, **how)

    whole, _ = value(0.3, num_samples, has_aux=True)
    np.testing.assert_allclose(value(0.3, num_samples), whole, rtol=1e-6)

    def temporary(count):
        step = jax.jit(jax.value_and_grad(lambda mu: value(mu, count)))
        return step.lower(0.3).compile().memory_analysis().temp_size_in_bytes

    assert temporary(100 * num_samples) < temporary(num_samples) + 8 * num_samples


def test_a_block_has_the_same_draws():
    def draws(chunk_size):
        how = {"num_samples": 4096, "chunk_size": chunk_size, "has_aux": True}
        return lt.expect(KEY, lambda x: x[0], lt.Normal(jnp.zeros(256), 1.0), **how)[1].costs

    np.testing.assert_array_equal(draws(None), draws(4096))

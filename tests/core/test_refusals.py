"""Which arguments refuse a derivative, read from jaxprs: the same that JAX raises for, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.kernel import first_order, refuse, stop
from logtrick._core.materialize import computed_once
from logtrick._core.refusals import refusals

guard = lambda x: refuse(x, "not this one", ValueError)


def host(x):
    return jax.pure_callback(
        np.sin, jax.ShapeDtypeStruct((), jnp.float32), x, vmap_method="sequential"
    )


@jax.custom_jvp
def with_a_rule(x):
    return host(x)


with_a_rule.defjvp(lambda primals, tangents: (host(primals[0]), tangents[0] * 0.5))


def in_a_scan(x, y):
    """y reaches the guard only in the second step."""

    def step(carry, _):
        first, second = carry
        return (second, guard(first) * 1.0), first

    return jax.lax.scan(step, (0.0, y), None, length=2)[0][1] + x


def in_a_while(x, y):
    """The guard sees y after one step; x is in the condition alone."""
    body = lambda state: (state[0] + 1.0, guard(state[2]), state[2])
    return jax.lax.while_loop(lambda state: state[0] < x, body, (0.0, 0.0, y))[1]


CASES = {
    "none": (lambda x, y: x * y, set()),
    "a guard": (lambda x, y: x + guard(y), {1}),
    "of both": (lambda x, y: guard(x * y), {0, 1}),
    "a sum computed once": (lambda x, y: computed_once(x * y * jnp.ones(())), set()),
    "a guard after one": (lambda x, y: x + guard(computed_once(y * jnp.ones(()))), {1}),
    "stopped": (lambda x, y: x + guard(stop(y)), set()),
    "steps": (lambda x, y: x + guard(jnp.floor(y)), set()),
    "an integer": (lambda x, y: x * guard(1.0 * (y > 0.0)), set()),
    "a host function": (lambda x, y: x + host(y), {1}),
    "with a rule": (lambda x, y: x + with_a_rule(y), set()),
    "a black box": (lambda x, y: x + lt.black_box(np.sin)(y), {1}),
    "jit": (jax.jit(lambda x, y: x * 2.0 + guard(y)), {1}),
    "checkpoint": (jax.checkpoint(lambda x, y: x * 2.0 + guard(y)), {1}),
    "cond": (lambda x, y: jax.lax.cond(x > 0.0, lambda z: guard(z), lambda z: z, y), {1}),
    "scan": (in_a_scan, {1}),
    "while": (in_a_while, {1}),
    "vmap": (lambda x, y: jnp.sum(jax.vmap(lambda z: guard(z) + x)(jnp.stack([y, 2 * y]))), {1}),
    "a second derivative": (lambda x, y: jax.grad(lambda x: x * guard(1.0) ** 2)(x) * y, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_that_jax_raises_for(name):
    function, want = CASES[name]
    assert set(refusals(function, 0.3, 0.7)) == want
    for number in (0, 1):
        derivative = lambda t, number=number: jax.jvp(
            lambda z: function(*(z if i == number else (0.3, 0.7)[i] for i in (0, 1))), (0.3,), (t,)
        )
        if number in want:
            with pytest.raises((TypeError, ValueError)):
                jax.eval_shape(derivative, 1.0)
        else:
            jax.eval_shape(derivative, 1.0)


def test_the_error_and_the_place_among_all_leaves():
    found = refusals(
        lambda tree, y: tree["a"] + guard(y[1]) + host(tree["b"]), {"a": 1.0, "b": 2.0}, [3, 4.0]
    )
    assert list(found) == [3, 1]
    assert found[3] == (ValueError, "not this one")
    assert found[1].message.startswith(
        "jax.pure_callback was differentiated, and a host function has no"
    )


def test_of_a_derivative():
    """A first-order term may be differentiated once: its first derivative refuses the second."""
    term = lambda c, x: first_order("Mine", c, x)
    assert refusals(term, 2.0, 3.0) == {}
    found = refusals(jax.grad(term, 1), 2.0, 3.0)
    assert {number: refusal.kind for number, refusal in found.items()} == {
        0: lt.DerivativeOrderError,
        1: lt.DerivativeOrderError,
    }

"""Wherever an expectation stands it is right: against a surrogate in plain JAX of the same draws, number by number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import sigmoid

import logtrick as lt
from logtrick import noise
from logtrick._core import keys
from logtrick._core.samples import over_samples, own_key

KEY, RUNS = jax.random.key(0), 3
stop = lax.stop_gradient


def cost(x, logit):
    return (x - 0.3) ** 2 * jnp.sin(logit) + x * logit


def ours(f, logit):
    return lt.expect(KEY, f, lt.Bernoulli(logit), num_samples=RUNS)


def by_hand(f, logit):
    """exp(log p − stop(log p)) has no rule of its own that a transformation could lose."""
    at = jax.random.fold_in(jax.random.fold_in(own_key(KEY), keys.SAMPLE), 0)
    x = (noise.rows(lt.Bernoulli(logit).noise_spec, at, 0, RUNS, RUNS) < sigmoid(stop(logit))) * 1.0
    # each sample of an expectation within which another one stands has noise of its own there
    one = lambda _, x: (f(x), x * logit - jax.nn.softplus(logit))
    fs, log_probs = over_samples(one, RUNS, x)
    box, held = jnp.exp(log_probs - stop(log_probs)), stop(fs)
    others = (held.sum() - held) / (RUNS - 1)
    return (fs * box + others * (1 - box)).mean()


def in_a_custom_vjp(e):
    one = lambda l: e(lambda x: cost(x, l), l)

    @jax.custom_vjp
    def h(y, l):
        return y * one(l)

    h.defvjp(
        lambda y, l: (y * one(l), (y, l)),
        lambda r, g: (g * one(r[1]), g * r[0] * jax.grad(one)(r[1])),
    )
    return lambda l: h(jnp.sin(l), l)


def in_another_cost(e):
    return lambda l: e(lambda x: e(lambda y: cost(y, l + x), l + x) * x, l)


def root(one):
    solve = lambda f, y: lax.fori_loop(0, 60, lambda _, y: y - f(y), y)
    return lambda l: lax.custom_root(
        lambda y: y - 0.3 * one(l) - 0.1 * jnp.sin(y), 0.1, solve, lambda g, y: y / g(1.0)
    )


PLACES = {
    "scan": lambda f: lambda l: lax.scan(lambda c, x: (0.5 * c + f(l * x + 0.1 * c), None), 0.0, jnp.arange(1.0, 4.0))[0],
    "scan in cond": lambda f: lambda l: lax.cond(
        jnp.sin(l) > 0, lambda l: lax.scan(lambda c, _: (f(l + 0.1 * c), None), 0.0, length=3)[0], jnp.cos, l
    ),
    "jit in scan in jit": lambda f: jax.jit(
        lambda l: lax.scan(jax.jit(lambda c, _: (c * f(l), f(c))), 1.0, length=2)[1].sum()
    ),
    "checkpoint": lambda f: jax.checkpoint(lambda l: f(l) * f(2 * l)),
    "checkpointed scan": lambda f: lambda l: lax.scan(jax.checkpoint(lambda c, _: (f(c), None)), l, length=3)[0],
    "vmap": lambda f: lambda l: jax.vmap(f)(l * jnp.arange(1.0, 4.0)).sum(),
    "switch under vmap": lambda f: lambda l: jax.vmap(
        lambda i: lax.switch(i, [f, lambda x: f(2 * x), jnp.sin], l)
    )(jnp.arange(3)).sum(),
    "inner grad": lambda f: lambda l: jax.grad(lambda m: f(m * l))(0.7),
    "associative scan": lambda f: lambda l: lax.associative_scan(jnp.add, jax.vmap(f)(l * jnp.arange(1.0, 4.0))).sum(),
    "custom root": root,
}  # fmt: skip
WHOLE = {
    "custom_vjp": in_a_custom_vjp,
    "another cost": in_another_cost,
    "another cost under vmap": lambda e: (
        lambda l: jax.vmap(in_another_cost(e))(l * jnp.arange(1.0, 3.0)).sum()
    ),
    **{
        name: lambda e, place=place: place(lambda l: e(lambda x: cost(x, l), l))
        for name, place in PLACES.items()
    },
}


def derivatives(f, forward):
    found = {"grad": jax.grad(f)}
    if not forward:
        found["grad of grad"] = jax.grad(jax.grad(f))
    else:
        found["grad of jvp"] = jax.grad(lambda l: jax.jvp(f, (l,), (1.0,))[1])
        found["jvp of grad"] = lambda l: jax.jvp(jax.grad(f), (l,), (1.0,))[1]
        found["linearize"] = lambda l: jax.linearize(f, l)[1](1.0)
    return jax.jit(lambda l: {"value": f(l), **{name: d(l) for name, d in found.items()}})


COVERING = (
    "custom_vjp",
    "another cost under vmap",
    "scan in cond",
    "jit in scan in jit",
    "checkpointed scan",
)
FULL = [pytest.param(name, marks=pytest.mark.full) for name in WHOLE if name not in COVERING]


@pytest.mark.parametrize("where", [*COVERING, *FULL])
def test_right_wherever_it_stands(x64, where):
    forward = where != "custom_vjp"  # JAX has no forward mode there
    found, want = (derivatives(WHOLE[where](e), forward)(0.3) for e in (ours, by_hand))
    for name in want:
        np.testing.assert_allclose(found[name], want[name], rtol=1e-9, atol=1e-11, err_msg=name)
    assert all(abs(number) > 1e-3 for number in want.values())


def test_in_a_while_loop_in_forward_mode(x64):
    def looped(e):
        f = lambda l: e(lambda x: cost(x, l), l)
        return lambda l: lax.while_loop(
            lambda s: s[0] < 3, lambda s: (s[0] + 1, f(l + 0.1 * s[1])), (0, 0.2)
        )[1]

    found, want = (
        jax.jit(lambda l: (jax.jacfwd(g)(l), jax.jacfwd(jax.jacfwd(g))(l)))(0.3)
        for g in map(looped, (ours, by_hand))
    )
    np.testing.assert_allclose(found, want, rtol=1e-9)


def test_a_box_in_cond_under_vmap(x64):
    """Some lanes score, others do not; every derivative of t³ / stop(t³) times a lane's own number."""
    box = lambda l: lt.magic_box(l)
    ratio = lambda l: jnp.exp(l - stop(l))

    def total(b):
        lane = lambda i, t: lax.cond(i > 0, lambda t: i * b(3 * jnp.log(t)), lambda t: t**2, t)
        return lambda t: jax.vmap(lane, (0, None))(jnp.arange(3.0), t).sum()

    for derivative in (
        jax.grad,
        lambda f: jax.grad(jax.grad(f)),
        lambda f: jax.jacfwd(jax.grad(f)),
        jax.jacfwd,
    ):
        found, want = (jax.jit(derivative(total(b)))(2.0) for b in (box, ratio))
        np.testing.assert_allclose(found, want, rtol=1e-12)

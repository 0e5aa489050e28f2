"""No silent zero: a draw that no estimator accounts for raises when it is differentiated, wherever it stands."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec as P

import logtrick as lt

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 3)
stop = lax.stop_gradient


def coin(p, key=KEY):
    return lt.Bernoulli(p).sample(key)


def own(p, key=KEY):
    """A user's family, its parameters an argument."""
    family = lt.distribution(
        lambda q, x: x * q["logit"] - jax.nn.softplus(q["logit"]),
        lambda key, q: (jax.random.uniform(key) < jax.nn.sigmoid(q["logit"])) * 1.0,
    )
    return family({"logit": p, "count": jnp.arange(3), "key": KEY, "none": None}).sample(key)


def closing(p, key=KEY):
    """A user's family that closes over the parameter."""
    sampler = lambda key, q: (jax.random.uniform(key) < jax.nn.sigmoid(p)) * 1.0
    return lt.distribution(lambda q, x: x * p, sampler)(()).sample(key)


SAMPLERS = {"coin": coin, "own": own, "closing": closing}

WHERE = {
    "grad": jax.grad,
    "forward": jax.jacfwd,
    "jit": lambda f: jax.grad(jax.jit(f)),
    "jit outside": lambda f: jax.jit(jax.grad(f)),
    "scan": lambda f: jax.grad(lambda p: lax.scan(lambda c, k: (c + f(p, k), None), 0.0, KEYS)[0]),
    "vmap": lambda f: lambda p: jax.vmap(jax.grad(f))(jnp.stack([p, p])),
    "grad of vmap": lambda f: jax.grad(lambda p: jax.vmap(lambda k: f(p, k))(KEYS).sum()),
    "cond": lambda f: jax.grad(lambda p: lax.cond(jnp.sin(1.0) > 0, f, lambda p: p, p)),
    "while, forward": lambda f: jax.jacfwd(
        lambda p: lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, f(p)), (0, 0.0))[1]
    ),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f)),
    "checkpointed scan": lambda f: jax.grad(
        lambda p: lax.scan(jax.checkpoint(lambda c, k: (c + f(p, k), None)), 0.0, KEYS)[0]
    ),
    "linearize": lambda f: lambda p: jax.linearize(f, p)[1](1.0),
    "inner grad inside an outer": lambda f: jax.grad(
        lambda p: jax.grad(lambda w: w**2 * f(p))(2.0)
    ),
    "forward over reverse": lambda f: jax.jacfwd(lambda p: jax.grad(lambda w: w**2 * f(p))(2.0)),
    "reverse over forward": lambda f: jax.grad(lambda p: jax.jacfwd(lambda w: w**2 * f(p))(2.0)),
    "a branch that is not taken": lambda f: jax.grad(
        lambda p: lax.cond(jnp.sin(1.0) < 0, f, lambda p: p, p)
    ),
    "compiled before": lambda f: (lambda compiled: (compiled(0.3), jax.grad(compiled))[1])(
        jax.jit(f)
    ),
    "associative scan": lambda f: jax.grad(
        lambda p: lax.associative_scan(jnp.add, jax.vmap(lambda k: f(p, k))(KEYS)).sum()
    ),
    "custom root": lambda f: jax.grad(
        lambda p: lax.custom_root(
            lambda y: y - f(p), 0.1, lambda g, y: y - g(y), lambda g, y: y / g(1.0)
        )
    ),
    "shard_map": lambda f: jax.jit(
        jax.grad(
            lambda p: jax.shard_map(
                lambda p, k: f(p, k[0])[None],
                mesh=Mesh(jax.devices()[:3], ("d",)),
                in_specs=(P(), P("d")),
                out_specs=P("d"),
            )(p, KEYS).sum()
        )
    ),
    "in a program": lambda f: jax.grad(
        lambda p: lt.expect(KEY, lambda x: x * f(p), lt.Bernoulli(0.0), estimator=lt.Enumerate())
    ),
    "in a loop of a program": lambda f: jax.grad(lambda p: looped(f, p)),
    "in an eligibility trace": lambda f: lambda p: traced(f, p),
}


def looped(f, p):
    def step(carry, _):
        x = yield lt.sample(lt.Bernoulli(0.0))
        yield lt.cost(x * f(p))
        return carry, None

    def program():
        yield lt.scan(step, 0.0, length=2)

    return lt.expect_program(KEY, program, num_samples=2)


def traced(f, p):
    def step(left, p):
        x = yield lt.sample(lt.Bernoulli(0.0))
        yield lt.cost(x * f(p))
        return left - 1

    return lt.eligibility_trace(KEY, lambda left: left > 0, step, 2, p, num_samples=2)


@pytest.mark.parametrize("where", WHERE)
def test_raises_wherever_it_stands(where):
    with pytest.raises(
        lt.UnaccountedRandomnessError, match="Bernoulli.sample was differentiated.*Use lt.expect"
    ):
        jax.block_until_ready(WHERE[where](coin)(0.3))


@pytest.mark.parametrize(
    "where", ["grad", "forward", "jit", "scan", "grad of vmap", "checkpointed scan"]
)
@pytest.mark.parametrize("sampler", ["own", "closing"])
def test_users_families(where, sampler):
    with pytest.raises(lt.UnaccountedRandomnessError, match="sample was differentiated"):
        WHERE[where](SAMPLERS[sampler])(0.3)


def test_a_distribution_handed_in():
    """The derivative with respect to the distribution itself."""
    with pytest.raises(lt.UnaccountedRandomnessError):
        jax.grad(lambda dist: dist.sample(KEY))(lt.Bernoulli(0.3))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_silent_where_nothing_is_lost(sampler):
    f = SAMPLERS[sampler]
    assert f(0.3) in (0.0, 1.0) and jax.jit(f)(0.3) in (0.0, 1.0)
    assert jax.grad(lambda p: f(stop(p)) * p)(0.3) == f(0.3)
    assert jax.grad(lambda w: w**2 * f(0.3))(2.0) == 4.0 * f(0.3)
    grad_in_w = lambda w: lax.scan(lambda c, k: (c + w * f(0.3, k), None), 0.0, KEYS)[0]
    assert jax.grad(grad_in_w)(1.0) == sum(f(0.3, k) for k in KEYS)
    assert jax.jvp(lambda w: w * f(0.3), (2.0,), (1.0,))[1] == f(0.3)


def test_reparameterised_families_by_hand_are_pathwise():
    x = lt.Normal(0.0, 1.0).sample(KEY)
    np.testing.assert_allclose(
        jax.grad(lambda s: lt.Normal(0.3, s).sample(KEY) ** 2)(2.0),
        2 * (0.3 + 2 * x) * x,
        rtol=1e-5,
    )


def test_limit_a_users_own_rule_hides_the_sampler():
    """Documented: JAX does not look inside a custom rule, so neither can the guard."""

    @jax.custom_jvp
    def hidden(p):
        return coin(p)

    hidden.defjvp(lambda p, t: (hidden(*p), jnp.zeros_like(t[0])))
    assert jax.grad(hidden)(0.3) == 0.0


def test_limit_a_stopped_gradient_under_an_outer_one():
    """Documented: stop(grad(f)(p)) raises under an outer grad; grad(f)(stop(p)) is the way to write it."""
    f = lambda p, w: w**2 * coin(p)
    inner = jax.grad(f, 1)
    with pytest.raises(lt.UnaccountedRandomnessError):
        jax.grad(lambda p: stop(inner(p, 2.0)) * p)(0.3)
    assert jax.grad(lambda p: inner(stop(p), 2.0) * p)(0.3) == 4.0 * coin(0.3)

"""A site is credited with what depends on its draw, through whatever JAX code, and with nothing that provably does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.nn import sigmoid

import logtrick as lt
from logtrick.programs import start, structure_of
from tests.programs.exact import estimate

SCALAR = jax.ShapeDtypeStruct((), jnp.float32)


@jax.custom_jvp
def smooth(x):
    return x + 1.0


smooth.defjvp(lambda p, t: (smooth(*p), t[0]))


@jax.custom_vjp
def odd(x):
    return 2.0 * x


odd.defvjp(lambda x: (odd(x), None), lambda _, g: (g,))


def printed(x):
    jax.debug.print("{}", x)
    return x + 1.0


def through_closure(x):
    """A user's family whose sampler closes over the draw, not one of its parameters."""
    family = lt.distribution(
        lambda p, y: -0.5 * (y - x) ** 2, lambda key, p: jax.random.normal(key) + x
    )
    return family(())


def through_reference(x):
    cell = jax.new_ref(jnp.zeros(()))
    cell[...] = x
    return cell[...]


def through_host(x):
    """Through state that only the host has."""
    store = []
    io_callback(lambda v: store.append(v), None, x, ordered=True)
    return io_callback(lambda: np.float32(1.0), SCALAR, ordered=True)


WAYS = {
    "plain": lambda x: 3.0 * x,
    "jit": jax.jit(lambda x: 3.0 * x),
    "nested jit": jax.jit(lambda x: jax.jit(jnp.sin)(x) + 1.0),
    "vmap": lambda x: jax.vmap(lambda y: x * y)(jnp.arange(3.0)).sum(),
    "scan carry": lambda x: lax.scan(lambda c, _: (c + x, None), 0.0, length=3)[0],
    "scan xs": lambda x: lax.scan(lambda c, y: (c, y), 0.0, jnp.stack([x, x]))[1].sum(),
    "scan, late": lambda x: lax.scan(lambda c, _: ((c[1], x), None), (0.0, 0.0), length=3)[0][0],
    "cond predicate": lambda x: lax.cond(x > 0.5, lambda: 1.0, lambda: 2.0),
    "cond operand": lambda x: lax.cond(True, lambda y: y, lambda y: 0.0, x),
    "switch": lambda x: lax.switch(x.astype(int), [lambda: 1.0, lambda: 5.0]),
    "while test": lambda x: lax.while_loop(lambda s: s < 3 * x, lambda s: s + 1.0, 0.0),
    "while body": lambda x: lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] + x), (0, 0.0)
    )[1],
    "fori": lambda x: lax.fori_loop(0, 3, lambda i, s: s + x, 0.0),
    "custom_jvp": smooth,
    "custom_vjp": odd,
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x)),
    "pure_callback": lambda x: jax.pure_callback(
        lambda v: np.float32(2) * v, SCALAR, lax.stop_gradient(x), vmap_method="sequential"
    ),
    "stop_gradient": lax.stop_gradient,
    "print": printed,
    "index": lambda x: jnp.arange(4.0)[x.astype(int)],
    "sort": lambda x: jnp.sort(jnp.stack([x, jnp.full((), 0.5)]))[0],
    "inner grad": jax.grad(lambda x: x**2),
}
if hasattr(jax, "new_ref"):
    WAYS["reference"] = through_reference


def credits(program):
    found = structure_of(start(program, ()), 2)
    return found.credit.costs


@pytest.mark.parametrize("way", WAYS)
def test_directly_and_through_a_later_distribution(way):
    g = WAYS[way]

    def program():
        a = yield lt.sample(lt.Bernoulli(0.3))
        b = yield lt.sample(lt.Bernoulli(-0.2))
        c = yield lt.sample(lt.Bernoulli(g(a)))
        yield lt.cost(g(a))
        yield lt.cost(b)
        yield lt.cost(c)
        yield lt.cost(g(b) + c)

    assert credits(program) == [(0,), (1,), (0, 2), (0, 1, 2)]


@pytest.mark.parametrize(
    "way", [w for w in WAYS if w not in ("reference", "print", "pure_callback")]
)
def test_the_gradient_is_there(x64, way):
    """Both cells of one coin: d/dt E[g(a)] = p(1 − p)(g(1) − g(0)), through a cost and through a later coin."""
    g, t = WAYS[way], jnp.asarray(0.3)
    p = sigmoid(t)

    def program(t):
        a = yield lt.sample(lt.Bernoulli(t), lt.ScoreFunction(lt.NoBaseline()))
        c = yield lt.sample(lt.Bernoulli(g(a)), lt.Enumerate())
        yield lt.cost(g(a) + c)

    gradient = jax.jit(
        jax.grad(lambda t, u: estimate(lambda: program(t), [jnp.full((1,), u), None], 1))
    )
    found = p * gradient(t, -1.0) + (1 - p) * gradient(t, 2.0)
    high, low = (g(jnp.asarray(x)) for x in (1.0, 0.0))
    want = p * (1 - p) * (high + sigmoid(high) - low - sigmoid(low))
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-10)


def test_state_that_the_jaxpr_does_not_show():
    def program():
        a = yield lt.sample(lt.Bernoulli(0.3))
        b = yield lt.sample(lt.Bernoulli(0.3))
        yield lt.cost(through_host(a))
        yield lt.cost(b)

    assert credits(program) == [(0,), (1,)]


def test_closures_of_users_families():
    def program():
        a = yield lt.sample(lt.Bernoulli(0.3))
        z = yield lt.sample(through_closure(a))
        yield lt.cost(z)
        half = lt.distribution(
            lambda p, y: -0.5 * (y - a) ** 2, lambda key, p: jax.random.normal(key)
        )
        w = yield lt.sample(half(()))  # only its density closes over the draw
        yield lt.cost(w)

    assert credits(program) == [(0, 1), (0, 2)]


def test_an_estimator_made_from_a_draw():
    """What an estimator makes of its parameters is part of the draw's law: a temperature, a proposal."""

    class Tempered(lt.Estimator):
        temperature: jax.Array

        def draw(self, noise, dist):
            return lt.Points(dist.draw(noise) * self.temperature, dist)

        def close(self, costs, points, runs):
            return costs

    def program():
        a = yield lt.sample(lt.Bernoulli(0.3))
        b = yield lt.sample(lt.Bernoulli(0.3), Tempered(1.0 + a))
        yield lt.cost(b)

    assert credits(program) == [(0, 1)]


TIGHT = {
    "jit": jax.jit(lambda x, y: (x + 1.0, y * 2.0)),
    "print": lambda x, y: (printed(x), y * 2.0),
    "jit with a print": jax.jit(lambda x, y: (jax.debug.print("{} {}", x, y), x, y)[1:]),
    "custom_jvp": lambda x, y: (smooth(x), smooth(y)),
    "scan": lambda x, y: lax.scan(lambda c, _: ((c[0] + x, c[1] + y), None), (0.0, 0.0), length=2)[
        0
    ],
    "while": lambda x, y: lax.while_loop(
        lambda s: s[2] < 3, lambda s: (s[0] + x, s[1] + y, s[2] + 1), (x, y, 0)
    )[:2],
    "cond": lambda x, y: lax.cond(True, lambda x, y: (x, y), lambda x, y: (x + 1, y + 1), x, y),
    "checkpoint": jax.checkpoint(lambda x, y: (jnp.sin(x), jnp.sin(y))),
}


@pytest.mark.parametrize("way", TIGHT)
def test_nothing_is_credited_that_does_not_depend(way):
    def program():
        a = yield lt.sample(lt.Bernoulli(0.3))
        b = yield lt.sample(lt.Bernoulli(0.3))
        x, y = TIGHT[way](a, b)
        yield lt.cost(x)
        yield lt.cost(y)
        yield lt.cost(1.0)

    assert credits(program) == [(0,), (1,), ()]


def test_independent_sites_do_not_add_to_each_others_variance():
    """Two coins, a cost each: with credit the gradient of the first has no noise of the second, which is a thousand."""

    def program(logits):
        for logit, scale in zip(logits, (1.0, 1000.0)):
            x = yield lt.sample(lt.Bernoulli(logit), lt.ScoreFunction(lt.NoBaseline()))
            yield lt.cost(scale * x)

    value = lambda k, l: lt.expect_program(k, program, l, num_samples=1)
    gradient = jax.jit(jax.vmap(lambda k: jax.grad(value, 1)(k, jnp.zeros(2))))
    assert jnp.var(gradient(jax.random.split(jax.random.key(0), 256))[:, 0]) < 0.1

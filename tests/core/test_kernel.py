"""The primitives: right at every order, in every transformation, and silent or loud where they promise it."""

import itertools
import math

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import logtrick as lt
from logtrick._core.kernel import derivative_only, first_order, refuse, sample_sum, zero_of
from logtrick._core.samples import SampleAxis

stop = lax.stop_gradient
SPEC = jax.sharding.PartitionSpec


def mesh(devices=4):
    return jax.make_mesh((devices,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))


def cube_ratio(t):
    return lt.magic_box(
        3 * jnp.log(t)
    )  # derivatives of t³ with the denominator held: 1, 3/t, 6/t², 6/t³


def ratio(t):
    return lt.magic_box(jnp.log(t))


WAYS = {
    "plain": cube_ratio,
    "jit": jax.jit(cube_ratio),
    "checkpoint": jax.checkpoint(cube_ratio),
    "scan": lambda t: lax.scan(lambda c, _: (c * ratio(t), None), 1.0, None, length=3)[0],
    "checkpointed scan": lambda t: lax.scan(
        jax.checkpoint(lambda c, _: (c * ratio(t), None)), 1.0, None, length=3
    )[0],
    "cond": lambda t: lax.cond(t > 0, cube_ratio, lambda t: 0 * t, t),
    "vmap": lambda t: jax.vmap(cube_ratio)(jnp.stack([t, t]))[0],
    "while": lambda t: lax.while_loop(
        lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * ratio(t)), (0, 1.0)
    )[1],
}


@pytest.mark.parametrize("way", WAYS)
def test_box_is_right_at_orders_0_to_3_in_every_mode(way):
    for order, want in enumerate((1.0, 1.5, 1.5, 0.75)):
        for modes in itertools.product((jax.jacfwd, jax.grad), repeat=order):
            if way == "while" and jax.grad in modes:
                continue  # reverse mode does not go through while_loop
            g = WAYS[way]
            for mode in modes:
                g = mode(g)
            assert jax.jit(g)(2.0) == pytest.approx(want, abs=1e-6), (order, modes)


def test_box_stays_one_where_the_naive_one_is_nan():
    assert lt.magic_box(-jnp.inf) == 1.0
    assert jnp.isnan(jnp.exp(-jnp.inf - stop(-jnp.inf)))
    assert lt.magic_box(jnp.array([jnp.nan, -jnp.inf, 3])).tolist() == [1, 1, 1]


def test_box_keeps_the_dtype():
    assert lt.magic_box(jnp.float16(1)).dtype == jnp.float16
    assert lt.magic_box(1).dtype == jnp.float32


def coin(p, key):
    return (jax.random.uniform(key) < refuse(p, "a coin")).astype(float)


def coins(p, w=1.0):
    return lax.scan(
        lambda c, k: (c + w * coin(p, k), None), 0.0, jax.random.split(jax.random.key(1), 3)
    )[0]


KEY = jax.random.key(0)
DIFFERENTIATED = {
    "grad": lambda p: jax.grad(coin)(p, KEY),
    "jit": lambda p: jax.jit(jax.grad(coin))(p, KEY),
    "scan": jax.grad(coins),
    "forward": jax.jacfwd(coins),
    "jvp": lambda p: jax.jvp(coins, (p,), (1.0,)),
    "linearize": lambda p: jax.linearize(coins, p),
    "an inner grad inside an outer one": jax.grad(lambda p: jax.grad(lambda w: coins(p, w))(2.0)),
    "vmap": lambda p: jax.vmap(jax.grad(coins))(jnp.array([p, p])),
    "checkpoint": jax.grad(jax.checkpoint(coins)),
    "cond": jax.grad(lambda p: lax.cond(p > 0, coins, lambda p: p, p)),
    "forward over reverse": jax.jacfwd(jax.grad(lambda p: p * coins(p))),
}


@pytest.mark.parametrize("way", DIFFERENTIATED)
def test_guard_raises_where_the_draw_is_differentiated(way):
    with pytest.raises(lt.UnaccountedRandomnessError, match="a coin"):
        DIFFERENTIATED[way](0.3)


def test_guard_is_silent_where_it_is_legal():
    assert coin(0.3, KEY) in (0.0, 1.0)
    assert jax.grad(lambda p: coins(stop(p)) * p)(0.3) == coins(0.3)
    assert jax.grad(lambda w: coins(0.3, w))(1.0) == coins(0.3)
    assert jax.jit(jax.vmap(coins))(jnp.array([0.3, 0.3])).shape == (2,)


def test_guard_passes_what_carries_no_derivative():
    tree = {"n": 3, "k": KEY, "none": None, "name": "static", "p": 0.5}
    guarded = refuse(tree, "x")
    assert (
        guarded["n"] == 3
        and guarded["name"] == "static"
        and guarded["none"] is None
        and guarded["k"] is KEY
    )


def surrogate(x):
    return first_order("DisARM", 2.0, x) + first_order("DisARM", jnp.sin(x), x)


def looped(x):
    return lax.scan(lambda c, _: (c + surrogate(x), None), 0.0, None, length=2)[0]


def test_first_order_value_and_derivative():
    assert surrogate(0.3) == 0.0
    assert jax.grad(surrogate)(0.3) == pytest.approx(2 + math.sin(0.3))
    assert jax.jacfwd(looped)(0.3) == pytest.approx(2 * (2 + math.sin(0.3)))
    batched = jax.vmap(lambda c, x: first_order("A", c, x), in_axes=(0, None))
    assert jax.grad(lambda x: batched(jnp.array([1.0, 2.0]), x).sum())(0.1) == 3.0
    assert jax.grad(lambda x: first_order("A", jnp.float16(2), x))(jnp.float32(0.5)) == 2.0


def test_first_order_at_an_infinite_logit():
    """A coefficient that moves as well was −∞ − (−∞) = nan there."""
    term = lambda l: first_order("RELAX", jnp.sin(l[0]) * jnp.array([2.0, 0.0]), l)
    assert jax.grad(term)(jnp.array([0.5, -jnp.inf])).tolist() == pytest.approx(
        [2 * math.sin(0.5), 0.0]
    )
    assert jnp.isnan(jax.grad(lambda l: first_order("RELAX", l, l))(jnp.nan))


@pytest.mark.parametrize(
    "second",
    [
        jax.hessian,
        lambda f: jax.grad(jax.grad(f)),
        lambda f: jax.jacfwd(jax.jacfwd(f)),
        lambda f: jax.grad(jax.jacfwd(f)),
    ],
)
@pytest.mark.parametrize("f", [surrogate, looped, jax.checkpoint(looped), jax.jit(looped)])
def test_first_order_refuses_a_second_derivative(f, second):
    with pytest.raises(lt.DerivativeOrderError, match="DisARM is right for first derivatives only"):
        second(f)(0.3)


AXIS, INNER = SampleAxis(), SampleAxis()


def test_zero_of_has_a_derivative_and_no_value():
    x = jnp.array([1.0, jnp.inf, -jnp.inf, jnp.nan, 3e38])
    term = lambda x: 5.0 * zero_of(x)
    assert term(x) == 0 and jax.jit(term)(x) == 0
    for grad in (jax.grad(term), jax.jit(jax.grad(term))):
        assert jnp.array_equal(grad(x), jnp.array([5.0, 5.0, 5.0, jnp.nan, 5.0]), equal_nan=True)
    assert (jax.jacfwd(term)(x[:3]) == 5).all() and (jax.hessian(term)(x[:3]) == 0).all()
    assert zero_of(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_zero_of_is_not_computed_for_each_element_of_a_batch():
    """The gradient of 64 terms in 300 numbers holds nothing of 64 × 300."""
    term = lambda x: jax.vmap(lambda c: c * zero_of(x))(jnp.ones(64)).sum()
    assert (jax.grad(term)(jnp.ones(300)) == 64).all()
    text = jax.jit(jax.grad(term)).lower(jnp.ones(300)).as_text()
    assert "300" in text and "64x300" not in text and "300x64" not in text


@pytest.mark.parametrize(
    "wrap", [lambda f: f, jax.jit, jax.checkpoint], ids=["eager", "jit", "checkpoint"]
)
def test_derivative_only_keeps_every_derivative_and_no_value(wrap):
    x = jnp.array([0.5, -2.0])
    term = wrap(lambda x: derivative_only(x**3).sum())
    assert term(x) == 0 and term(jnp.array([jnp.nan, jnp.inf])) == 0
    assert jnp.array_equal(jax.grad(term)(x), 3 * x**2)
    for second in (jax.hessian(term), jax.jacfwd(jax.jacfwd(term)), jax.jacrev(jax.jacrev(term))):
        assert jnp.array_equal(second(x), jnp.diag(6 * x))
    assert jnp.array_equal(jax.vmap(jax.grad(lambda x: derivative_only(x**2)))(x), 2 * x)
    assert jnp.issubdtype(derivative_only(2).dtype, jnp.floating)
    assert derivative_only(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_sample_sum_sums_over_the_runs_only():
    per_run = lambda i, x: jax.vmap(lambda y: sample_sum(x * y, i, AXIS))(jnp.array([1.0, 10.0]))
    out = jax.vmap(per_run, axis_name=AXIS)(jnp.arange(3.0), jnp.array([1.0, 2.0, 3.0]))
    assert out.tolist() == [[6.0, 60.0]] * 3
    constant = jax.vmap(lambda i: sample_sum(2.0, i, AXIS), axis_name=AXIS)(jnp.arange(3.0))
    assert constant.tolist() == [6.0] * 3


def test_nested_runs_are_apart():
    def inner(x):  # 6 x
        return jax.vmap(lambda j: sample_sum(x * j, j, INNER), axis_name=INNER)(jnp.arange(4.0))[0]

    out = jax.vmap(lambda i: sample_sum(inner(i), i, AXIS), axis_name=AXIS)(jnp.arange(3.0))
    assert out.tolist() == [18.0] * 3


def test_a_users_psum_is_not_captured():
    inside = lambda x: jax.vmap(
        lambda i: lax.psum(sample_sum(x * i, i, AXIS), "d"), axis_name=AXIS
    )(jnp.arange(3.0))
    out = jax.vmap(inside, axis_name="d")(jnp.arange(2.0))
    assert out.tolist() == [[3.0] * 3] * 2


PRIMITIVES = {
    "box": lambda t, x: x * lt.magic_box(t * x),
    "first order": lambda t, x: first_order("A", x, t) + first_order("A", 2.0 * x, t * x),
    "guard": lambda t, x: t * coin(stop(t) * x, jax.random.key(3)),
    "sum": lambda t, x: jnp.sum(
        jax.vmap(lambda i: sample_sum(x * i, i, AXIS) * t, axis_name=AXIS)(jnp.arange(3.0))
    ),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_in_a_users_shard_map_reverse_mode(name):
    """Its default check_vma, a replicated parameter: the gradient of one device."""
    f, x, t = PRIMITIVES[name], jnp.arange(1.0, 9.0), 0.7
    local = lambda t, x: lax.psum(jnp.sum(jax.vmap(lambda x: f(t, x))(x)), "d")
    sharded = jax.shard_map(local, mesh=mesh(), in_specs=(SPEC(), SPEC("d")), out_specs=SPEC())
    whole = lambda t: jnp.sum(jax.vmap(lambda x: f(t, x))(x))
    assert jax.jit(sharded)(t, x) == pytest.approx(float(whole(t)), rel=1e-6)
    assert jax.jit(jax.grad(sharded))(t, x) == pytest.approx(float(jax.grad(whole)(t)), rel=1e-6)
    if name == "box":
        assert jax.jit(jax.hessian(sharded))(t, x) == pytest.approx(
            float(jax.hessian(whole)(t)), rel=1e-6
        )

"""Counting evaluations: what is traced once and computed many times, and what is traced before anybody counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.meter import evaluations_counted, seen_in

KEY, LOGITS = jax.random.key(0), jnp.zeros(3)


def one(logits, key):
    return lt.expect(key, jnp.sum, lt.Bernoulli(logits), num_samples=3)


jitted = jax.jit(one)


def split(key, count):
    return jax.random.split(key, count)


CASES = {
    "once": (one, 3),
    "vmap over keys": (lambda l, k: jax.vmap(lambda k: one(l, k))(split(k, 10)).sum(), 30),
    "vmap over nothing it uses": (lambda l, k: jax.vmap(lambda a: a * one(l, k))(LOGITS).sum(), 3),
    "vmap of a jitted one": (lambda l, k: jax.vmap(jitted, (None, 0))(l, split(k, 7)).sum(), 21),
    "scan": (
        lambda l, k: jax.lax.scan(lambda c, k: (c + one(l, k), None), 0.0, split(k, 10))[0],
        30,
    ),
    "scan in vmap": (
        lambda l, k: jax.vmap(
            lambda l: jax.lax.scan(lambda c, k: (c + one(l, k), None), 0.0, split(k, 5))[0]
        )(jnp.zeros((2, 3))).sum(),
        30,
    ),
    "gradient in scan": (
        lambda l, k: jax.lax.scan(lambda l, k: (l - jax.grad(one)(l, k), None), l, split(k, 4))[0],
        12,
    ),
    "map in batches": (
        lambda l, k: jax.lax.map(lambda k: one(l, k), split(k, 12), batch_size=5).sum(),
        36,
    ),
    "fori_loop": (lambda l, k: jax.lax.fori_loop(0, 6, lambda i, c: c + one(l, k), 0.0), 18),
    "cond: the branch with the most": (
        lambda l, k: jax.lax.cond(l[0] > 0, lambda: one(l, k), lambda: one(l, k) + one(2 * l, k)),
        6,
    ),
    "checkpoint": (lambda l, k: jax.checkpoint(one)(l, k), 3),
    "inside an expectation": (
        lambda l, k: lt.expect(k, lambda x: one(l + x, k), lt.Bernoulli(l), num_samples=5),
        5 + 15,
    ),
    "chunks": (
        lambda l, k: lt.expect(k, jnp.sum, lt.Bernoulli(l), num_samples=30, chunk_size=7),
        30,
    ),
    "a loop of unknown length": (
        lambda l, k: jax.lax.while_loop(lambda c: c < 1, lambda c: c + one(l, k) + 1, 0.0),
        None,
    ),
    "no expectation": (lambda l, k: jnp.sum(l), None),
}


@pytest.mark.parametrize("name", list(CASES))
def test_as_often_as_it_is_computed(name):
    function, count = CASES[name]
    assert seen_in(function, LOGITS, KEY) == (count, (), ())


def test_what_was_traced_before_is_counted_and_later_programs_hold_no_markers():
    jitted(LOGITS, KEY)
    assert seen_in(lambda l, k: jitted(l, k) + jitted(2 * l, k), LOGITS, KEY)[0] == 6
    for function in (one, jitted):
        assert "logtrick_evaluated" not in str(jax.make_jaxpr(function)(LOGITS, KEY))


@pytest.mark.parametrize("precision", ["tensorfloat32", "high", None])
def test_counting_depends_on_no_setting_of_jax(precision):
    with jax.default_matmul_precision(precision):
        jitted(LOGITS, KEY)
        assert seen_in(jitted, LOGITS, KEY)[0] == 3


def test_what_was_traced_before_is_counted_whatever_the_precision_in_use():
    """The setting by which functions are traced anew was the user's own: nothing was counted."""
    function = jax.jit(lambda l, k: 2.0 * one(l, k))
    with jax.default_matmul_precision("tensorfloat32"):
        function(LOGITS, KEY)
        assert seen_in(function, LOGITS, KEY)[0] == 3


def test_biased_estimators_are_named_once():
    biased = lambda l, k: lt.expect(k, jnp.sum, lt.Bernoulli(l), estimator=lt.StraightThrough())
    twice = lambda l, k: biased(l, k) + biased(l, k)
    assert seen_in(twice, LOGITS, KEY)[1] == ("StraightThrough",)


def test_counting_under_a_derivative_and_in_eager_calls():
    with evaluations_counted() as counts:
        jax.grad(one)(LOGITS, KEY)
    assert counts == [3]


def test_every_device_of_a_shard_map_counts():
    count = min(2, jax.device_count())
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("draws",))
    spec = jax.sharding.PartitionSpec

    def body(logits, keys):
        return jax.lax.pmean(one(logits, keys[0]), "draws")

    sharded = jax.shard_map(body, mesh=mesh, in_specs=(spec(), spec("draws")), out_specs=spec())
    value = lambda logits, key: sharded(logits, split(key, count))
    assert seen_in(value, LOGITS, KEY)[0] == 3 * count

"""Noise is computed once: behind a branch that stays one under vmap, with the bits of the plain draw."""

import jax
import numpy as np
import pytest

from logtrick import noise
from logtrick._core.jaxprs import equations
from logtrick._core.materialize import computed_once
from logtrick.noise import KeyPerRun, StandardNormal, Uniform

KEYS = jax.random.split(jax.random.key(7), 3)
SPEC = {"k": KeyPerRun(), "u": Uniform((2,)), "z": StandardNormal((3,))}


def materialized(key):
    drawn = noise.rows(SPEC, key, 4, 5, 20)
    return {**drawn, "k": jax.random.key_data(drawn["k"])}


def plain(key):
    k, u, z = (
        spec.rows(jax.random.fold_in(key, i), 4, 5, 20) for i, spec in enumerate(SPEC.values())
    )
    return {"k": jax.random.key_data(k), "u": u, "z": z}


@pytest.mark.parametrize(
    "transform, keys",
    [
        (lambda f: f, KEYS[0]),
        (jax.jit, KEYS[0]),
        (jax.vmap, KEYS),
        (lambda f: jax.jit(jax.vmap(jax.vmap(f))), KEYS[None]),
    ],
)
def test_the_bits_are_those_of_the_plain_draw(transform, keys):
    jax.tree.map(
        np.testing.assert_array_equal, transform(materialized)(keys), transform(plain)(keys)
    )


def test_an_empty_batch_is_empty():
    assert jax.vmap(materialized)(KEYS[:0])["u"].shape == (0, 5, 2)


def test_a_batch_of_keys_keeps_the_branch():
    """A predicate with a batch axis would make it a select, and every consumer would draw the noise again."""
    inside = equations(jax.make_jaxpr(jax.vmap(materialized))(KEYS).eqns)
    names = [str(e.primitive) for e in inside]
    assert names.count("cond") == 1
    assert "select_n" not in names[names.index("cond") - 1 :]
    compiled = jax.jit(jax.vmap(materialized)).lower(KEYS).compile().as_text()
    assert " conditional(" in compiled  # which XLA did not see through


@pytest.mark.parametrize("dtype", [np.float32, jax.numpy.bfloat16, np.int32])
def test_computed_once_changes_no_number(dtype):
    x = jax.numpy.array([0.0, -0.0, 1.5, -3.0], dtype)
    if dtype is not np.int32:
        x = jax.numpy.concatenate([x, jax.numpy.array([np.inf, -np.inf, np.nan], dtype)])
    for transform in (lambda f: f, jax.jit, jax.vmap):
        same = transform(computed_once)(x)
        np.testing.assert_array_equal(np.asarray(same, np.float64), np.asarray(x, np.float64))
    assert computed_once(x).dtype == dtype


def test_computed_once_has_all_derivatives():
    cube = lambda x: computed_once(x) * computed_once(x * x)
    for order, exact in enumerate((8.0, 12.0, 12.0, 6.0)):
        derivative = cube
        for way in range(order):
            derivative = (jax.grad, jax.jacfwd)[way % 2](derivative)
        assert jax.jit(derivative)(2.0) == exact


def test_the_branches_return_flat_arrays():
    """XLA's loops follow their shape: noise in rows of ten took three times as long as in rows of a hundred."""
    inside = equations(jax.make_jaxpr(materialized)(KEYS[0]).eqns)
    (cond,) = (e for e in inside if str(e.primitive) == "cond")
    assert [out.aval.shape for out in cond.outvars] == [(10,), (15,)]

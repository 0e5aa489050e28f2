"""Seeds and keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core import keys
from logtrick._core.keys import as_key


def data(key):
    return jax.random.key_data(key).tolist()


def test_every_bit_of_a_seed_counts():
    """FAULTS 53: jax.random.key(2**32) is key(0) without 64-bit mode."""
    seeds = [
        0,
        1,
        2**32 - 1,
        2**32,
        2**32 + 1,
        2**40,
        2**63,
        2**64 - 1,
        2**64,
        2**64 + 1,
        2**128,
        2**200 + 7,
    ]
    assert len({tuple(data(lt.key(s))) for s in seeds}) == len(seeds)
    assert data(lt.key(5)) == data(jax.random.key(5))
    assert data(lt.key(2**40)) == [2**8, 0]
    assert data(lt.key(np.int64(5))) == data(lt.key(5))


@pytest.mark.parametrize("seed", [1.0, "1", None, True, jnp.float32(1)])
def test_a_seed_is_an_int(seed):
    with pytest.raises(TypeError, match=r"lt.key\(seed=…\) needs a Python int; got"):
        lt.key(seed)


def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="non-negative int; got -1"):
        lt.key(-1)


def test_raw_keys_are_wrapped():
    assert data(as_key(jax.random.PRNGKey(3))) == data(jax.random.key(3))
    assert data(as_key(np.asarray(jax.random.PRNGKey(3)))) == data(jax.random.key(3))


@pytest.mark.parametrize("key", [0, 1.5, None, "key", jnp.zeros(2), np.zeros(3, np.uint32)])
def test_what_is_no_key_is_a_type_error(key):
    """FAULTS 52."""
    with pytest.raises(
        TypeError, match=r"key must be a PRNG key; got .*Pass jax.random.key\(seed\)"
    ):
        as_key(key)


@pytest.mark.parametrize(
    "batch", [jax.random.split(jax.random.key(0), 3), jax.random.split(jax.random.PRNGKey(0), 3)]
)
def test_a_batch_of_keys_says_vmap(batch):
    with pytest.raises(ValueError, match=r"one key; got .*Use jax.vmap over the keys"):
        as_key(batch)


def test_purposes_are_distinct():
    """FAULTS 11: split and fold_in of one parent coincide, so a purpose has its own tag and nothing is split and folded."""
    tags = [keys.SAMPLE, keys.ESTIMATOR, keys.DATA, keys.REPLICATE, keys.NESTED, keys.NESTED_STEP]
    step = [jax.random.fold_in(lt.key(0), s) for s in range(3)]
    tree = [jax.random.fold_in(k, t) for k in step for t in tags]
    assert len({tuple(data(k)) for k in [lt.key(0), *step, *tree]}) == 1 + len(step) + len(tree)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_fold_in_is_that_of_jax(impl: str) -> None:
    key = jax.random.key(5, impl=impl)
    words = jax.random.key_data
    for number in (0, 1, 2**32 - 1, jnp.array(7, jnp.int32)):
        ours, theirs = keys.fold_in(key, number), jax.random.fold_in(key, number)
        assert (words(ours) == words(theirs)).all()
    if impl == "threefry2x32":
        several = jax.vmap(lambda i: keys.fold_in(key, i))(jnp.arange(3))
        one_by_one = jnp.stack([jax.random.fold_in(key, i) for i in range(3)])
        assert (words(several) == words(one_by_one)).all()

"""Permutations of row numbers: exactly permutations for every number of rows, and uniform as far as can be seen."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from logtrick.training._permutation import _SMALL, _walk, permuted

FALSE_ALARM = 1e-6
POWER = 0.999


def keys(seed, count):
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(count))


@functools.partial(jax.jit, static_argnums=(1, 2))
def whole(keys, count, num_rows):
    return jax.vmap(lambda key: permuted(key, jnp.int32(0), count, num_rows))(keys)


# Both sides of the limit between the two methods, primes, squares, and a power of two.
@pytest.mark.parametrize("num_rows", [1, 2, 3, 127, _SMALL, _SMALL + 1, 131, 1024, 4099, 99_991])
def test_every_row_once(num_rows):
    orders = np.asarray(whole(keys(0, 4), num_rows, num_rows))
    assert orders.dtype == np.int32
    np.testing.assert_array_equal(
        np.sort(orders, axis=1), np.tile(np.arange(num_rows, dtype=np.int32), (4, 1))
    )
    if num_rows > 100:
        assert len({order.tobytes() for order in orders}) == 4


@pytest.mark.parametrize("num_rows", [100, 1009])
def test_a_part_is_the_part_of_the_whole(num_rows):
    key = jax.random.key(3)
    order = np.asarray(whole(key[None], num_rows, num_rows))[0]
    part = jax.jit(lambda start: permuted(key, start, 32, num_rows))
    for start in (0, 17, num_rows - 32):
        np.testing.assert_array_equal(part(start), order[start : start + 32])


def test_the_walk_stays_a_bijection_at_the_largest_number_of_rows():
    """At 2³¹ − 1 rows nothing overflows: 2¹⁶ rows have as many images, all legal."""
    num_rows = 2**31 - 1
    rows = jnp.arange(num_rows - 2**16, num_rows, dtype=jnp.uint32)
    words = jax.random.bits(jax.random.key(0), (6, 4))
    images = np.asarray(jax.jit(lambda w, r: _walk(w, r, num_rows))(words, rows))
    assert len(np.unique(images)) == 2**16 and images.max() < num_rows


def check_uniform(cells, num_cells, resolve):
    """Pearson's χ² test: a false alarm in 1e-6 of cases, and one miss in 1,000 where the cells' probabilities are off by
    `resolve`, relative and root-mean-square. Fails also where the draws are too few for that."""
    counts = np.bincount(cells, minlength=num_cells)
    assert len(counts) == num_cells
    expected = len(cells) / num_cells
    assert expected >= 5  # χ² is an approximation for large counts
    statistic = np.sum((counts - expected) ** 2) / expected
    limit = stats.chi2.isf(FALSE_ALARM, num_cells - 1)
    assert stats.ncx2.sf(limit, num_cells - 1, len(cells) * resolve**2) > POWER, "too weak"
    assert statistic < limit, "not uniform"


def test_the_test_sees_what_is_not_uniform():
    rng = np.random.default_rng(0)
    weights = 1 + 0.1 * (-1.0) ** np.arange(24)
    check_uniform(rng.integers(24, size=20_000), 24, resolve=0.1)
    with pytest.raises(AssertionError, match="not uniform"):
        check_uniform(rng.choice(24, size=20_000, p=weights / 24), 24, resolve=0.1)
    with pytest.raises(AssertionError, match="too weak"):
        check_uniform(rng.integers(24, size=2_000), 24, resolve=0.1)


@pytest.mark.parametrize("num_rows", [3, 4, 5])
def test_all_permutations_of_few_rows_are_equally_likely(num_rows):
    orders = np.asarray(whole(keys(num_rows, 100_000), num_rows, num_rows))
    number = {order: i for i, order in enumerate(itertools.permutations(range(num_rows)))}
    cells = np.array([number[tuple(order)] for order in orders.tolist()])
    check_uniform(cells, math.factorial(num_rows), resolve=0.05)


@pytest.mark.parametrize("num_rows", [_SMALL + 1, 144])
def test_pairs_of_neighbors_are_equally_likely_where_the_network_is_smallest(num_rows):
    first, second = np.asarray(whole(keys(num_rows, 300_000), 2, num_rows)).T
    cells = first * (num_rows - 1) + second - (second > first)
    check_uniform(cells, num_rows * (num_rows - 1), resolve=0.1)


@pytest.mark.full
@pytest.mark.parametrize("num_rows", [_SMALL + 1, 130, 144, 145, 200])
def test_many_pairs_are_equally_likely(num_rows):
    """Neighbors, and rows that share the other half of the network."""
    words = jax.random.bits(jax.random.key(num_rows), (2_000_000, 6, 4))
    rows = jnp.asarray([0, 1, 14, num_rows - 1], jnp.uint32)
    images = np.asarray(jax.jit(jax.vmap(lambda w: _walk(w, rows, num_rows)))(words)).astype(int)
    for i, j in itertools.combinations(range(4), 2):
        first, second = images[:, i], images[:, j]
        cells = first * (num_rows - 1) + second - (second > first)
        check_uniform(cells, num_rows * (num_rows - 1), resolve=0.05)

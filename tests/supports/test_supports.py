"""Supports: which draws they contain, and the grids and unions of their points."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logtrick import supports

THREE = supports.Permutation(3)
CONTAINED = [
    (supports.Real(), -jnp.inf),
    (supports.Positive(), 0.0),
    (supports.UnitInterval(), 1.0),
    (supports.Interval(-1.0, jnp.array([2.0, 3.0])), jnp.array([2.0, 3.0])),
    (supports.Simplex(), jnp.array([[0.2, 0.8], [1.0, 0.0]])),
    (supports.Ordered(), jnp.array([1.0, 1.0, 2.0])),
    (supports.Boolean(), jnp.array([0, 1])),
    (supports.NonNegativeInteger(), jnp.array([0.0, 7.0])),
    (supports.IntegerBelow(3), jnp.array([0, 2])),
    (supports.OneHot(2), jnp.array([[0.0, 1.0], [1.0, 0.0]])),
    (THREE, jnp.array([2, 0, 1])),
    (supports.Permutation(3, length=2), jnp.array([2, 0])),
]
OUTSIDE = [
    (supports.Real(), jnp.nan),
    (supports.Positive(), -1e-30),
    (supports.Positive(), jnp.nan),
    (supports.UnitInterval(), 1.5),
    (supports.Interval(-1.0, jnp.array([2.0, 3.0])), jnp.array([2.5, 2.5])),
    (supports.Simplex(), jnp.array([[0.2, 0.8], [0.5, 0.4]])),
    (supports.Simplex(), jnp.array([-0.5, 1.5])),
    (supports.Ordered(), jnp.array([1.0, 0.0])),
    (supports.Boolean(), 0.5),
    (supports.NonNegativeInteger(), 2.5),
    (supports.NonNegativeInteger(), jnp.inf),
    (supports.IntegerBelow(3), 3),
    (supports.OneHot(2), jnp.array([1.0, 1.0])),
    (THREE, jnp.array([2, 2, 1])),
    (THREE, jnp.array([0.0, 0.5, 1.5])),
    (THREE, jnp.array([1, 2, 3])),
]


@pytest.mark.parametrize(
    ("support", "x", "inside"),
    [(*case, True) for case in CONTAINED] + [(*case, False) for case in OUTSIDE],
)
def test_what_a_support_contains(support, x, inside):
    assert bool(support.contains(x)) is inside
    assert bool(jax.jit(support.contains)(x)) is inside


def test_grid_lists_every_array_with_the_last_coordinate_fastest():
    points = supports.grid(np.array([0, 1, 2]), (1, 2), np.int32)
    assert points.dtype == np.int32 and points.shape == (9, 1, 2)
    assert [tuple(p[0]) for p in points] == list(itertools.product(range(3), repeat=2))
    assert supports.grid(np.array([5.0]), (), float).tolist() == [5.0]
    assert supports.grid(np.array([0, 1]), (0,), float).shape == (1, 0)
    assert supports.grid(np.array([1]), (100,), float).shape == (1, 100)


def test_too_many_points_are_refused():
    with pytest.raises(ValueError, match=r"enumerating 2\*\*21 = 2097152 points exceeds 1048576"):
        supports.grid(np.array([0, 1]), (21,), float)


def test_union_of_traced_points_is_refused():
    with pytest.raises(ValueError, match="Mine.enumerate needs the points .* got traced ones"):
        jax.jit(lambda x: supports.union("Mine", [x, x]))(jnp.arange(2))

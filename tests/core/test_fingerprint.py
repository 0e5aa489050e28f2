"""Fingerprints see all data behind a function. (What they do for a fit: tests/training/test_cache.py.)"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick._core.fingerprint import fingerprint


@jax.tree_util.register_pytree_node_class
class Doubled:
    """A pytree that makes its leaf anew each time it is flattened."""

    def __init__(self, x):
        self.x = x

    def tree_flatten(self):
        return (np.full(3, 2.0 * self.x),), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(children[0] / 2.0)


def test_leaves_made_while_a_pytree_is_flattened_are_told_apart():
    """A leaf that was freed gave its id to the next one, which then counted as seen, whatever its numbers."""
    several = lambda last: [Doubled(float(i)) for i in (*range(20), last)]
    assert fingerprint(several(21)) != fingerprint(several(22))
    assert fingerprint(several(21)) == fingerprint(several(21))


def test_attributes_of_functions_are_seen():
    def scaled(x):
        return scaled.by * x

    scaled.by = 1.0
    before = fingerprint(scaled)
    assert fingerprint(scaled) == before
    scaled.by = 2.0
    assert fingerprint(scaled) != before


class Scale:
    """An object that is called like a function."""

    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return self.by * x


def test_attributes_of_callable_objects_in_static_fields_are_seen():
    scale = Scale(1.0)
    baseline = lt.LearnedBaseline(scale, jnp.array(0.0))
    before = fingerprint(baseline)
    assert fingerprint(lt.LearnedBaseline(scale, jnp.array(0.0))) == before
    scale.by = 2.0
    assert fingerprint(baseline) != before


@dataclasses.dataclass(slots=True)
class Settings:
    rate: float


def test_attributes_in_slots_are_seen():
    settings = Settings(1.0)
    function = lambda x: settings.rate * x
    before = fingerprint(function)
    assert fingerprint(function) == before
    settings.rate = 2.0
    assert fingerprint(function) != before

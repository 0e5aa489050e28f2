"""The frozen pytree."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt
from logtrick._core.module import Module, replace, static


class Shape(Module, abstract=True):
    def area(self):
        raise NotImplementedError


class Box(Shape):
    width: float
    name: str = static(default="box")

    def area(self):
        return self.width**2


def test_a_pytree_of_its_fields_without_the_static_ones():
    leaves, tree = jax.tree.flatten(Box(2.0))
    assert leaves == [2.0]
    assert tree.unflatten([3.0]).area() == 9.0
    assert jax.tree.structure(Box(1.0, "a")) != jax.tree.structure(Box(1.0, "b"))
    assert jax.grad(lambda b: b.area())(Box(2.0)).width == 4.0
    assert jax.tree_util.keystr(jax.tree_util.tree_flatten_with_path(Box(1.0))[0][0][0]) == ".width"


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Box(1.0).width = 2.0


def test_abstract_or_final():
    with pytest.raises(TypeError, match="Bigger subclasses Box, which is final"):

        class Bigger(Box):
            pass


def test_unflatten_skips_validation():
    jax.tree.map(lambda _: object(), lt.Normal(0.0, 1.0))
    jax.tree.map(lambda _: -1.0, lt.Normal(0.0, 1.0))


def test_replace():
    assert replace(Box(1.0), width=5.0).area() == 25.0
    with pytest.raises(TypeError, match=r"Box has no fields \['height'\]"):
        replace(Box(1.0), height=2.0)


def test_repr_names_the_fields():
    assert repr(lt.Normal(jnp.zeros(3), 1.0)) == "Normal(loc=float32[3], scale=1.0)"
    assert repr(Box(2.0)) == "Box(width=2.0, name='box')"

"""The frozen pytree."""

import abc
import collections.abc
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
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


BASES = {
    lt.distributions.Distribution: "_log_prob, _transform, event_shape, noise_spec, support",
    lt.distributions.Factorized: "_log_kernel, _transform, noise_spec, support",
    lt.distributions.LocationScale: "_standard_cdf, _standard_kernel, _standard_quantile",
    lt.noise.Noise: "example, one, rows",
    lt.bijectors.Bijector: "forward, inverse, log_det",
    lt.Estimator: "close, draw",
    lt.baselines.Baseline: "term",
    lt.baselines.ScalarBaseline: "value",
    lt.plans.Plan: "rows",
}


def test_a_base_of_abc_may_stand_beside():
    class Named(abc.ABC):
        @abc.abstractmethod
        def name(self): ...

    class Pair(Module, Named, collections.abc.Sized):
        width: float

        def name(self):
            return "pair"

        def __len__(self):
            return 2

    pair = jax.tree.map(lambda x: 2 * x, Pair(1.0))
    assert pair.width == 2.0 and len(pair) == 2 and pair.name() == "pair"
    assert isinstance(pair, Named) and isinstance(pair, collections.abc.Sized)
    with pytest.raises(TypeError, match="Nameless is a concrete Named and lacks name. Define it"):
        types.new_class("Nameless", (Module, Named))


@pytest.mark.parametrize("base", [lt.Estimator, lt.baselines.Baseline, lt.noise.Noise])
def test_an_abstract_class_makes_no_objects(base):
    with pytest.raises(TypeError, match=f"abstract class {base.__name__}"):
        base()


@pytest.mark.parametrize("base", BASES)
def test_a_concrete_class_that_lacks_a_method_raises_where_it_is_defined(base):
    said = rf"^Lacking is a concrete .* and lacks {BASES[base]}\. Define"
    with pytest.raises(TypeError, match=said):
        type("Lacking", (base,), {})
    types.new_class("Partial", (base,), {"abstract": True})


def test_a_field_with_the_name_of_a_property_of_a_base_raises():
    said = r"Taken\.quantiles is a field, and Distribution has a property of that name. Rename"
    with pytest.raises(TypeError, match=said):
        types.new_class(
            "Taken",
            (lt.distributions.Distribution,),
            {"abstract": True},
            lambda body: body.update(__annotations__={"quantiles": object}),
        )


def test_unflatten_skips_validation():
    jax.tree.map(lambda _: object(), lt.Normal(0.0, 1.0))
    assert jax.tree.map(lambda _: -1.0, lt.Normal(0.0, 1.0)).scale == -1.0


def test_replace():
    assert replace(Box(1.0), width=5.0).area() == 25.0
    with pytest.raises(TypeError, match=r"Box has no fields \['height'\]"):
        replace(Box(1.0), height=2.0)


def test_repr_names_the_fields():
    assert repr(lt.Normal(jnp.zeros(3), 1.0)) == "Normal(loc=float32[3], scale=1.0)"
    assert repr(Box(2.0)) == "Box(width=2.0, name='box')"


class Holder(Module):
    value: object
    name: object = static(default=None)


def network(x):
    return x


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (jnp.float32(0.5), "0.5"),
        (np.zeros((2, 3)), "float64[2,3]"),
        (jax.random.key(0), "key<fry>[]"),
        (jax.ShapeDtypeStruct((4,), jnp.int32), "int32[4]"),
        ({"w": jnp.zeros((2, 2)), "b": [1, True]}, "{'w': float32[2,2], 'b': [1, True]}"),
        ((jnp.zeros(2),), "(float32[2],)"),
        (network, "network"),
        (jax.jit(network), "network"),
        (lambda x: x, "<lambda>"),
        (list(range(20)), "[0, 1, 2, 3, 4, 5, 6, 7, … 12 more]"),
        ("x" * 200, f"'{'x' * 59}…'"),
        (lt.DisARM(), "DisARM()"),
        (None, "None"),
    ],
)
def test_repr_is_short_and_has_no_address(value, text):
    assert repr(Holder(value)) == f"Holder(value={text})"


def test_repr_of_traced_values():
    seen = []
    jax.jit(lambda x: seen.append(repr(Holder(x))) or x)(1.0)
    assert seen == ["Holder(value=float32[])"]


def test_a_long_repr_has_a_line_for_each_field():
    long = Holder({f"layer_{i}": jnp.zeros((100, 100)) for i in range(6)}, name="x")
    lines = repr(long).splitlines()
    assert lines[:3] == ["Holder(", "  value={", "    'layer_0': float32[100,100],"]
    assert lines[-2:] == ["  name='x'", ")"]
    assert max(map(len, lines)) <= 100

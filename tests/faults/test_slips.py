"""Slips of newcomers at every public entry, with the beginning of the sentence that each gets: ours, not Python's or JAX's.

`tests/data/slips.txt` has the calls, and under each the beginning of its message: wrong order, types and shapes, missing
arguments, strings, None, lists, classes in the place of objects, functions that were not called.
"""

import inspect
import pathlib
import types

import jax
import jax.numpy as jnp
import optax
import pytest

import logtrick as lt
from logtrick import vi

TABLE = pathlib.Path(__file__).parents[1] / "data" / "slips.txt"
LINES = TABLE.read_text(encoding="utf-8").splitlines()
SLIPS = [
    (code.removeprefix(">>> "), said) for code, said in zip(LINES[::2], LINES[1::2], strict=True)
]
NAMES = {
    "jax": jax,
    "jnp": jnp,
    "optax": optax,
    "lt": lt,
    "vi": vi,
    "k": jax.random.key(0),
    "N": lt.Normal(0.0, 1.0),
    "f": lambda x: x**2,
    "obj": lambda p, key: lt.expect(key, lambda x: x, lt.Bernoulli(p), num_samples=8),
    "ld": lambda z: -0.5 * jnp.sum(z**2),
    "q0": vi.MeanFieldNormal(like=jnp.zeros(2)),
    "ad": optax.adam(0.1),
    "data": jnp.arange(8.0),
    "fam": lt.distribution(
        lambda p, x: -0.5 * (x - p) ** 2, lambda key, p: p + jax.random.normal(key)
    ),
}


@pytest.mark.parametrize(("code", "said"), SLIPS, ids=[code for code, _ in SLIPS])
def test_a_slip_gets_a_sentence_of_ours(code, said):
    with pytest.raises((TypeError, ValueError, KeyError, AttributeError)) as caught:
        eval(code, NAMES)  # the table is ours
    assert str(caught.value.args[0]).startswith(said)


def test_there_are_many():
    assert len(SLIPS) > 200 and all(len(said) >= 15 for _, said in SLIPS)


PUBLIC = {
    id(thing): (name, thing)
    for package in (lt, vi, lt.rl, lt.training, lt.testing)
    for name in dir(package)
    if not name.startswith("_")
    and not isinstance(thing := getattr(package, name), types.ModuleType)
    and callable(thing)
    and getattr(thing, "__module__", "").startswith("logtrick")
}
# Authors of estimators build these, users do not; NamedTuples are results.
INTERNAL = {
    "Costs",
    "Points",
    "Runs",
    "Explanation",
    "assign",
    "replace",
    "static",
    "first_order",
    "merge",
    "partition",
}
INTERNAL |= {"HostFeed", "PerRow", "Minibatch", "Run", "Store", "Module", "Listener", "TqdmBar"}


@pytest.mark.parametrize("name", [name for name, _ in PUBLIC.values()])
def test_an_unknown_keyword_is_refused_in_words(name):
    thing = next(thing for known, thing in PUBLIC.values() if known == name)
    result = isinstance(thing, type) and issubclass(thing, tuple | BaseException)
    if result or name in INTERNAL or (isinstance(thing, type) and inspect.isabstract(thing)):
        pytest.skip("nothing that users call")
    parameters = inspect.signature(thing).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        pytest.skip("takes any keyword")
    with pytest.raises(TypeError, match=r"\(bogus=…\) is no (argument|parameter)"):
        thing(bogus=1)

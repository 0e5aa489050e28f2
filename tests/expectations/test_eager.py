"""Eager calls: how much Python of the library runs in each, after the first one."""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt
from tests.core.compilations import compilations

KEY = jax.random.key(0)
PACKAGE = str(pathlib.Path(lt.__file__).parent)


def of_expect(loc: Any) -> Any:
    return lt.expect(KEY, lambda x: jnp.sum(x**2), lt.Normal(loc, 1.0), num_samples=16)


def of_two_sites(logits: Any) -> Any:
    def program() -> Any:
        a = yield lt.sample(lt.Bernoulli(logits[0]))
        b = yield lt.sample(lt.Bernoulli(logits[1] + 2 * a))
        yield lt.cost((b - 0.45) ** 2)

    return lt.expect_program(KEY, program, num_samples=16)


def python_calls(function: Callable[..., Any], *args: Any) -> int:
    """The Python calls of the package in one call of `function`."""
    count = 0

    def profile(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(PACKAGE)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(("value", "size", "most"), [(of_expect, 10, 350), (of_two_sites, 2, 1600)])
def test_an_eager_gradient_runs_little_python_and_compiles_nothing(
    value: Callable[..., Any], size: int, most: int
) -> None:
    gradient, at = jax.grad(value), jnp.zeros(size)
    gradient(at)
    gradient(at)
    with compilations() as compiled:
        calls = python_calls(gradient, at)
    assert 50 < calls <= most
    assert compiled == []

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


def by_hand(loc: Any) -> Any:
    """What `of_expect` estimates, as a user writes it."""
    x = jax.lax.stop_gradient(loc[None] + jax.random.normal(KEY, (16, 10)))
    costs = jax.vmap(lambda x: jnp.sum(x**2))(x)
    baseline = (jnp.sum(costs) - costs) / 15
    log_prob = jnp.sum(jax.scipy.stats.norm.logpdf(x, loc[None], 1.0), -1)
    return jnp.mean(jax.lax.stop_gradient(costs - baseline) * log_prob)


def python_calls(function: Callable[..., Any], *args: Any, inside: str = PACKAGE) -> int:
    """The Python calls in one call of `function`, of files whose names start with `inside`."""
    count = 0

    def profile(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(inside)

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize(("value", "size", "most"), [(of_expect, 10, 245), (of_two_sites, 2, 749)])
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


def test_an_eager_gradient_runs_about_as_much_python_as_one_by_hand() -> None:
    """JAX's own Python included, which is what an eager call takes its time for."""
    at, calls = jnp.zeros(10), []
    for value in (of_expect, by_hand):
        gradient = jax.grad(value)
        gradient(at)
        gradient(at)
        calls.append(python_calls(gradient, at, inside=""))
    assert calls[0] <= 1.2 * calls[1]

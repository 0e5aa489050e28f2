"""Noise that is given in the place of draws: for exact enumeration."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from logtrick._core.samples import nesting


class _Injected(NamedTuple):
    """The injected noise, and how deep the expectation is nested that it is meant for."""

    noise: Any
    nesting: int


_INJECTED: contextvars.ContextVar[_Injected | None] = contextvars.ContextVar(
    "logtrick_injected_noise", default=None
)


@contextlib.contextmanager
def injected(noise: Any) -> Iterator[None]:
    """Inside the context, an expectation gets rows of `noise` and draws nothing: for exact enumeration.

    It is meant for expectations of one random site; what draws inside of f would get the same numbers, and raises.

    Args:
      noise: values of the noise, a pytree with a leading axis of rows; None injects nothing.
    Returns:
      A context manager.
    Raises:
      ValueError: a program of several random sites, or an expectation inside of f that draws, in the context.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> bit = lt.Bernoulli(0.0)                          # 1 where the uniform is below 1/2
      >>> with lt.noise.injected(jnp.array([0.1, 0.2, 0.3, 0.9])):
      ...     lt.expect(jax.random.key(0), lambda x: x, bit, num_samples=4).item()
      0.75
    """
    token = _INJECTED.set(None if noise is None else _Injected(noise, nesting()))
    try:
        yield
    finally:
        _INJECTED.reset(token)


def is_injected() -> bool:
    """Whether expectations get injected noise here.

    Returns:
      True inside of `injected`.
    Example:
      >>> import logtrick as lt
      >>> with lt.noise.injected(0.5):
      ...     lt.noise.is_injected()
      True
    """
    return _INJECTED.get() is not None


def injected_rows(structure: Any, start: Any, count: int) -> Any:
    """Rows of the injected noise, in the place of those of a site whose noise has this structure."""
    given = _INJECTED.get()
    assert given is not None
    got = jax.tree.structure(given.noise)
    if got != structure:
        raise ValueError(
            f"lt.noise.injected(noise=…) needs the structure of the site's noise, {structure}; got {got}."
        )
    if nesting() != given.nesting:
        raise ValueError(
            "lt.noise.injected(…) gives the noise of one expectation; another one, inside of its f, would get the same numbers. "
            "Compute the inner one without draws, by lt.Enumerate() or lt.testing.exact_expectation."
        )
    # The engine may ask for rows past the end; it drops them.
    index = jnp.asarray(start, jnp.int32) + jnp.arange(count)
    return jax.tree.map(lambda a: a.at[index].get(mode="clip"), given.noise)

"""Find costs that were computed in 16 bits while an objective is traced."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

_SEEN: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar(
    "logtrick_half_precision", default=None
)


@contextlib.contextmanager
def half_precision_seen() -> Iterator[list[str]]:
    """Collect the 16-bit dtypes of the costs that are traced inside."""
    seen: list[str] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def note_precision(dtype: Any) -> None:
    """Called with the dtype of every cost, before it is converted."""
    seen = _SEEN.get()
    if seen is not None and dtype in (jnp.float16, jnp.bfloat16):
        seen.append(str(dtype))

"""Checks of the arguments of expectations, and advice where the memory is not enough for them."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import jax

from logtrick._core import checks
from logtrick._core.calls import described
from logtrick.programs import Structure

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def takes_key(where: str, f: Any) -> bool:
    """Check that `f` is a function of one draw, or of a draw and a key; return whether it takes the key.

    It does where it has two required positional arguments.
    """
    if not callable(f):
        raise TypeError(
            f"{where}(f=…) needs a function of one draw; got {described(f)}. Call {where}(key, f, dist)."
        )
    if inspect.isgeneratorfunction(f):
        raise TypeError(
            f"{where}(f=…) needs a function of one draw that returns its cost; got {described(f)}, a program, which "
            "yields. Call lt.expect_program(key, program, *args)."
        )
    try:
        signature = inspect.signature(f)
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    required = [p for p in signature.parameters.values() if p.default is p.empty]
    positional = [p for p in required if p.kind in _POSITIONAL]
    wants_key = len(positional) == 2
    try:
        signature.bind(*(None, None) if wants_key else (None,))
    except TypeError:
        raise TypeError(
            f"{where}(f=…) is called with one draw, f(x), or with a draw and a key, f(x, key); got a function of "
            f"{signature}. Let it take everything else from around it."
        ) from None
    return wants_key


def check_counts(where: str, num_samples: Any, chunk_size: Any) -> tuple[int, int | None]:
    """The number of samples, and the number of samples in a chunk, checked."""
    num_samples = checks.positive_int(where, "num_samples", num_samples)
    if num_samples >= 2**32:
        raise ValueError(
            f"{where}(num_samples=…) needs fewer than 2**32 samples; got {num_samples}. Average several keys."
        )
    if chunk_size is not None:
        chunk_size = checks.positive_int(where, "chunk_size", chunk_size)
    return num_samples, chunk_size


def check_blocks(
    where: str, structure: Structure, num_samples: int, chunk_size: int | None
) -> None:
    """Check that neither the end of the samples nor that of a chunk cuts a block of samples that depend on each other."""
    for name, block in structure.blocks:
        size = block or 1
        for argument, count in (("num_samples", num_samples), ("chunk_size", chunk_size or 0)):
            if count % size:
                raise ValueError(
                    f"{where}({argument}=…) needs a multiple of {size}: under its plan the samples of site {name!r} "
                    f"depend on each other in blocks of {size}; got {count}. Pass {count + size - count % size}, or IID()."
                )


@contextlib.contextmanager
def memory_advice(where: str) -> Iterator[None]:
    """Add advice to the error that is raised where the memory is not enough."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error):
            error.add_note(
                f"{where}: the samples do not fit into memory at once. Pass chunk_size=…, fewer than num_samples."
            )
        raise

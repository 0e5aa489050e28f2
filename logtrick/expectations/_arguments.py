"""Checks of the arguments of expectations."""

import inspect
from typing import Any

from logtrick._core import checks
from logtrick._core.calls import described

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


def check_counts(where: str, num_samples: Any, chunk_size: Any) -> None:
    """Check the number of samples, and the number of samples in a chunk."""
    checks.positive_int(where, "num_samples", num_samples)
    if num_samples >= 2**32:
        raise ValueError(
            f"{where}(num_samples=…) needs fewer than 2**32 samples; got {num_samples}. Average several keys."
        )
    if chunk_size is not None:
        checks.positive_int(where, "chunk_size", chunk_size)

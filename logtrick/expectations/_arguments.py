"""The arguments of expectations: what is refused, in words."""

import inspect
from collections.abc import Callable
from typing import Any

from logtrick._core import checks
from logtrick._core.calls import described


def takes_key(f: Callable[..., Any]) -> bool:
    """Whether `f` has two required arguments, a draw and a key."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not tell
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(required) == 2


def check_function(where: str, f: Any) -> None:
    """`f` is a function of a draw."""
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
    except (TypeError, ValueError):  # a builtin that does not tell
        return
    counts = (1, 2) if takes_key(f) else (1,)
    if not any(_takes(signature, count) for count in counts):
        raise TypeError(
            f"{where}(f=…) is called with one draw, f(x), or with a draw and a key, f(x, key); got a function of "
            f"{signature}. Let it take everything else from around it."
        )


def _takes(signature: inspect.Signature, count: int) -> bool:
    """Whether a function can be called with so many positional arguments."""
    try:
        signature.bind(*(None,) * count)
    except TypeError:
        return False
    return True


def check_counts(where: str, num_samples: Any, chunk_size: Any) -> None:
    """Legal numbers of samples, in all and at a time."""
    checks.positive_int(where, "num_samples", num_samples)
    if num_samples >= 2**32:
        raise ValueError(
            f"{where}(num_samples=…) needs fewer than 2**32 samples; got {num_samples}. Average several keys."
        )
    if chunk_size is not None:
        checks.positive_int(where, "chunk_size", chunk_size)

"""The arguments of a fit: what is refused, in words."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import optax

from logtrick._core import checks
from logtrick._core.compat import is_key
from logtrick.training._adaptive import partition
from logtrick.training._average import Average
from logtrick.training._checkpoint import Checkpoint
from logtrick.training._feed import as_array
from logtrick.training._listener import Listener

P = ParamSpec("P")
R = TypeVar("R")

LIMIT = 10


def keywords_after(count: int, where: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Say in words that further arguments go by name."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **options: P.kwargs) -> R:
            if len(args) > count:
                raise TypeError(
                    f"{where} takes (key, objective, params, optimizer), and everything else by name; got {len(args)} "
                    f"positional arguments. Pass num_steps={args[count]!r}, say."
                )
            if "num_steps" not in options:
                raise TypeError(
                    f"{where} needs to know how many steps to take. Pass num_steps=1000, say."
                )
            return function(*args, **options)

        return checked

    return decorate


def check_swapped(where: str, key: Any, params: Any) -> None:
    """Keys come first."""
    if is_key(params) and not is_key(key):
        raise TypeError(
            f"{where} got a key as params, and {type(key).__name__} as key. Keys come first: {where}(key, objective, params, "
            "optimizer, num_steps=…)."
        )


def check_counts(where: str, num_steps: Any, chunk: Any) -> None:
    """Positive ints."""
    checks.positive_int(where, "num_steps", num_steps)
    checks.positive_int(where, "chunk", chunk)


def check_functions(where: str, objective: Any, optimizer: Any) -> None:
    """A function, and an optax optimizer."""
    if not callable(objective):
        raise TypeError(
            f"{where}(objective=…) needs a function of (params, key); got {type(objective).__name__}."
        )
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"{where}(optimizer=…) needs an optax gradient transformation; got {type(optimizer).__name__}. Pass "
            "optax.adam(1e-2), say."
        )


def check_call(where: str, objective: Any, has_data: bool) -> None:
    """A function of the right number of arguments."""
    wanted = "(params, key, batch)" if has_data else "(params, key)"
    hint = "Its third argument is the batch of data." if has_data else "The key may stay unused."
    try:
        signature = inspect.signature(objective)
    except (TypeError, ValueError):  # a built-in function
        return
    try:
        signature.bind(*(None,) * (3 if has_data else 2))
    except TypeError:
        raise TypeError(
            f"{where}(objective=…) is called with {wanted}; got a function of {signature}. {hint}"
        ) from None


def check_options(where: str, average: Any, freeze_guard: Any) -> None:
    """The types of what is rarely given."""
    if average is not None and not isinstance(average, Average):
        raise TypeError(
            f"{where}(average=…) needs an lt.training.Average; got {type(average).__name__}. Pass "
            "lt.training.PolyakAverage(), say."
        )
    guard = freeze_guard
    if guard is not None and not (isinstance(guard, int | float) and guard > 1):
        raise ValueError(
            f"{where}(freeze_guard=…) needs a number above 1, or None; got {guard!r}. Leave it out for 1e3."
        )


def limit(where: str, nonfinite: Any) -> int:
    """How many steps in a row may be skipped."""
    if not isinstance(nonfinite, str):
        return checks.positive_int(where, "nonfinite", nonfinite)
    limits = {"skip": LIMIT, "raise": 1}
    if nonfinite not in limits:
        raise ValueError(
            f'{where}(nonfinite=…) needs "skip", "raise" or a positive int; got {nonfinite!r}.'
        )
    return limits[nonfinite]


def arrays(where: str, params: Any) -> Any:
    """Parameters as arrays without weak types, which would be compiled for twice."""
    checks.differentiable(where, partition(params)[0])
    return jax.tree.map(as_array, params)


def listeners(where: str, given: Any, stop: Any) -> list[Listener]:
    """The user's listeners, the stop rule last."""
    if isinstance(given, Listener) or not isinstance(given, Sequence):
        raise TypeError(
            f"{where}(listeners=…) needs a tuple of listeners; got {type(given).__name__}. Pass (listener,)."
        )
    for name, listener in (*(("listeners", x) for x in given), *([("stop", stop)] if stop else ())):
        if not isinstance(listener, Listener):
            raise TypeError(
                f"{where}({name}=…) needs an lt.training.Listener; got {type(listener).__name__} {listener!r}. Subclass "
                "lt.training.Listener, or pass callback=… for a function."
            )
        if isinstance(listener, Checkpoint):
            raise TypeError(f"{where}({name}=…) got a Checkpoint. Pass it as checkpoint=….")
    return [*given, *([stop] if stop is not None else [])]


def refuse_host(where: str, others: list[Listener], saver: Any, host: Any) -> None:
    """What needs a host between chunks."""
    if others or saver is not None or host is not None:
        raise ValueError(
            f"{where}: under jax.vmap and jax.jit there is no host between chunks, so callback, progress, stop, checkpoint, "
            "listeners and batches made by the host must be left out."
        )

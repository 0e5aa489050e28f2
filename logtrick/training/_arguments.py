"""The arguments of a fit, checked."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import jax
import optax

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick.training._adaptive import partition
from logtrick.training._average import Average, PolyakAverage
from logtrick.training._checkpoint import Checkpoint
from logtrick.training._feed import as_array
from logtrick.training._listener import Listener

P = ParamSpec("P")
R = TypeVar("R")

LIMIT = 10
_MOST_STEPS = 2**31 - 1


def checked_call(
    where: str, signature: inspect.Signature | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate `minimize` and `maximize`: errors for wrong, missing and unknown arguments say what is meant."""
    return in_words(
        where,
        signature=signature,
        further=((int, "num_steps"),),
        missing={
            "num_steps": f"{where} needs to know how many steps to take. Pass num_steps=1000, say.",
            "optimizer": f"{where} takes (key, objective, params, optimizer); optimizer is missing. Pass optax.adam(1e-2), say.",
        },
    )


def check_counts(where: str, num_steps: Any, chunk: Any, average: Any) -> tuple[int, int]:
    """The numbers of steps, of all and of a chunk, checked: of at most 32 bits; an average begins before the last step."""
    num_steps = checks.positive_int(where, "num_steps", num_steps)
    if num_steps > _MOST_STEPS:
        raise ValueError(
            f"{where}(num_steps=…) needs at most {_MOST_STEPS} steps; got {num_steps}. Pass fewer, and go on from "
            "`result.params` in a second fit."
        )
    chunk = checks.positive_int(where, "chunk", chunk)
    _check_average(where, average, num_steps)
    return num_steps, chunk


def check_functions(where: str, objective: Any, optimizer: Any) -> None:
    """Check that the objective is a function, and the optimizer is one of optax."""
    if not callable(objective):
        raise TypeError(
            f"{where}(objective=…) needs a function of (params, key); got {described(objective)}."
        )
    if not isinstance(optimizer, optax.GradientTransformation):
        advice = "Pass optax.adam(1e-2), say"
        if callable(optimizer):
            advice = f"Call it: optax.{getattr(optimizer, '__name__', 'adam')}(1e-2), say"
        raise TypeError(
            f"{where}(optimizer=…) needs an optax gradient transformation; got {described(optimizer)}. {advice}."
        )


def check_options(where: str, freeze_guard: Any, **functions: Any) -> None:
    """Check the types of options that are rarely given."""
    for name, function in functions.items():
        if function is not None and not callable(function):
            raise TypeError(f"{where}({name}=…) needs a function; got {described(function)}.")
    guard = freeze_guard
    if guard is not None and not (isinstance(guard, int | float) and guard > 1):
        raise ValueError(
            f"{where}(freeze_guard=…) needs a number above 1, or None; got {guard!r}. Leave it out for 1e3."
        )


def _check_average(where: str, average: Any, num_steps: int) -> None:
    """Check that an average is one, and has at least one step."""
    if average is None:
        return
    if not isinstance(average, Average):
        raise TypeError(
            f"{where}(average=…) needs an lt.training.Average; got {type(average).__name__}. Pass "
            "lt.training.PolyakAverage(), say."
        )
    if isinstance(average, PolyakAverage) and average.first >= num_steps:
        raise ValueError(
            f"{where}(average=PolyakAverage(start={average.first})) averages nothing in {num_steps} steps. Pass a smaller "
            f"start, {num_steps // 2} say."
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
    """The parameters as arrays; those of weak type lose it in the fit's first state, without a program of their own."""
    checks.differentiable(where, partition(params)[0])
    return jax.tree.map(lambda x: x if isinstance(x, jax.Array) else as_array(x), params)


def listeners(where: str, given: Any, stop: Any) -> list[Listener]:
    """The user's listeners, the stop rule last."""
    if isinstance(given, Listener) or not isinstance(given, Sequence):
        raise TypeError(
            f"{where}(listeners=…) needs a tuple of listeners; got {type(given).__name__}. Pass (listener,)."
        )
    stops = [] if stop is None or stop is False else [stop]
    for name, listener in [*(("listeners", x) for x in given), *(("stop", x) for x in stops)]:
        if not isinstance(listener, Listener):
            raise TypeError(
                f"{where}({name}=…) needs an lt.training.Listener; got {described(listener)}. {_for_listener(listener)}."
            )
        if isinstance(listener, Checkpoint):
            raise TypeError(f"{where}({name}=…) got a Checkpoint. Pass it as checkpoint=….")
        if listener.every is not None:
            checks.positive_int(type(listener).__name__, "every", listener.every)
    all_of_them = [*given, *stops]
    named = [listener.name for listener in all_of_them if listener.name is not None]
    for name in named:
        if named.count(name) > 1:
            raise ValueError(
                f"{where}(listeners=…) got {named.count(name)} listeners of the name {name!r}, whose records would be mixed. "
                "Give one of them another name: listener.name = …"
            )
    return all_of_them


def _for_listener(given: Any) -> str:
    """The advice for an object that is no listener."""
    if isinstance(given, type) and issubclass(given, Listener):
        return f"Write {given.__name__}()"
    if given is True:
        return "Pass stop=lt.training.Converged()"
    return "Subclass lt.training.Listener, or pass callback=… for a function"


def refuse_host(where: str, others: list[Listener], saver: Any, host: Any) -> None:
    """Refuse what needs a host between chunks."""
    if others or saver is not None or host is not None:
        raise ValueError(
            f"{where}: under jax.vmap and jax.jit there is no host between chunks, so callback, progress, stop, checkpoint, "
            "listeners and batches made by the host must be left out."
        )

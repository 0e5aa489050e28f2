"""Check a program and begin it: a program is a generator function, which is run several times."""

import inspect
from collections.abc import Callable, Generator
from typing import Any

from logtrick._core.calls import described
from logtrick.programs._lost import check_sub_programs

Begin = Callable[[], Generator[Any, Any, Any]]


def check_program_arguments(where: str, program: Any, args: tuple[Any, ...]) -> None:
    """The program can be called with the arguments that are passed on to it."""
    try:
        signature = inspect.signature(program)
    except (TypeError, ValueError):  # no function, or a builtin that does not tell
        return
    try:
        signature.bind(*args)
    except TypeError as error:
        raise TypeError(
            f"{where} passes what follows the program on to it, ({', '.join(described(a) for a in args)}); got a program "
            f"of {signature}: {error}. Its own options, such as num_samples=16, go by name."
        ) from None


def start(program: Any, args: tuple[Any, ...]) -> Begin:
    """A function that starts the program anew."""
    if inspect.isgenerator(program):
        raise TypeError(
            "a program is run several times; got a running generator. Pass the generator function itself."
        )
    if not callable(program):
        raise TypeError(
            f"a program is a generator function; got {type(program).__name__}. Write `def program(): yield …`."
        )
    checked = False

    def begin() -> Generator[Any, Any, Any]:
        nonlocal checked
        running = program(*args)
        if not inspect.isgenerator(running):
            raise TypeError(
                "a program is a generator function that yields lt.sample(…) and lt.cost(…); got one that returned "
                f"{type(running).__name__}. Write `x = yield lt.sample(…)` and `yield lt.cost(…)`."
            )
        if inspect.getgeneratorstate(running) != inspect.GEN_CREATED:
            raise TypeError(
                "a program is run several times; got one that returned a generator already begun. Return a new one each "
                "time: pass the generator function itself."
            )
        if not checked:
            check_sub_programs(running)
            checked = True
        return running

    return begin

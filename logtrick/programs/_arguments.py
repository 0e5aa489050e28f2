"""The arguments that a program is called with."""

import inspect
from typing import Any

from logtrick._core.calls import described


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

"""Sub-programs that are called and not yielded from, which Python drops silently."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType
from typing import Any


def check_sub_programs(program: Callable[..., Any]) -> None:
    """Raise where a generator function is called as a statement of its own: its draws and costs would be lost.

    Read from the program's source; where there is none, nothing is checked.

    Raises:
      TypeError: a sub-program is called without `yield from`.
    """
    code = getattr(program, "__code__", None)
    if code is None:
        return
    sub_programs = _generator_functions(program)
    if not sub_programs:  # nearly always: the source, which is slow to find, is then not read
        return
    for name in _called(code):
        if name in sub_programs:
            raise TypeError(
                f"the sub-program {name}(…) is called and not yielded, so its draws and costs would be lost silently. "
                f"Write `yield from {name}(…)`."
            )


def _generator_functions(program: Any) -> set[str]:
    """The names of generator functions among the globals and the variables of outer functions that a program uses."""
    code = program.__code__
    outer = {name: program.__globals__.get(name) for name in code.co_names}
    for name, cell in zip(code.co_freevars, program.__closure__ or ()):
        try:
            outer[name] = cell.cell_contents
        except ValueError:  # a variable that the outer function assigns later
            continue
    return {name for name, value in outer.items() if inspect.isgeneratorfunction(value)}


@functools.lru_cache(maxsize=256)
def _called(code: CodeType) -> tuple[str, ...]:
    """The names that are called as statements in a function."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, TypeError, SyntaxError):  # no source, or a lambda in the middle of a line
        return ()
    calls = (n.value for n in ast.walk(tree) if isinstance(n, ast.Expr))
    return tuple(
        c.func.id for c in calls if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)
    )

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

    Read off the program's source; where there is none, nothing is checked.

    Raises:
      TypeError: a sub-program is called without `yield from`.
    """
    code = getattr(program, "__code__", None)
    if code is None:
        return
    names = _called(code)
    if not names:
        return
    known = inspect.getclosurevars(program)
    for name in names:
        found = known.nonlocals.get(name, known.globals.get(name))
        if inspect.isgeneratorfunction(found):
            raise TypeError(
                f"the sub-program {name}(…) is called and not yielded, so its draws and costs would be lost silently. "
                f"Write `yield from {name}(…)`."
            )


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

"""Sub-programs that are called and not yielded from, which Python drops silently.

A generator that is never run leaves no trace: no code of it is executed. So the source of a program is read for calls whose
result is dropped, and what they call is looked up where the program would look it up.
"""

import ast
import functools
import inspect
import linecache
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, GeneratorType, ModuleType
from typing import Any, NamedTuple

Path = tuple[str, ...]  # ("self", "encoder") of `self.encoder`


def check_sub_programs(running: "GeneratorType[Any, Any, Any]") -> None:
    """Raise where a program calls a sub-program and drops it: its draws and costs would be lost.

    Read from the program's source, and from those of the sub-programs that it names; where there is none, nothing is
    checked. A sub-program is dropped where its call is a statement of its own, or where its result gets a name that is never
    used. Functions that return a generator are not looked into.

    Args:
      running: the program, not begun.
    Raises:
      TypeError: a sub-program is called without `yield from`.
    """
    frame = running.gi_frame
    if frame is None:  # it has ended
        return
    _check(running.gi_code, frame.f_locals, frame.f_globals, set())


def _check(
    code: CodeType, local: Mapping[str, Any], outer: Mapping[str, Any], seen: set[CodeType]
) -> None:
    if code in seen:
        return
    seen.add(code)
    source = _source(code)
    named = {name: outer[name] for name in source.outer if name in outer} | dict(local)
    for path in source.dropped:
        if path in source.sub_programs or _sub_program(path, named) is not None:
            name = ".".join(path)
            raise TypeError(
                f"the sub-program {name}(…) is called and not yielded, so its draws and costs would be lost silently. "
                f"Write `yield from {name}(…)`."
            )
    for path in source.loaded:
        function = _sub_program(path, named) if path[0] in named else None
        if function is not None:
            _check(function.__code__, _variables(function), function.__globals__, seen)


def _sub_program(path: Path, named: Mapping[str, Any]) -> FunctionType | None:
    """The generator function that is called where `path` is, None where that is none, or not known."""
    value = _attribute(named.get(path[0]), path[1:])
    while isinstance(value, functools.partial):
        value = value.func
    value = getattr(value, "__func__", value)  # of a bound method
    if isinstance(value, FunctionType) and value.__code__.co_flags & inspect.CO_GENERATOR:
        return value
    return None


def _attribute(value: Any, names: Path) -> Any:
    """An attribute's attribute and so on, None where it is not known; nothing is computed by a property."""
    for name in names:
        if isinstance(value, ModuleType):
            value = vars(value).get(name)
        elif value is not None:
            value = inspect.getattr_static(value, name, None)
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
    return value


def _variables(function: FunctionType) -> dict[str, Any]:
    """The variables of outer functions that a function uses."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # a variable that the outer function assigns later
            continue
    return found


class _Source(NamedTuple):
    """What the source of a function says.

    Attributes:
      dropped: what is called without any use of the result.
      loaded: all names that are read, with their attributes.
      outer: the names among them that are neither assigned nor arguments.
      sub_programs: the generator functions that are defined inside.
    """

    dropped: tuple[Path, ...] = ()
    loaded: tuple[Path, ...] = ()
    outer: tuple[str, ...] = ()
    sub_programs: frozenset[Path] = frozenset()


@functools.lru_cache(maxsize=256)
def _source(code: CodeType) -> _Source:
    # not by `inspect.getsource`, which looks through all modules for the one that the code is of
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 :]
    try:
        tree = ast.parse(textwrap.dedent("".join(inspect.getblock(lines))))
    except (SyntaxError, tokenize.TokenError):  # a lambda in the middle of a line
        return _Source()
    nodes = list(ast.walk(tree))
    functions = {n.name for n in nodes if isinstance(n, ast.FunctionDef)} - {code.co_name}
    names = [n for n in nodes if isinstance(n, ast.Name)]
    used = {n.id for n in names if isinstance(n.ctx, ast.Load)}
    assigned = functions | {n.id for n in names if isinstance(n.ctx, ast.Store)}
    arguments = {n.arg for n in nodes if isinstance(n, ast.arg)}
    loaded = {_path(n) for n in nodes if isinstance(n, ast.Name | ast.Attribute)}
    dropped = {_path(call.func) for node in nodes for call in _dropped(node, used)}
    known = lambda path: path and path[0] not in assigned
    return _Source(
        tuple(path for path in dropped if known(path) or (path and path[0] in functions)),
        tuple(filter(known, loaded)),
        tuple(used - assigned - arguments),
        frozenset((name,) for name in functions & _generators(code)),
    )


def _generators(code: CodeType) -> set[str]:
    """The names of the generator functions that are defined inside of a function, at any depth."""
    inner = [c for c in code.co_consts if isinstance(c, CodeType)]
    found = {c.co_name for c in inner if c.co_flags & inspect.CO_GENERATOR}
    return found.union(*map(_generators, inner))


def _path(node: ast.AST) -> Path:
    """The names of `a.b.c`; none of another expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def _dropped(node: ast.AST, used: set[str]) -> Iterator[ast.Call]:
    """The calls whose results a statement drops, or gives to a name that is never used."""
    if isinstance(node, ast.Expr):
        yield from _results(node.value)
    elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
        if names and not any(n.id in used for n in names):
            yield from _results(node.value)


def _results(value: ast.AST) -> Iterator[ast.Call]:
    """The calls whose results are the value of an expression, or entries of it."""
    if isinstance(value, ast.Call):
        yield value
    elif isinstance(value, ast.IfExp):
        yield from _results(value.body)
        yield from _results(value.orelse)
    elif isinstance(value, ast.BoolOp):
        for part in value.values:
            yield from _results(part)
    elif isinstance(value, ast.List | ast.Tuple | ast.Set):
        for part in value.elts:
            yield from _results(part)
    elif isinstance(value, ast.ListComp | ast.SetComp):
        yield from _results(value.elt)

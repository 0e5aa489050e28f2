"""Public names that are imported on first use, so that a program imports what it uses (PEP 562)."""

import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable
from typing import Any


def names_of_stub(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package, from the imports in its stub file.

    The stub is what type checkers read: one list of the names serves both. A name found once is kept in the
    package, so that the second look costs what an attribute costs. Packages of interchangeable parts have stubs, as the package
    itself has: `lt.expect` would otherwise import every family, every estimator and every baseline.
    """
    stub = ast.parse(pkgutil.get_data(package, "__init__.pyi") or b"")
    lines = [s for s in stub.body if isinstance(s, ast.ImportFrom)]
    home = {
        n.asname or n.name: (line.module or package, n.name) for line in lines for n in line.names
    }

    def get(name: str) -> Any:
        if name not in home:
            raise _missing(package, name, sorted(home))
        module, original = home[name]
        if module == package:
            value = importlib.import_module(f"{package}.{original}")
        else:
            value = getattr(importlib.import_module(module), original)
        importlib.import_module("logtrick._core.signatures").show_public(value)
        setattr(sys.modules[package], name, value)
        return value

    return get, lambda: sorted(home), sorted(home)


def _plain(name: str) -> str:
    """A name without what people spell in different ways."""
    return name.lower().replace("_", "")


def _missing(package: str, name: str, known: list[str]) -> AttributeError:
    """The error of a name that is not there.

    Names of other libraries and papers are told what to use, a misspelled one is told the nearest of ours.
    """
    said = f"module {package!r} has no attribute {name!r}"
    if not name.startswith("_"):
        pointers = importlib.import_module("logtrick._pointers").POINTERS
        prefix = package.replace("logtrick", "lt", 1)
        ours = {_plain(each): f"use {prefix}.{each}" for each in known}
        words = {**{_plain(each): advice for each, advice in pointers.items()}, **ours}
        near = difflib.get_close_matches(_plain(name), words, 1, 0.8)
        advice = pointers.get(name) or words.get(_plain(name)) or (words[near[0]] if near else None)
        if advice:
            return AttributeError(f"{said}: {advice}.")
    return AttributeError(said, name=name, obj=sys.modules[package])

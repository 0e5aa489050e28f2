"""Short text for objects: arrays by dtype and shape, functions by name, what is long on lines of its own."""

import dataclasses
import inspect
import pathlib
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

_WIDTH = 100
_ITEMS = 8  # of a container, before the rest is counted
_LETTERS = 60  # of a text


def show(obj: Any) -> str:
    """The `repr` of a dataclass: `Name(field=value, …)`, without fields that are None by default.

    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> print(show(lt.Normal(jnp.zeros(3), 1.0)))
      Normal(loc=float32[3], scale=1.0)
    """
    fields = [
        f"{field.name}={short(value)}"
        for field in dataclasses.fields(obj)
        if (value := getattr(obj, field.name)) is not None or field.default is not None
    ]
    return _joined(f"{type(obj).__name__.lstrip('_')}(", fields, ")")


def show_arguments(obj: Any) -> str:
    """The `repr` of a plain object by the arguments of its constructor that it keeps as attributes of these names.

    Example:
      >>> import logtrick as lt
      >>> print(show_arguments(lt.training.JSONLines("history.jsonl", every=10)))
      JSONLines(path='history.jsonl', every=10)
    """
    names = list(inspect.signature(type(obj).__init__).parameters)[1:]
    given = [f"{n}={short(getattr(obj, n))}" for n in names if getattr(obj, n, None) is not None]
    return _joined(f"{type(obj).__name__.lstrip('_')}(", given, ")")


def short(value: Any) -> str:
    """A value in few letters; an object of another kind by its own `repr`."""
    if isinstance(value, jax.core.Tracer | jax.ShapeDtypeStruct):
        return _array(value)
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        concrete = not value.ndim and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended)
        return str(value) if concrete else _array(value)
    if isinstance(value, dict):
        return _joined(
            "{", _some(value.items(), lambda item: f"{item[0]!r}: {short(item[1])}"), "}"
        )
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        named = [f"{name}={short(item)}" for name, item in zip(value._fields, value)]
        return _joined(f"{type(value).__name__}(", named, ")")
    if isinstance(value, tuple):
        return _joined("(", _some(value, short), ",)" if len(value) == 1 else ")")
    if isinstance(value, list):
        return _joined("[", _some(value, short), "]")
    if isinstance(value, pathlib.PurePath):
        value = str(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _LETTERS else f"{value[: _LETTERS - 1]}…")
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    return repr(value)


def _array(value: Any) -> str:
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"


def _some(items: Iterable[Any], text: Callable[[Any], str]) -> list[str]:
    """The texts of the first items; the others are counted."""
    chosen = list(items)
    rest = [f"… {len(chosen) - _ITEMS} more"] if len(chosen) > _ITEMS else []
    return [text(item) for item in chosen[:_ITEMS]] + rest


def _joined(opening: str, parts: list[str], closing: str) -> str:
    line = f"{opening}{', '.join(parts)}{closing}"
    if len(line) <= _WIDTH and "\n" not in line:
        return line
    return f"{opening}\n{textwrap.indent(f',{chr(10)}'.join(parts), '  ')}\n{closing}"

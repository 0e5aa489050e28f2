"""Signatures and members of public objects as `help` shows them: types by public names, `dist: lt.Distribution`, no plumbing."""

import abc
import dataclasses
import inspect
import re
import sys
import types
from typing import Any

_PATH = re.compile(r"\b\w+(?:\.\w+)+")
_PLAIN = ("typing.", "collections.abc.", "builtins.")
# Where other libraries export what they define elsewhere.
_ELSEWHERE = {
    "Array": "jax.Array",
    "Mesh": "jax.sharding.Mesh",
    "GradientTransformation": "optax.GradientTransformation",
    "ShapeDtypeStruct": "jax.ShapeDtypeStruct",
}
_PLUMBING = frozenset(
    {
        "__abstractmethods__", "__annotations__", "__dataclass_fields__", "__dataclass_params__", "__dataclass_transform__",
        "__delattr__", "__match_args__", "__orig_bases__", "__parameters__", "__post_init__", "__replace__", "__setattr__",
        "__signature__",
    }
)  # fmt: skip
_DONE: set[type] = set()


@dataclasses.dataclass(frozen=True)
class Shown:
    """An annotation whose `repr` is a text; equal texts are equal, so that signatures can be compared."""

    text: str

    def __repr__(self) -> str:
        return self.text


class ModuleType(abc.ABCMeta):
    """The class of the classes of frozen objects: `help` shows what users call, with signatures by public names.

    `help` reads the members of a class by `dir`, which asks the class of the class and nothing else: hence a metaclass. It is
    a kind of `abc.ABCMeta`, so that a subclass may have a base of `abc` or of `collections.abc` beside ours. `isinstance` is
    that of plain classes: it is asked many times in every eager call, and takes half as long again by `ABCMeta`.
    """

    __instancecheck__ = type.__instancecheck__
    __subclasscheck__ = type.__subclasscheck__

    def __dir__(cls) -> list[str]:
        show_methods(cls)
        return [name for name in super().__dir__() if name not in _PLUMBING]


class ConstructorSignature:
    """The `__signature__` of a class: that of its constructor, made when somebody asks."""

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        found = inspect.signature(owner.__init__)  # type: ignore[misc]  # of this class
        return public(found.replace(parameters=list(found.parameters.values())[1:]))


def public(signature: inspect.Signature) -> inspect.Signature:
    """A signature with its types by their public names."""
    empty = inspect.Parameter.empty
    parameters = [
        p if p.annotation is empty else p.replace(annotation=_shown(p.annotation))
        for p in signature.parameters.values()
    ]
    returned = signature.return_annotation
    if returned is not empty and returned is not None:
        returned = _shown(returned)
    return signature.replace(parameters=parameters, return_annotation=returned)


def show_public(thing: Any) -> None:
    """Let `help` show the signature of a function, a class, or each function of a package, with types by public names."""
    if isinstance(thing, types.ModuleType):
        for name, member in vars(thing).items():
            if not name.startswith("_") and isinstance(member, types.FunctionType):
                show_public(member)
    elif getattr(thing, "__module__", "").startswith("logtrick.") and _has_plain_signature(thing):
        thing.__signature__ = public(inspect.signature(thing))


def _has_plain_signature(thing: Any) -> bool:
    """Whether `thing` is a function, or a class whose signature is that of its own constructor."""
    plain_class = isinstance(thing, type) and not isinstance(thing, ModuleType)
    return isinstance(thing, types.FunctionType) or (plain_class and "__init__" in vars(thing))


def show_methods(cls: type) -> None:
    """Let `help` show the methods of a class and of its bases with types by public names."""
    for base in cls.__mro__:
        if base in _DONE or not base.__module__.startswith("logtrick."):
            continue
        _DONE.add(base)
        for name, member in vars(base).items():
            called = not name.startswith("_") or name in ("__init__", "__call__")
            if called and isinstance(member, types.FunctionType):
                show_public(member)


def _shown(annotation: Any) -> Any:
    if isinstance(annotation, Shown):
        return annotation
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return Shown(_PATH.sub(lambda found: _public_name(found[0]), text))


def _public_name(path: str) -> str:
    """The name under which users know what is defined at a dotted path."""
    if path.startswith(_PLAIN):
        return path.rpartition(".")[2]
    first, *_, name = path.split(".")
    if first != "logtrick":
        return _ELSEWHERE.get(name, path) if "._" in path else path
    package = path.split(".")[1]
    if name in sys.modules["logtrick"].__all__:
        return f"lt.{name}"
    return f"vi.{name}" if package == "vi" else f"lt.{package}.{name}"

"""The base of every configurable object: a frozen dataclass that is a pytree, abstract or final."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import jax

from logtrick._core.calls import constructor_in_words
from logtrick._core.show import show
from logtrick._core.signatures import ConstructorSignature, ModuleType

T = TypeVar("T")


def static(**kwargs: Any) -> Any:
    """Declare a field that is part of the pytree's structure: hashable, compared with ==, never traced.

    Args:
      kwargs: those of `dataclasses.field`, such as `default`.
    Returns:
      The field.
    Example:
      >>> import jax, logtrick as lt
      >>> class Power(lt.Module):
      ...     base: float
      ...     exponent: int = lt.static(default=2)
      >>> jax.tree.leaves(Power(3.0))                          # the exponent is no leaf
      [3.0]
    """
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
class Module(metaclass=ModuleType):
    """A frozen dataclass, registered as a pytree whose leaves are its fields, `static()` ones excepted.

    Subclasses are abstract (`class Estimator(Module, abstract=True)`) or final: a final class has
    no subclasses, so that what is implemented is never overridden, and defines every method that a
    base marks by `abc.abstractmethod`; one that does not raises when it is defined. Unflattening
    skips `__post_init__`: JAX puts objects that are not arrays into the leaves. Constructors refuse
    wrong arguments in words of ours.
    """

    _abstract = True
    __signature__ = ConstructorSignature()

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__bases__:
            if issubclass(base, Module) and not base._abstract:
                raise TypeError(
                    f"{cls.__name__} subclasses {base.__name__}, which is final. Wrap it, or subclass its base."
                )
        cls._abstract = abstract
        dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        _require_free_names(cls)
        cls.__setattr__ = _refuse_to_set  # type: ignore[method-assign]  # the dataclass's, in words
        constructor_in_words(cls)
        if not abstract:
            _require_all_methods(cls)
            _register(cls)

    def __repr__(self) -> str:
        return show(self)


def is_ours(obj: Any) -> bool:
    """Whether the class of `obj` stands in this package: its methods read leaves and static fields and nothing else."""
    return type(obj).__module__.startswith("logtrick.")


def holds_user_code(module: Any) -> bool:
    """Whether functions or classes of a user's are among the fields of a module (or of several, a pytree).

    Such code may read what stands in no field. Without it, two modules of equal structure and equal leaves do the same.
    """
    parts = [module]
    while parts:
        part = parts.pop()
        if isinstance(part, Module):
            if not type(part).__module__.startswith("logtrick."):  # `is_ours`, without the call
                return True
            parts.extend(vars(part).values())
        elif isinstance(part, tuple | list):
            parts.extend(part)
        elif isinstance(part, dict):
            parts.extend(part.values())
        elif callable(part):
            return True
    return False


def _require_free_names(cls: Any) -> None:
    """Raise where a field has the name of a property that a base defines: it could not be set."""
    taken = [
        f.name for f in dataclasses.fields(cls) if isinstance(getattr(cls, f.name, None), property)
    ]
    for name in taken:
        owner = next(base.__name__ for base in cls.__mro__ if name in vars(base))
        raise TypeError(
            f"{cls.__name__}.{name} is a field, and {owner} has a property of that name. Rename the field."
        )


def _require_all_methods(cls: type) -> None:
    """Raise where `cls` leaves a method of a base abstract."""
    marked = {
        name: base.__name__
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if getattr(value, "__isabstractmethod__", False)
    }
    missing = [n for n in marked if getattr(getattr(cls, n), "__isabstractmethod__", False)]
    if missing:
        owners = sorted({marked[name] for name in missing})
        raise TypeError(
            f"{cls.__name__} is a concrete {' and '.join(owners)} and lacks {', '.join(sorted(missing))}. Define "
            f"{'it' if len(missing) == 1 else 'them'}, or declare class {cls.__name__}(…, abstract=True)."
        )


def _refuse_to_set(self: Any, name: str, value: Any) -> None:
    """The error of an assignment to a frozen object: what to do in the constructor, and what elsewhere."""
    kind = type(self).__name__
    names = [field.name for field in dataclasses.fields(self)]
    if names and all(each in self.__dict__ for each in names):
        raise dataclasses.FrozenInstanceError(
            f"{kind} is frozen: {name} cannot be assigned. Make a changed copy, lt.replace(obj, {name}=…)."
        )
    raise dataclasses.FrozenInstanceError(
        f"{kind} is frozen, so its own __init__ cannot assign {name}. Declare the fields in the class body, `{name}: float`: "
        "the constructor is made from them. What is computed goes into __post_init__, by lt.assign(self, …)."
    )


def _register(cls: type) -> None:
    fields = dataclasses.fields(cls)
    leaves = tuple(f.name for f in fields if not f.metadata.get("static"))
    statics = tuple(f.name for f in fields if f.metadata.get("static"))

    flatten = _flattener(leaves, statics)

    def flatten_with_keys(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        children, aux = flatten(self)
        return tuple((jax.tree_util.GetAttrKey(n), c) for n, c in zip(leaves, children)), aux

    def unflatten(aux: tuple[Any, ...], children: tuple[Any, ...]) -> Any:
        self: Any = object.__new__(cls)
        for name, value in (*zip(leaves, children), *zip(statics, aux)):
            object.__setattr__(self, name, value)
        return self

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)


def _flattener(
    leaves: tuple[str, ...], statics: tuple[str, ...]
) -> Callable[[Any], tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """The function that flattens an object into its leaves and its static fields; eager calls do this most of all."""
    count = len(leaves)
    if count + len(statics) < 2:  # `attrgetter` of one name gives no tuple
        return lambda self: (
            tuple(getattr(self, name) for name in leaves) if leaves else (),
            tuple(getattr(self, name) for name in statics) if statics else (),
        )
    values_of = operator.attrgetter(*leaves, *statics)

    def flatten(self: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        values = values_of(self)
        return values[:count], values[count:]

    return flatten


def assign(module: Module, **values: Any) -> None:
    """Set fields of a frozen module while it is constructed: inside of `__post_init__` only.

    Args:
      module: the module.
      values: the new values, by field.
    Example:
      >>> import logtrick as lt
      >>> class Rate(lt.Module):
      ...     value: float
      ...     def __post_init__(self):
      ...         lt.assign(self, value=abs(self.value))
      >>> Rate(-2.0).value
      2.0
    """
    for name, value in values.items():
        object.__setattr__(module, name, value)


def replace(module: T, **values: Any) -> T:
    """A copy of a module with some fields changed; `__post_init__` is not called.

    Args:
      module: the module.
      values: the new values, by field.
    Returns:
      The copy.
    Raises:
      TypeError: the module has no such field.
    Example:
      >>> import logtrick as lt
      >>> lt.replace(lt.ConstantBaseline(1.0), constant=2.0)
      ConstantBaseline(constant=2.0)
    """
    if not isinstance(module, Module):
        raise TypeError(
            f"lt.replace(module, …) changes fields of an object of logtrick; got {type(module).__name__}."
        )
    new = object.__new__(type(module))
    for f in dataclasses.fields(module):  # type: ignore[arg-type]  # modules are dataclasses
        object.__setattr__(
            new, f.name, values.pop(f.name) if f.name in values else getattr(module, f.name)
        )
    if values:
        raise TypeError(f"{type(module).__name__} has no fields {sorted(values)}.")
    return new

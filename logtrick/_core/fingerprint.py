"""When two functions compile to the same program: a key from their code and from the data they refer to.

A compiled fit is found again by this key. So an objective or an optimizer that is made inline again, with equal code and
equal data, compiles nothing; and one whose data changed (a closed-over variable, a default, a global, an attribute of the
object it is bound to) is compiled anew, where `jax.jit` would silently go on with the old number.

Compared by content: numbers, strings, small arrays, containers, pytrees, functions (recursively), the attributes of
objects and functions. Compared by identity: modules, classes, compiled functions, large arrays of JAX (immutable). Not
seen: changes in place of a NumPy array above 16 MB or of another kind of container (a deque), what a library's functions
refer to, and what lies deeper than the budget.
"""

import functools
import hashlib
import pathlib
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from logtrick._core.compat import is_key, is_tracer

_ITEMS = 5_000  # looked at in all; further ones are compared by identity
_DEEP = 12
_JAX_BYTES, _NUMPY_BYTES = 2**14, 2**24  # by content up to here
_LIBRARIES = {
    str(pathlib.Path(module.__file__).parent)
    for module in (jax, np, functools)
    if module.__file__ is not None
} | {str(pathlib.Path(__file__).parents[1])}
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), np.dtype, range, slice)


class _Same:
    """A key of an object that is equal to itself only. The object is kept alive, so that its id is not given to another."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __hash__(self) -> int:
        return id(self.x)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.x is self.x


def fingerprint(x: Any) -> Hashable:
    """A key that is equal for functions and data that compile to the same program."""
    return _Reader().read(x, 0)


def fingerprint_and_tracers(x: Any) -> tuple[Hashable, bool]:
    """The key of `x`, and whether `x` refers to values of a trace of JAX (`vmap`, `grad`, `jit`) that is going on."""
    reader = _Reader()
    return reader.read(x, 0), reader.traced


T = TypeVar("T")


class Compiled(Generic[T]):
    """A cache of what was compiled for a function and the data behind it, found again while both are equal.

    Bounded, since each entry keeps alive what its function closes over.

    Args:
      make: `make(function, *settings)`, called where nothing equal is known.
      most: entries that are kept, those used last.
    """

    def __init__(self, make: Callable[..., T], most: int = 16) -> None:
        self.make, self.most = make, most
        self.kept: OrderedDict[Hashable, T] = OrderedDict()

    def find(self, function: Callable[..., Any], *settings: Hashable) -> T:
        """What `make` made of a function and its settings, or of equal ones."""
        compared, traced = fingerprint_and_tracers(function)
        if traced:  # not to be kept beyond its trace
            return self.make(function, *settings)
        key = (compared, settings)
        found = self.kept.pop(key, None)
        if found is None:
            found = self.make(function, *settings)
        self.kept[key] = found
        while len(self.kept) > self.most:
            self.kept.popitem(last=False)
        return found


def functions_in(tree: Any) -> list[Any]:
    """The functions, and other objects that can be called, in the structure of a pytree: those of its static fields.

    JAX compares most of them by identity, and does not see that what they refer to has changed.

    Args:
      tree: the structure, as `jax.tree.structure` gives it.
    """
    node = tree.node_data()
    if node is None:
        return []
    own = _functions_among(node[1])
    return own + [f for child in tree.children() for f in functions_in(child)]


def _functions_among(x: Any) -> list[Any]:
    if isinstance(x, tuple | list):
        return [f for item in x for f in _functions_among(item)]
    return [x] if callable(x) and not isinstance(x, type) else []


class _Reader:
    """One pass over an object and what it refers to."""

    def __init__(self) -> None:
        # By id: the number of the object, and the object itself. Without it, the id of a leaf that a pytree makes when it is
        # flattened would be given to the next such leaf, which would then count as seen, whatever its numbers.
        self.seen: dict[int, tuple[int, Any]] = {}
        self.traced = False

    def read(self, x: Any, depth: int) -> Hashable:
        if isinstance(x, _PLAIN):
            return (type(x), repr(x))  # repr tells 0.0 from −0.0, and nan is equal to itself
        if id(x) in self.seen:
            return ("again", self.seen[id(x)][0])
        self.traced = self.traced or is_tracer(x)
        if depth > _DEEP or len(self.seen) > _ITEMS or is_tracer(x):
            return _Same(x)
        if isinstance(x, types.ModuleType | type | types.BuiltinFunctionType):
            return _Same(x)
        self.seen[id(x)] = (len(self.seen), x)
        return self._content(x, depth + 1)

    def _content(self, x: Any, depth: int) -> Hashable:
        if isinstance(x, jax.Array | np.ndarray | np.generic):
            return _array(x)
        if isinstance(x, types.FunctionType):
            return ("function", *self._function(x, depth))
        if isinstance(x, types.MethodType):
            return ("method", self.read(x.__func__, depth), self.read(x.__self__, depth))
        if isinstance(x, functools.partial):
            return ("partial", *(self.read(y, depth) for y in (x.func, x.args, x.keywords)))
        if isinstance(x, tuple | list):
            return (type(x), *(self.read(y, depth) for y in x))
        if isinstance(x, dict):
            pairs = ((self.read(k, depth), self.read(v, depth)) for k, v in x.items())
            return (type(x), *pairs)
        if isinstance(x, set | frozenset):
            return (type(x), frozenset(self.read(y, depth) for y in x))
        return self._object(x, depth)

    def _function(self, f: types.FunctionType, depth: int) -> Iterator[Hashable]:
        yield f.__code__
        yield self.read(f.__defaults__, depth)
        yield self.read(f.__kwdefaults__, depth)
        for cell in f.__closure__ or ():
            yield self.read(_contents(cell), depth)
        if _is_library(f.__code__.co_filename):
            return
        yield self.read(f.__dict__, depth)
        for name in sorted(set(_names(f.__code__))):
            if name in f.__globals__:
                yield (name, self.read(f.__globals__[name], depth))

    def _object(self, x: Any, depth: int) -> Hashable:
        """A pytree by its leaves, another object by its identity and its attributes."""
        leaves, tree = jax.tree.flatten(x)
        if not (len(leaves) == 1 and leaves[0] is x):
            try:
                hash(tree)
            except TypeError:
                return _Same(x)
            functions = (self.read(f, depth) for f in functions_in(tree))
            return (tree, *functions, *(self.read(leaf, depth) for leaf in leaves))
        declared = getattr(type(x), "compared_by", None)
        if isinstance(declared, tuple):  # an object of ours, by what it is made of
            return (type(x), *(self.read(getattr(x, name), depth) for name in declared))
        if not _by_attributes(x):
            return _Same(x)
        return (_Same(x), self.read(_attributes(x), depth))


def _by_attributes(x: Any) -> bool:
    """Whether the attributes of `x` are data: not for compiled functions, nor for host functions, which are called anew."""
    home = sys.modules.get(type(x).__module__)
    return not _is_library(getattr(home, "__file__", None) or "")


def _attributes(x: Any) -> dict[str, Any]:
    """The attributes of an object by name, those in slots included."""
    found = dict(getattr(x, "__dict__", {}))
    for base in type(x).__mro__:
        for name, member in vars(base).items():
            if "__slots__" in vars(base) and isinstance(member, types.MemberDescriptorType):
                found[name] = getattr(x, name, None)
    return found


def _array(x: Any) -> Hashable:
    if is_key(x):
        x = jax.random.key_data(x)
    most = _JAX_BYTES if isinstance(x, jax.Array) else _NUMPY_BYTES
    if x.nbytes > most or (isinstance(x, jax.Array) and not x.is_fully_addressable):
        return _Same(x)
    host = np.asarray(x)
    if host.dtype.hasobject:
        return _Same(x)
    weak = bool(getattr(x, "weak_type", False))
    digest = hashlib.blake2b(np.ascontiguousarray(host).tobytes(), digest_size=16).digest()
    return (type(x), host.shape, str(host.dtype), weak, digest)


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return cell


def _names(code: types.CodeType) -> Iterator[str]:
    """The names of globals that a function's code may read, inner functions included."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_library(path: str) -> bool:
    return "site-packages" in path or any(path.startswith(folder) for folder in _LIBRARIES)

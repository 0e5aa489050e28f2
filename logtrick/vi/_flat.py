"""Named variables with supports, and the one flat unconstrained vector that stands for all of them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.calls import described
from logtrick.bijectors import Bijector, bijector_to
from logtrick.supports import Interval, Real, Simplex, Support
from logtrick.vi._simplex import IsometricLogRatio

Array = jax.Array
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Variable:
    """One named variable, a leaf of the pytree that a log density takes.

    Attributes:
      name: its path in the pytree, as it is printed.
      shape: of its value.
      dtype: of its value.
      support: where its value lives; of no effect on equality, `identity` stands for it.
      identity: what tells two supports apart, hashable.
      flat_shape: of its part of the flat vector, before it is raveled.
      discrete: whether its values are countable.
    """

    name: str
    shape: Shape
    dtype: np.dtype
    support: Support = dataclasses.field(compare=False)
    identity: tuple[Any, ...]
    flat_shape: Shape
    discrete: bool = False

    @property
    def size(self) -> int:
        """How many entries of the flat vector belong to it."""
        return math.prod(self.flat_shape)

    @property
    def bijector(self) -> Bijector:
        """From its part of the flat vector to its support. Made anew: the ends of intervals are NumPy constants."""
        return _bijector(self.support)

    def value(self, part: Array) -> Array:
        """Its value from its part of the flat vector; categories, which the flat vector holds as floats, as integers."""
        if not jnp.issubdtype(self.dtype, jnp.floating):
            return part.reshape(self.shape).astype(self.dtype)
        return self.bijector.forward(part).reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a pytree of named variables and one flat vector of `dim` numbers correspond. Hashable, so that it can be static.

    Attributes:
      tree: the structure of the pytree.
      variables: its leaves, in order.
      dtype: of the flat vector.
    """

    tree: Any
    variables: tuple[Variable, ...]
    dtype: np.dtype

    def __repr__(self) -> str:
        each = [f"{v.name}: {type(v.support).__name__}{list(v.shape)}" for v in self.variables]
        return f"Layout({', '.join(each)})"

    @property
    def dim(self) -> int:
        """The length of the flat vector."""
        return sum(v.size for v in self.variables)

    @property
    def names(self) -> list[str]:
        """A name for every entry of the flat vector."""
        return [name for v in self.variables for name in _entries(v.name, v.flat_shape)]

    @property
    def value_names(self) -> list[str]:
        """A name for every entry of the variables themselves."""
        return [name for v in self.variables for name in _entries(v.name, v.shape)]

    @property
    def whole_space(self) -> bool:
        """Whether every variable is real, so that T is the identity."""
        return all(isinstance(v.support, Real) for v in self.variables)

    @property
    def shapes(self) -> Any:
        """The shapes of the variables, as a pytree."""
        return self.tree.unflatten([v.shape for v in self.variables])

    def split(self, x: Array) -> list[Array]:
        """An array cut along its first axis, which is that of the flat vector, into the rows of the variables."""
        ends = np.cumsum([v.size for v in self.variables])
        return jnp.split(x, ends[:-1])

    def parts(self, u: Array) -> list[Array]:
        """The flat vector cut into the parts of the variables, each in its own shape."""
        return [part.reshape(v.flat_shape) for v, part in zip(self.variables, self.split(u))]

    def unflatten(self, u: Array) -> Any:
        """The parts as a pytree, without any bijector: for discrete variables."""
        return self.tree.unflatten(
            [p.reshape(v.shape) for v, p in zip(self.variables, self.parts(u))]
        )

    def flatten(self, z: Any) -> Array:
        """The inverse of `unflatten`."""
        return _joined(self.tree.flatten_up_to(z))

    def constrain(self, u: Array) -> Any:
        """The variables z = T(u), each in its support."""
        values = [v.value(part) for v, part in zip(self.variables, self.parts(u))]
        return self.tree.unflatten(values)

    def log_det(self, u: Array) -> Array:
        """log |det ∂T(u)/∂u|, shape ()."""
        terms = [v.bijector.log_det(part) for v, part in zip(self.variables, self.parts(u))]
        return sum(terms, jnp.zeros((), u.dtype))

    def unconstrain(self, z: Any) -> Array:
        """The flat vector u = T⁻¹(z); nan or infinite where z is outside of its support."""
        values = [jnp.asarray(x) for x in self.tree.flatten_up_to(z)]
        return _joined([v.bijector.inverse(x) for v, x in zip(self.variables, values)])

    def inside(self, z: Any) -> Array:
        """Whether every variable is in its support, shape ()."""
        values = [jnp.asarray(x) for x in self.tree.flatten_up_to(z)]
        held = [v.bijector.inside(x) for v, x in zip(self.variables, values)]
        return jnp.all(jnp.stack(held)) if held else jnp.asarray(True)

    def start(self, like: Any) -> Array:
        """T⁻¹(like), and 0 for variables whose value in `like` is missing or outside of their support."""
        found = []
        for v, leaf in zip(self.variables, self.tree.flatten_up_to(like)):
            center = jnp.zeros(v.flat_shape, self.dtype)
            if isinstance(leaf, jax.ShapeDtypeStruct):
                found.append(center)
                continue
            value = jnp.asarray(leaf, self.dtype)
            legal = v.bijector.inside(value)
            safe = jnp.where(legal, value, jax.lax.stop_gradient(v.bijector.forward(center)))
            found.append(jnp.where(legal, v.bijector.inverse(safe), center))
        return _joined(found)


def layout_of(where: str, like: Any, support: Any = None) -> Layout:
    """The layout of continuous variables.

    Args:
      where: who asks, for messages.
      like: a pytree of arrays, numbers or `jax.ShapeDtypeStruct`s in the constrained space.
      support: None for all real; a support for all variables; or a pytree like `like`, in which names may be left out.
    """
    names, leaves, tree = _named(where, like)
    supports = tree.flatten_up_to(_spread(where, like, support))
    dtypes = [_float_dtype(where, name, leaf) for name, leaf in zip(names, leaves)]
    variables = [
        _variable(where, name, np.shape(leaf), dtype, kind)
        for name, leaf, dtype, kind in zip(names, leaves, dtypes, supports)
    ]
    return Layout(tree, tuple(variables), np.dtype(jnp.result_type(*dtypes)))


def plain_layout(
    where: str, like: Any, dtype: Any, kinds: Sequence[tuple[Any, bool]] | None = None
) -> Layout:
    """The layout of variables that no bijector moves, such as discrete ones: their flat vector is themselves, raveled.

    Args:
      where: who asks, for messages.
      like: a pytree of arrays or `jax.ShapeDtypeStruct`s: the shapes.
      dtype: of the flat vector.
      kinds: for every variable its dtype, and whether it is discrete; all discrete and of `dtype` where left out.
    """
    names, leaves, tree = _named(where, like)
    variables = []
    for name, leaf, (kind, discrete) in zip(names, leaves, kinds or [(dtype, True)] * len(leaves)):
        shape = np.shape(leaf)
        variables.append(Variable(name, shape, np.dtype(kind), Real(), ("Real",), shape, discrete))
    return Layout(tree, tuple(variables), np.dtype(dtype))


def _named(where: str, like: Any) -> tuple[list[str], list[Any], Any]:
    """The names of the leaves of a pytree, the leaves, and its structure."""
    found, tree = jax.tree_util.tree_flatten_with_path(like)
    if not found:
        raise ValueError(f"{where}(like=…) needs at least one variable; got {like!r}.")
    names = [jax.tree_util.keystr(path, simple=True, separator=".") or "z" for path, _ in found]
    return names, [leaf for _, leaf in found], tree


def _entries(name: str, shape: Shape) -> list[str]:
    """A name for every entry of a variable: w[0][1]."""
    return [name + "".join(f"[{i}]" for i in index) for index in np.ndindex(shape)]


def _bijector(support: Support) -> Bijector:
    """As `bijector_to`, but for the simplex the coordinates that a mean-field guide needs."""
    return IsometricLogRatio() if isinstance(support, Simplex) else bijector_to(support)


def combined(layouts: dict[str, Layout]) -> Layout:
    """The layout of a dict of pytrees, one after the other in the order of the sorted names."""
    tree = jax.tree.structure(
        {n: x.tree.unflatten([0] * len(x.variables)) for n, x in layouts.items()}
    )
    variables: list[Variable] = []
    for block in sorted(layouts):
        for v in layouts[block].variables:
            name = block if v.name == "z" else f"{block}.{v.name}"
            variables.append(dataclasses.replace(v, name=name))
    dtype = jnp.result_type(float, *(x.dtype for x in layouts.values() if x.dtype.kind == "f"))
    return Layout(tree, tuple(variables), np.dtype(dtype))


def _variable(where: str, name: str, shape: Shape, dtype: Any, support: Support) -> Variable:
    if isinstance(support, Interval):  # ends of the variable's own rank, on the host
        low, high = (_end(where, name, end, shape) for end in (support.low, support.high))
        support = Interval(low, high)
    bijector = _bijector(support)
    try:
        flat_shape = bijector.inverse_shape(shape)
        legal = bijector.forward_shape(flat_shape) == shape
    except (IndexError, ValueError):
        legal = False
    if not legal or any(n < 0 for n in flat_shape):
        raise ValueError(
            f"{where}(like=…) needs {name!r} of a shape that {type(support).__name__}() has; got {shape}. "
            "Vectors for simplex and ordered, square matrices for Cholesky factors."
        )
    return Variable(name, shape, np.dtype(dtype), support, _identity(support), flat_shape)


def _end(where: str, name: str, end: Any, shape: Shape) -> np.ndarray:
    end = np.asarray(end)
    if end.ndim == 0:
        return end
    try:
        return np.broadcast_to(end, shape)
    except ValueError:
        raise ValueError(
            f"{where}(support=…) needs ends that broadcast to {name!r}, shape {shape}; got {end.shape}."
        ) from None


def _identity(support: Support) -> tuple[Any, ...]:
    if isinstance(support, Interval):
        ends = [np.asarray(end) for end in (support.low, support.high)]
        return (type(support).__name__, *((end.shape, end.tobytes()) for end in ends))
    return (type(support).__name__,)


def _float_dtype(where: str, name: str, leaf: Any) -> np.dtype:
    if isinstance(leaf, str) or leaf is None or callable(leaf):
        raise TypeError(f"{where}(like=…) needs arrays or numbers; {name!r} is {described(leaf)}.")
    dtype = np.dtype(jnp.result_type(leaf))
    if isinstance(leaf, int | float) and not isinstance(leaf, bool):
        return np.dtype(jnp.result_type(float))
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(
            f"{where}(like=…) needs floats; {name!r} is {dtype}. For discrete variables use "
            "vi.BernoulliProduct or vi.CategoricalProduct, together with others in vi.Blocks."
        )
    return dtype


def _spread(where: str, like: Any, support: Any) -> Any:
    """`support` as a pytree like `like`: names that are left out are real."""
    if support is None or isinstance(support, Support):
        kind = Real() if support is None else _checked(where, support)
        return jax.tree.map(lambda _: kind, like)
    if isinstance(like, Mapping) and isinstance(support, Mapping):
        unknown = sorted(map(str, set(support) - set(like)))
        if unknown:
            raise ValueError(
                f"{where}(support=…) names {', '.join(unknown)}, which like= does not have; it has "
                f"{', '.join(sorted(map(str, like)))}."
            )
        spread = {name: _spread(where, like[name], support.get(name)) for name in like}
        return jax.tree.unflatten(
            jax.tree.structure(like, is_leaf=lambda x: x is not like),
            [spread[name] for name in sorted(like)]
            if type(like) is dict
            else list(spread.values()),
        )
    if isinstance(like, list | tuple) and isinstance(support, list | tuple):
        if len(like) == len(support):
            children = [_spread(where, a, b) for a, b in zip(like, support)]
            return jax.tree.unflatten(
                jax.tree.structure(like, is_leaf=lambda x: x is not like), children
            )
    elif jax.tree.structure(support, is_leaf=_is_support) == jax.tree.structure(like):
        return jax.tree.map(lambda s: _checked(where, s), support, is_leaf=_is_support)
    raise ValueError(
        f"{where}(support=…) needs a support, or a pytree of supports like like=; got {support!r}. "
        'Pass {"tau": vi.positive}, say.'
    )


def _is_support(x: Any) -> bool:
    return isinstance(x, Support)


def _checked(where: str, support: Any) -> Support:
    if not isinstance(support, Support):
        raise TypeError(
            f"{where}(support=…) needs supports; got {type(support).__name__}. Pass vi.positive, say."
        )
    if support.discrete:
        raise ValueError(
            f"{where}(support=…) needs continuous supports; got {support!r}. For discrete variables use "
            "vi.BernoulliProduct or vi.CategoricalProduct, together with others in vi.Blocks."
        )
    return support


def _joined(parts: list[Any]) -> Array:
    return jnp.concatenate([jnp.ravel(part) for part in parts])

"""What all adapters share: a foreign object taken apart into array leaves and structure, and guarded."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.compat import is_tracer
from logtrick._core.kernel import refuse
from logtrick._core.module import replace, static
from logtrick.distributions import Distribution
from logtrick.distributions._parameters import widened
from logtrick.noise import KeyPerRun
from logtrick.supports import Boolean, IntegerBelow, OneHot, Support, grid

Array = jax.Array


class Foreign(Distribution, abstract=True):
    """A distribution of another library.

    Its array leaves are this pytree's leaves, so that derivatives reach the foreign object's own parameters; all else
    is structure. Subclasses define `_sample`, `_foreign_log_prob`, `event_shape`, `support`, and where it applies
    `_values` and `_bounds`.

    Attributes:
      leaves: the foreign object's arrays.
      structure: its tree and the leaves that are no arrays.
      pathwise: whether it declares its draws reparameterised.
      fixed: the caller declares that the support stands still, whatever the class lists say.
      guarded: whether the derivative in what the support depends on is refused.
    """

    leaves: tuple[Any, ...]
    structure: tuple[Any, tuple[Any, ...]] = static()
    pathwise: bool = static(default=False)
    fixed: bool = static(default=False)
    guarded: bool = static(default=False)

    @property
    def foreign(self) -> Any:
        """The foreign object."""
        tree, others = self.structure
        arrays = iter(self.leaves)
        return jax.tree.unflatten(
            tree, [next(arrays) if other is _ARRAY else other for other in others]
        )

    @property
    def reparameterized(self) -> bool:
        return self.pathwise

    @property
    def opaque(self) -> bool:
        return True  # foreign functions may close over more than the leaves

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def moving_support(self) -> tuple[str, ...]:
        return ("leaves",) if self._moving() else ()

    def fixed_support(self) -> Distribution:
        return replace(self, guarded=True) if self._moving() else self

    def _sample(self, key: Array) -> Any:
        raise NotImplementedError

    def _foreign_log_prob(self, x: Any) -> Any:
        raise NotImplementedError

    def _values(self) -> Array:
        """The values that every coordinate of a draw takes, one-hot rows aside."""
        raise NotImplementedError

    def _bounds(self) -> Any:
        """A pytree of what the support depends on."""
        return ()

    def _moving(self) -> list[Any]:
        return (
            []
            if self.fixed
            else [leaf for leaf in jax.tree.leaves(self._bounds()) if is_parameter(leaf)]
        )

    def _ends(self) -> tuple[Any, Any]:
        """The ends of the support, where it is an interval in every coordinate; None for an end that is not known."""
        return None, None

    def inside(self, x: Any) -> Array:
        """Whether `x`, one draw, is where the foreign object says that its draws are (edges included), shape ()."""
        low, high = self._ends()
        with jax.numpy_rank_promotion("allow"):
            inside = self.support.contains(x)
            inside = inside if low is None else inside & jnp.all(x >= low)
            return inside if high is None else inside & jnp.all(x <= high)

    def _transform(self, noise: Any) -> Any:
        # foreign code promotes ranks, also where the caller forbids it
        with jax.numpy_rank_promotion("allow"):
            x = self._sample(noise)
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        # By a divisor: a choice would make the derivative of a draw outside of the support 0, and not nan.
        return x / jnp.where(jax.lax.stop_gradient(self.inside(x)), 1, jnp.nan).astype(x.dtype)

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        # The object may hold parameters where its tree does not show them: closure_convert brings every differentiable
        # array to light.
        def sample(noise: Any, leaves: tuple[Any, ...]) -> Any:
            return widened(replace(self, leaves=leaves))._transform(noise)

        converted, outside = jax.closure_convert(sample, noise, self.leaves)
        return converted(noise, change(self.leaves), *change(outside))

    def _log_prob(self, x: Any) -> Array:
        with jax.numpy_rank_promotion("allow"):
            log_p = checks.real(_name(self), "log_prob", jnp.sum(self._foreign_log_prob(x)))
        if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            # a draw that was refused is nan, whatever a foreign log-prob makes of nan
            log_p = jnp.where(jnp.any(jnp.isnan(x)), jnp.nan, log_p)
        if not self.guarded:
            return log_p
        message = (
            f"{_name(self)}: the support moves with parameters of {type(self.foreign).__name__}, so the score function "
            "misses the boundary's term. Use Pathwise() where it is reparameterised, stop_gradient on those parameters, "
            "or fixed_support=True where the support stands still."
        )
        held = refuse(self._moving(), message, ValueError)
        return log_p + sum(jnp.sum(jnp.where(b == b, 0.0, 0.0)).astype(log_p.dtype) for b in held)

    def _points(self) -> Any:
        support, dtype = self.support, jax.eval_shape(self._transform, jax.random.key(0)).dtype
        if isinstance(support, OneHot):
            rows = grid(np.arange(support.size), self.event_shape[:-1], np.int32)
            return np.eye(support.size, dtype=dtype)[rows]
        with jax.ensure_compile_time_eval():  # known values stay known under a transformation
            values = self._values().reshape(-1)
        values = values if is_tracer(values) else np.asarray(values)
        return values[grid(np.arange(len(values)), self.event_shape, np.int32)].astype(dtype)


class _Array:
    """Marks where an array leaf was taken out of a structure."""

    def __repr__(self) -> str:
        return "*"


_ARRAY = _Array()


def apart(tree: Any) -> tuple[tuple[Any, ...], tuple[Any, tuple[Any, ...]]]:
    """The array leaves of `tree`, and its structure with the leaves that are no arrays."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = tuple(jnp.asarray(leaf) for leaf in leaves if _is_array(leaf))
    return arrays, (structure, tuple(_ARRAY if _is_array(leaf) else leaf for leaf in leaves))


def _is_array(leaf: Any) -> bool:
    # Python numbers of a foreign tree are structure (a rank, an exponent), also under a transformation.
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def is_parameter(leaf: Any) -> bool:
    """Whether a derivative may be taken in `leaf`."""
    return isinstance(leaf, jax.Array | np.ndarray) and bool(
        jnp.issubdtype(leaf.dtype, jnp.inexact)
    )


def parts_of(dist: Any, kind: type) -> list[Any]:
    """`dist` and every distribution in it, however deep: in its attributes, and in lists, tuples and dicts of these.

    Wrappers are found by what they hold and not by their names, so that a class of which nothing is known is looked into.
    """
    found: list[Any] = []
    seen: set[int] = set()

    def look(thing: Any, depth: int) -> None:
        if id(thing) in seen or depth > 12:
            return
        if isinstance(thing, kind):
            seen.add(id(thing))
            found.append(thing)
            for value in _attributes(thing):
                look(value, depth + 1)
        elif isinstance(thing, list | tuple):
            for value in thing:
                look(value, depth + 1)
        elif isinstance(thing, dict):
            for value in thing.values():
                look(value, depth + 1)

    look(dist, 0)
    return found


def _attributes(thing: Any) -> list[Any]:
    held = list(getattr(thing, "__dict__", {}).values())
    parameters = getattr(thing, "parameters", None)  # of TFP, by constructor's argument
    return [*held, *parameters.values()] if isinstance(parameters, dict) else held


def load(where: str, extra: str, module: str) -> Any:
    """Import a foreign module where it is used.

    Raises:
      ImportError: it is not installed; names the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{where} needs {module}; it is not installed. Run: pip install 'logtrick[{extra}]'."
        ) from error


def instance(where: str, dist: Any, kind: type) -> None:
    """`dist` is of the foreign class."""
    if not isinstance(dist, kind):
        raise TypeError(
            f"{where}(dist=…) needs a {kind.__module__.split('.')[0]} distribution; got {type(dist).__name__}. "
            f"Pass an instance of {kind.__name__}."
        )


def whole_shape(
    where: str, fix: str, batch: Sequence[int], event: Sequence[int], event_ndims: int | None
) -> tuple[int, ...]:
    """The shape of one draw, batch dimensions included where the caller says that they are part of the event."""
    batch, event = tuple(batch), tuple(event)
    shape = (*batch, *event)
    if event_ndims is None:
        if batch:
            raise ValueError(
                f"{where}(event_ndims=…) needs one scalar log-prob a draw; got batch shape {batch} and event shape {event}, "
                f"whose log-prob has shape {batch}. Use {fix}, or pass event_ndims={len(shape)} to sum over the batch; for a "
                "batch of expectations use jax.vmap."
            )
    elif checks.positive_int(where, "event_ndims", event_ndims, 0) != len(shape):
        raise ValueError(
            f"{where}(event_ndims=…) needs all {len(shape)} dimensions of a draw, batch shape {batch} and event shape "
            f"{event}; got {event_ndims}. Pass event_ndims={len(shape)}; for a batch of expectations use jax.vmap."
        )
    return shape


def moved(everything: bool, bijectors: Sequence[Any], onto: Callable[[Any], bool]) -> list[Any]:
    """The bijectors, in the order of their application, whose parameters may move the image of the base's support.

    What maps all of Rⁿ onto all of Rⁿ moves nothing; anything else may, where it has parameters.
    """
    movers = []
    for bijector in bijectors:
        everything = everything and onto(bijector)
        if not everything:
            movers.append(bijector)
    return movers


def names(text: str) -> frozenset[str]:
    """The words of `text`: names of foreign classes."""
    return frozenset(text.split())


def finite_support(values: int, *, binary: bool = False, one_hot: bool = False) -> Support:
    """The support of a family that takes `values` values."""
    return OneHot(values) if one_hot else Boolean() if binary else IntegerBelow(values)


def _name(dist: Any) -> str:
    return type(dist).__name__.lstrip("_")

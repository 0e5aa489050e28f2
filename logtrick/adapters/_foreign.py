"""What all adapters share: a foreign object taken apart into array leaves and structure, and guarded."""

import abc
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.compat import is_tracer
from logtrick._core.kernel import refuse, stop
from logtrick._core.module import replace, static
from logtrick._core.watch import watch_draw, watching_draws
from logtrick.adapters._pushed import Pushed, is_parameter, together
from logtrick.distributions import (
    Distribution,
    Draw,
    Enumeration,
    is_draw,
    value_of,
    widened,
)
from logtrick.noise import KeyPerRun
from logtrick.supports import Boolean, IntegerBelow, OneHot, Positive, Support, UnitInterval, grid

Array = jax.Array
# Values that a sampler can draw: with fewer, its draws have another distribution than its log-prob says.
_ENOUGH_VALUES = 256


class Foreign(Distribution, abstract=True):
    """A distribution of another library.

    Its array leaves are this pytree's leaves, so that derivatives reach the foreign object's own parameters; all else
    is structure. Subclasses define `_sample`, `_foreign_log_prob`, `support`, `_bounds`, and where it applies `_values`,
    `_ends` and `_pushed`.

    Attributes:
      leaves: the foreign object's arrays.
      structure: its tree and the leaves that are no arrays.
      shape: of one draw, batch dimensions included.
      pathwise: whether it declares its draws reparameterized.
      fixed: the caller declares that the support stands still, whatever the class lists say.
      guard: `guard(message, …)` is applied to what the support depends on when the log-prob is computed; None for none.
    """

    leaves: tuple[Any, ...]
    structure: tuple[Any, tuple[Any, ...]] = static()
    shape: tuple[int, ...] = static(default=())
    pathwise: bool = static(default=False)
    fixed: bool = static(default=False)
    guard: Callable[[str, Any], Any] | None = static(default=None)

    @property
    def foreign(self) -> Any:
        """The foreign object."""
        return together(self.leaves, self.structure)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def reparameterized(self) -> bool:
        return self.pathwise

    @property
    def may_hide_parameters(self) -> bool:
        return True  # foreign functions may close over more than the leaves

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def moving_support(self) -> tuple[str, ...]:
        return ("leaves",) if self._moving() else ()

    def _with_support(self, change: Callable[[str, Any], Any]) -> Distribution:
        # what the support depends on is no leaf of its own: it is found when the log-prob is computed
        return replace(self, guard=change)

    @property
    def enumeration(self) -> Enumeration | None:
        return Enumeration(self._points) if self.support.finite else None

    @abc.abstractmethod
    def _sample(self, key: Array) -> Any:
        """One draw by the foreign object's own sampler."""

    @abc.abstractmethod
    def _foreign_log_prob(self, x: Any) -> Any:
        """The foreign log-prob of one draw; what it has for single coordinates is summed."""

    @abc.abstractmethod
    def _bounds(self) -> Any:
        """A pytree of what the support depends on."""

    def _values(self) -> Any:
        """The values that every coordinate of a draw takes, one-hot rows aside."""
        support = self.support
        size = support.size if isinstance(support, IntegerBelow) else 2
        return np.arange(size)

    def _moving(self) -> list[Any]:
        if self.fixed:
            return []
        return [leaf for leaf in jax.tree.leaves(self._bounds()) if is_parameter(leaf)]

    def _ends(self) -> tuple[Any, Any]:
        """The ends of the support, where it is an interval in every coordinate; None for an end that is not known."""
        return None, None

    def inside(self, x: Any) -> Array:
        """Whether `x`, one draw, is where the foreign object says that its draws are (edges included), shape ()."""
        low, high = self._ends()
        with jax.numpy_rank_promotion("allow"):
            inside = self.support.contains(x)
            inside = inside if low is None else inside & jnp.all(x >= low)
            inside = inside if high is None else inside & jnp.all(x <= high)
            if jnp.issubdtype(jnp.result_type(x), jnp.integer):
                # a count that its dtype cannot hold, as of a Poisson of rate 1e10, is the largest that it can
                inside = inside & jnp.all(x < jnp.iinfo(jnp.result_type(x)).max)
            enough = [jnp.all(count > _ENOUGH_VALUES) for count in self._counts_of_values()]
            return inside & stop(jnp.stack(enough).all()) if enough else inside

    def _counts_of_values(self) -> list[Array]:
        """About how many values the foreign sampler can draw, of each part of which it may be few."""
        return []

    def _rounded_inside(self, x: Any) -> Array | bool:
        """Whether a draw lies where libraries move those that round to an open end: its score would be another's."""
        kind = type(self.support)
        if kind not in (Positive, UnitInterval):
            return False
        info = jnp.finfo(jnp.result_type(x))
        rounded = (x > 0) & (x <= info.tiny)
        if kind is UnitInterval:
            rounded = rounded | ((x >= 1 - info.eps) & (x < 1))
        return jnp.any(rounded)

    def _pushed(self) -> Pushed | None:
        """The base distribution and the bijectors through which its draws go, where the object is made so."""
        return None

    @property
    def charts(self) -> Any:
        pushed = self._pushed()
        first = None if pushed is None else pushed.first_undone(self.fixed)
        return None if pushed is None or first is None else (pushed.chart(first), None)

    @property
    def checks_draws(self) -> bool:
        return True

    def _transform(self, noise: Any) -> Any:
        pushed = self._pushed()
        first = None if pushed is None else pushed.first_undone(self.fixed)
        # foreign code promotes ranks, also where the caller forbids it
        with jax.numpy_rank_promotion("allow"):
            if pushed is None:
                return self._checked(self._sample(noise))
            if first is None:
                # not by the log-prob: it inverts the bijectors, which may take as many passes as there are coordinates
                value = jnp.asarray(self._sample(noise))
                return self._refused_unless(self.inside(stop(value)), value)
            base = pushed.sample(noise)
            possible = jnp.sum(pushed.log_prob(stop(base))) > -jnp.inf
            coordinates = pushed.forward(base, 0, first)
            value = pushed.forward(coordinates, first, len(pushed.steps))
            possible = possible & self.inside(stop(value))
        return Draw(self._refused_unless(possible, value), coordinates, pushed.chart(first))

    def _checked(self, x: Any) -> Array:
        """`x`, nan where it is outside of the support, or impossible by the log-prob."""
        x = jnp.asarray(x)  # NumPyro's Delta draws the Python number that it was made of
        inexact = jnp.issubdtype(x.dtype, jnp.inexact)
        if not inexact and not watching_draws():
            return x  # a whole number cannot be nan: its costs are (`checks_draws`)
        held = stop(x)
        possible = jnp.sum(self._foreign_log_prob(held)) > -jnp.inf
        if inexact and self.support.whole_space:
            # an infinite draw, of heavy tails, is only too large for its dtype
            possible = possible | jnp.any(jnp.isinf(held))
        return self._refused_unless(possible & self.inside(held), x)

    def _refused_unless(self, possible: Array, x: Array) -> Array:
        """`x`, nan where it is not possible: a foreign sampler is not believed blindly."""
        possible = stop(possible)
        watch_draw(possible, stop(x), type(self.foreign))
        if not jnp.issubdtype(x.dtype, jnp.inexact):
            return x
        # By a divisor: a `where` would make the derivative of a draw outside of the support 0, and not nan.
        return x / jnp.where(possible, 1, jnp.nan).astype(x.dtype)

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        # The object may hold parameters where its tree does not show them: closure_convert brings every differentiable
        # array to light.
        def sample(noise: Any, leaves: tuple[Any, ...]) -> Any:
            return widened(replace(self, leaves=leaves))._transform(noise)

        converted, outside = jax.closure_convert(sample, noise, self.leaves)
        return converted(noise, change(self.leaves), *change(outside))

    def _log_prob(self, x: Any) -> Array:
        value = value_of(x)
        with jax.numpy_rank_promotion("allow"):
            scored = self._log_prob_at(x) if is_draw(x) else jnp.sum(self._foreign_log_prob(x))
        log_p = checks.real(_name(self), "log_prob", scored)
        if jnp.issubdtype(jnp.result_type(value), jnp.inexact):
            # a draw that was refused is nan, whatever a foreign log-prob makes of nan
            log_p = jnp.where(jnp.any(jnp.isnan(value)), jnp.nan, log_p)
        if self.guard is None:
            return log_p
        if not is_draw(x):
            wrong = self._rounded_inside(value) | ~self.inside(value)
            log_p = jnp.where(wrong, jnp.nan, log_p)
        held = self.guard(self._moving_message(), self._moving())
        return log_p + sum(jnp.sum(jnp.where(b == b, 0.0, 0.0)).astype(log_p.dtype) for b in held)

    def _log_prob_at(self, draw: Draw) -> Array:
        """log p of a draw from its coordinates."""
        pushed = self._pushed()
        assert pushed is not None
        first = pushed.first_undone(self.fixed)
        assert first is not None
        last = pushed.steps[first:]
        if self.guard is None:
            last = refuse(last, self._moving_message(), ValueError)
        else:
            last = self.guard(self._moving_message(), last)
        total = jnp.zeros(())
        x = draw.coordinates
        for step in last:
            total = total + jnp.sum(pushed.library.log_det(step, x))
            x = pushed.library.forward(step, x)
        x = draw.coordinates
        for step in reversed(pushed.steps[:first]):
            x = pushed.library.inverse(step, x)
            total = total + jnp.sum(pushed.library.log_det(step, x))
        return jnp.sum(pushed.log_prob(x)) - total

    def _moving_message(self) -> str:
        return (
            f"{_name(self)}: the support moves with parameters of {type(self.foreign).__name__}, so the score function "
            "misses the boundary's term. Use Pathwise() where it is reparameterized, stop_gradient on those parameters, "
            "or fixed_support=True where the support stands still."
        )

    def _points(self) -> Any:
        support = self.support
        dtype = jax.eval_shape(self._transform, jax.random.key(0)).dtype
        if isinstance(support, OneHot):
            rows = grid(np.arange(support.size), self.event_shape[:-1], np.int32)
            return np.eye(support.size, dtype=dtype)[rows]
        with jax.ensure_compile_time_eval():  # known values stay known under a transformation
            known: Any = self._values().reshape(-1)
        values = known if is_tracer(known) else np.asarray(known)
        return values[grid(np.arange(len(values)), self.event_shape, np.int32)].astype(dtype)


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
    batch = tuple(batch)
    event = tuple(event)
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


def moved(whole_space: bool, bijectors: Sequence[Any], onto: Callable[[Any], bool]) -> list[Any]:
    """The bijectors, in the order of their application, whose parameters may move the image of the base's support.

    What maps all of Rⁿ onto all of Rⁿ moves nothing; anything else may, where it has parameters.
    """
    movers = []
    for bijector in bijectors:
        whole_space = whole_space and onto(bijector)
        if not whole_space:
            movers.append(bijector)
    return movers


def class_name(thing: Any, *packages: str) -> str:
    """The name of a class of one of these packages; "" for another's, which may do otherwise under the same name."""
    known = type(thing).__module__.split(".")[0] in packages
    return type(thing).__name__ if known else ""


def names(text: str) -> frozenset[str]:
    """The words of `text`: names of foreign classes."""
    return frozenset(text.split())


def finite_support(values: int, *, binary: bool = False, one_hot: bool = False) -> Support:
    """The support of a family that takes `values` values."""
    if one_hot:
        return OneHot(values)
    return Boolean() if binary else IntegerBelow(values)


def _name(dist: Any) -> str:
    return type(dist).__name__.lstrip("_")

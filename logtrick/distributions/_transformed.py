"""A distribution pushed through a bijector."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import refuse
from logtrick._core.module import is_ours, replace
from logtrick.bijectors import Bijector, Invert, chained, steps_of
from logtrick.distributions._base import Distribution
from logtrick.distributions._draw import Draw, is_draw, value_of
from logtrick.distributions._parameters import Array, widened
from logtrick.distributions._refusals import moving_support_message
from logtrick.supports import Real, Support


class Transformed(Distribution):
    """y = T(x), x ~ base: log p(y) = log p_base(T⁻¹(y)) − log |det ∂T/∂x|; −inf outside the image of T.

    A draw keeps the argument of T's last steps (those without parameters, or whose parameters move the image) beside its
    value, and is scored from it: a draw that rounds onto an open edge of the image, as tanh(9) does, has a finite score.
    Reparameterized where the base is. Where the image moves with T's parameters (an interval's ends, a shift of
    positive draws), the score function refuses their derivative.

    Args:
      base: a continuous distribution over one array.
      bijector: T, from `logtrick.bijectors`.
    Raises:
      TypeError: `base` is no distribution, or `bijector` no bijector.
      ValueError: `base` is discrete.
    Example:
      >>> import logtrick as lt
      >>> from logtrick.bijectors import Exp
      >>> dist = lt.Transformed(lt.Normal(0.0, 1.0), Exp())         # a log-normal
      >>> round(dist.log_prob(2.0).item(), 4), round(lt.LogNormal(0.0, 1.0).log_prob(2.0).item(), 4)
      (-1.8523, -1.8523)
    """

    base: Any
    bijector: Any

    def __post_init__(self) -> None:
        if not isinstance(self.base, Distribution):
            raise TypeError(
                f"Transformed(base=…) needs a distribution; got {type(self.base).__name__}."
            )
        if not isinstance(self.bijector, Bijector):
            raise TypeError(
                f"Transformed(bijector=…) needs a bijector; got {type(self.bijector).__name__}."
            )
        if self.base.support.discrete:
            raise ValueError(
                f"Transformed(base=…) needs a continuous distribution; got {type(self.base).__name__}."
            )

    @property
    def reparameterized(self) -> bool:
        return self.base.reparameterized

    @property
    def moving_support(self) -> tuple[str, ...]:
        own = ("bijector",) if self.bijector.moves(self.base.support) else ()
        return (*(("base",) if self.base.moving_support else ()), *own)

    @property
    def may_hide_parameters(self) -> bool:
        steps = steps_of(self.bijector)
        return self.base.may_hide_parameters or not all(is_ours(step) for step in steps)

    @property
    def checks_draws(self) -> bool:
        return self.base.checks_draws

    def _with_support(self, change: Callable[[str, Any], Any]) -> Distribution:
        if not self.moving_support:
            return self
        message = moving_support_message(self)
        support = self.base.support
        steps = []
        for step in steps_of(self.bijector):
            if step.moves(support):
                steps.append(change(message, step))
            else:
                steps.append(step)
            support = step.image(support)
        return replace(self, base=self.base._with_support(change), bijector=chained(tuple(steps)))

    @property
    def event_shape(self) -> Any:
        shape = self.base.event_shape
        return None if shape is None else self.bijector.forward_shape(shape)

    @property
    def support(self) -> Support:
        return self.bijector.image(self.base.support)

    @property
    def noise_spec(self) -> Any:
        return self.base.noise_spec

    @property
    def charts(self) -> Any:
        base, steps = self._simplified
        first = self._first_undone
        if first == len(steps):
            return None
        return chained(steps[first:]), base.charts if first == 0 else None

    @property
    def _simplified(self) -> tuple[Any, tuple[Bijector, ...]]:
        """The base and the steps of T, without a first step that only undoes the chart in which the base makes its draws."""
        steps = steps_of(self.bijector)
        first, charts = steps[0], self.base.charts
        if not isinstance(first, Invert) or jax.tree.leaves(first):
            return self.base, steps
        undone = jax.tree.structure(charts) == jax.tree.structure((first.base, None))
        if not undone or not first.image(self.base.support).whole_space:
            return self.base, steps
        return _InCoordinates(self.base, first.base), steps[1:]

    @property
    def _first_undone(self) -> int:
        """The number of the first of the last steps of T which a draw's coordinates undo.

        A step without parameters is undone by its argument; so is one whose parameters move the image, in which every
        derivative is refused. What comes before is inverted, since the derivative in its parameters is wanted.
        """
        base, steps = self._simplified
        support = base.support
        undone = []
        for step in steps:
            undone.append(not jax.tree.leaves(step) or step.moves(support))
            support = step.image(support)
        first = len(steps)
        while first and undone[first - 1] and not support.whole_space:
            first -= 1
        return first

    def _transform(self, noise: Any) -> Any:
        base, steps = self._simplified
        return self._through(steps, base._transform(noise))

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        base, steps = self._simplified
        return self._through(widened(change(steps)), base._draw_with(change, noise))

    def _through(self, steps: tuple[Bijector, ...], x: Any) -> Any:
        """T(x), as a `Draw` where there are steps that its coordinates undo."""
        first = self._first_undone
        if first == len(steps):
            return chained(steps).forward(value_of(x))
        coordinates = chained(steps[:first]).forward(value_of(x)) if first else x
        last = chained(steps[first:])
        return Draw(last.forward(value_of(coordinates)), coordinates, last)

    def _log_prob(self, y: Any) -> Array:
        base, steps = self._simplified
        if not is_draw(y):
            return self._log_prob_of_value(chained(steps), y)
        first = self._first_undone
        last = refuse(chained(steps[first:]), moving_support_message(self), ValueError)
        log_det = last.log_det(value_of(y.coordinates))
        if not first:
            return base.log_prob(y.coordinates) - log_det
        return self._log_prob_of_value(chained(steps[:first]), y.coordinates) - log_det

    def _log_prob_of_value(self, bijector: Bijector, y: Any) -> Array:
        """log p of T(x) = y for the given T, from the value of y."""
        base, _ = self._simplified
        y = jnp.asarray(y)
        inside = bijector.inside(y)
        if base.event_shape is not None:
            # an inner point takes the place of one outside, whose gradient is nan
            inner = jnp.zeros(base.event_shape, y.dtype)
            y = jnp.where(inside, y, jax.lax.stop_gradient(bijector.forward(inner)))
        x = bijector.inverse(y)
        return jnp.where(inside, base.log_prob(x) - bijector.log_det(x), -jnp.inf)


class _InCoordinates(Distribution):
    """The coordinates in which `base` makes its draws: log x of a gamma, the logit of a beta."""

    base: Any
    chart: Any

    @property
    def reparameterized(self) -> bool:
        return bool(self.base.reparameterized)

    @property
    def event_shape(self) -> Any:
        return self.base.event_shape

    @property
    def support(self) -> Support:
        return Real()

    @property
    def noise_spec(self) -> Any:
        return self.base.noise_spec

    def _transform(self, noise: Any) -> Any:
        made = self.base._transform(noise)
        if is_draw(made):
            return made.coordinates
        # of a reparameterized mixture, whose derivative is that of the value
        return self.chart.inverse(made)

    def _draw_with(self, change: Callable[[Any], Any], noise: Any) -> Any:
        return self.base._draw_with(change, noise).coordinates

    def _log_prob(self, x: Any) -> Array:
        x = jnp.asarray(x)
        made = Draw(self.chart.forward(x), x, self.chart)
        return self.base.log_prob(made) + self.chart.log_det(x)

"""A distribution pushed through a bijector."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick.bijectors import Bijector
from logtrick.distributions._base import Distribution
from logtrick.distributions._parameters import Array
from logtrick.supports import Support


class Transformed(Distribution):
    """y = T(x), x ~ base: log p(y) = log p_base(T⁻¹(y)) − log |det ∂T/∂x|; −inf outside the image of T.

    Reparameterised where the base is. Where the image moves with T's parameters (an interval's ends, a shift of
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
    def opaque(self) -> bool:
        return self.base.opaque

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

    def _transform(self, noise: Any) -> Array:
        return self.bijector.forward(self.base._transform(noise))

    def _outside(self, change: Callable[[Any], Any], noise: Any) -> Any:
        return change(self.bijector).forward(self.base._outside(change, noise))

    def _log_prob(self, y: Any) -> Array:
        y = jnp.asarray(y)
        inside = self.bijector.inside(y)
        if (
            self.base.event_shape is not None
        ):  # an inner point takes the place of one outside, whose gradient is nan
            inner = jnp.zeros(self.base.event_shape, y.dtype)
            y = jnp.where(inside, y, jax.lax.stop_gradient(self.bijector.forward(inner)))
        x = self.bijector.inverse(y)
        return jnp.where(inside, self.base.log_prob(x) - self.bijector.log_det(x), -jnp.inf)

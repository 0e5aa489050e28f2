"""Bijectors made of bijectors."""

from typing import Any

import jax.numpy as jnp

from logtrick._core.module import assign
from logtrick.bijectors._base import Array, Bijector, Shape
from logtrick.supports import Real, Support


class Chain(Bijector):
    """One bijector after the other, in the order in which they act; the log dets add up.

    Args:
      parts: a tuple of bijectors, the first one first.
    Raises:
      TypeError: a part is no bijector.
    Example:
      >>> from logtrick.bijectors import Affine, Chain, Exp
      >>> Chain((Exp(), Affine(1.0, 2.0))).forward(0.0).item()      # 1 + 2 e⁰
      3.0
    """

    parts: Any

    def __post_init__(self) -> None:
        parts = tuple(self.parts)
        for part in parts:
            if not isinstance(part, Bijector):
                raise TypeError(f"Chain(parts=…) needs bijectors; got {type(part).__name__}.")
        assign(self, parts=parts)

    def forward(self, x: Array) -> Array:
        for part in self.parts:
            x = part.forward(x)
        return x

    def inverse(self, y: Array) -> Array:
        for part in reversed(self.parts):
            y = part.inverse(y)
        return y

    def log_det(self, x: Array) -> Array:
        total = jnp.zeros((), jnp.result_type(x, 0.0))
        for part in self.parts:
            total = total + part.log_det(x)
            x = part.forward(x)
        return total

    def inside(self, y: Array) -> Array:
        ok = jnp.asarray(True)
        for part in reversed(self.parts):
            ok = ok & part.inside(y)
            y = part.inverse(y)
        return ok & jnp.all(jnp.isfinite(y))

    def image(self, support: Support) -> Support:
        for part in self.parts:
            support = part.image(support)
        return support

    def moves(self, support: Support) -> bool:
        moved = False
        for part in self.parts:
            moved = moved or part.moves(support)
            support = part.image(support)
        return moved

    def forward_shape(self, shape: Shape) -> Shape:
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape


class Invert(Bijector):
    """The inverse of a bijector, from its image to Rⁿ.

    Args:
      base: a bijector.
    Raises:
      TypeError: `base` is no bijector.
    Example:
      >>> from logtrick.bijectors import Exp, Invert
      >>> Invert(Exp()).forward(1.0).item()                         # log 1
      0.0
    """

    base: Any

    def __post_init__(self) -> None:
        if not isinstance(self.base, Bijector):
            raise TypeError(f"Invert(base=…) needs a bijector; got {type(self.base).__name__}.")

    def forward(self, x: Array) -> Array:
        return self.base.inverse(x)

    def inverse(self, y: Array) -> Array:
        return self.base.forward(y)

    def log_det(self, x: Array) -> Array:
        return -self.base.log_det(self.base.inverse(x))

    def image(self, support: Support) -> Support:
        if type(support) is type(self.base.image(Real())):  # the whole image of `base`
            return Real()
        return Bijector.image(self, support)

    def moves(self, support: Support) -> bool:
        return self.base.moves(Real()) or self.base.moves(support)

    def forward_shape(self, shape: Shape) -> Shape:
        return self.base.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.base.forward_shape(shape)


def steps_of(bijector: Bijector) -> tuple[Bijector, ...]:
    """The steps of `bijector`, those of nested chains one by one, in the order in which they act.

    Args:
      bijector: a bijector, a `Chain` or not.
    Returns:
      Bijectors that are no chains.
    Example:
      >>> from logtrick.bijectors import Chain, Exp, Sigmoid, steps_of
      >>> steps_of(Chain((Exp(), Chain((Exp(), Sigmoid())))))
      (Exp(), Exp(), Sigmoid())
    """
    if not isinstance(bijector, Chain):
        return (bijector,)
    return tuple(step for part in bijector.parts for step in steps_of(part))


def chained(steps: tuple[Bijector, ...]) -> Bijector:
    """One bijector that takes these steps.

    Args:
      steps: at least one bijector, in the order in which they act.
    Returns:
      The only step, or a `Chain`.
    Example:
      >>> from logtrick.bijectors import Exp, chained
      >>> chained((Exp(),)), round(chained((Exp(), Exp())).forward(0.0).item(), 3)      # e^(e⁰)
      (Exp(), 2.718)
    """
    return steps[0] if len(steps) == 1 else Chain(steps)

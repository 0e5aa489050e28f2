"""Weak (measure-valued) derivatives: what a family declares, and how its parts become points to evaluate f at.

    ∇_θ E[f] = c (E f(x⁺) − E f(x⁻)),

for one entry θⱼ of a parameter at a time: the other coordinates of the draw stay as they are.
"""

import math
from typing import Any

import jax.numpy as jnp

from logtrick._core.module import Module, static

Array = Any


class WeakDerivative(Module):
    """The weak derivative in the n entries of one parameter: ∂E[f]/∂θⱼ = E[cⱼ (f(x⁺ⱼ) − f(x⁻ⱼ))].

    Args:
      parameter: θ, shape (n,), the only field with a derivative: `first_order("…", c (f⁺ − f⁻), parameter)`.
      coefficient: c, shape (n,).
      plus: x⁺, a stack of n draws; of 1 draw where it serves all entries.
      minus: x⁻, likewise.
      plus_is_draw, minus_is_draw: it is the draw itself, so that f need not be evaluated there again.
    Example:
      >>> import jax, logtrick as lt
      >>> poisson = lt.Poisson(2.0)
      >>> (term,) = poisson.weak_derivatives({"draw": jax.random.key(0), "weak": None})
      >>> (term.plus - term.minus).tolist()                         # x + 1 against x
      [1.0]
    """

    parameter: Any
    coefficient: Any
    plus: Any
    minus: Any
    plus_is_draw: bool = static(default=False)
    minus_is_draw: bool = static(default=False)


def spread(
    parameter: Array, x: Array, factors: tuple[int, ...], coefficient: Array, plus: Any, minus: Any
) -> Any:
    """The points where one entry of x after the other is replaced.

    Args:
      parameter: θ, broadcastable to `coefficient`.
      x: the draw, shape (*factors, *r): r is (K,) for one-hot rows, else ().
      factors: the shape of the independent entries of x.
      coefficient: shape (*factors, *m): m parameters for each entry.
      plus, minus: what replaces the entry, shape (*factors, *m, *r); None for the draw itself.
    """
    count, row = math.prod(factors), x.shape[len(factors) :]
    each = math.prod(coefficient.shape[len(factors) :])
    here = jnp.eye(count, dtype=bool).reshape(count, 1, count, *[1] * len(row))

    def points(values: Any) -> Array:
        if values is None:
            return x[None]
        entries = jnp.asarray(values, x.dtype).reshape(count, each, 1, *row)
        return jnp.where(here, entries, x.reshape(1, 1, count, *row)).reshape(
            count * each, *x.shape
        )

    theta = jnp.broadcast_to(parameter, coefficient.shape).ravel()
    return WeakDerivative(
        theta, coefficient.ravel(), points(plus), points(minus), plus is None, minus is None
    )

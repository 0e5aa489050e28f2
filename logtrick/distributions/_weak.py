"""Weak (measure-valued) derivatives: what a family declares, and how its parts become points to evaluate f at.

    ∇_θ E[f] = c (E f(x⁺) − E f(x⁻)),

for one entry θⱼ of a parameter at a time: the other coordinates of the draw stay as they are.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached, refuse
from logtrick._core.module import Module, replace, static
from logtrick.distributions._draw import value_of
from logtrick.distributions._parameters import widened

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
      >>> (term,) = lt.distributions.weak_terms(poisson, {"draw": jax.random.key(0), "weak": None})
      >>> (term.plus - term.minus).tolist()                         # x + 1 against x
      [1.0]
    """

    parameter: Any
    coefficient: Any
    plus: Any
    minus: Any
    plus_is_draw: bool = static(default=False)
    minus_is_draw: bool = static(default=False)


@dataclasses.dataclass(frozen=True)
class WeakDerivatives:
    """The weak derivatives that a family has.

    Attributes:
      parameters: the names of the parameters in which it has them.
      noise: `noise(coupled)`, the declaration of the noise that `parts` needs beside the draw's own.
      parts: `parts(x, noise, coupled)`, for each parameter by name a triple: the coefficient, and the entries that take
        the place of an entry of the draw x at plus and at minus, None for the entry of x itself.

    Example:
      >>> import logtrick as lt
      >>> lt.Gamma(2.0, 1.0).weak_derivatives.parameters, lt.Beta(2.0, 1.0).weak_derivatives is None
      (('rate',), True)
    """

    parameters: tuple[str, ...]
    noise: Callable[[bool], Any]
    parts: Callable[[Any, Any, bool], dict[str, tuple[Any, Any, Any]]]


def weak_noise_spec(dist: Any, *, coupled: bool = True) -> Any:
    """The parameter-free noise that `weak_terms` needs: `{"draw": …, "weak": …}`.

    Args:
      dist: a distribution that has weak derivatives.
      coupled: as for `weak_terms`.
    Returns:
      A tree of `Noise`.
    Raises:
      ValueError: the family declares none.
    Example:
      >>> import logtrick as lt
      >>> sorted(lt.distributions.weak_noise_spec(lt.Exponential(2.0)))
      ['draw', 'weak']
    """
    return {"draw": dist.noise_spec, "weak": _declared(dist).noise(coupled)}


def weak_terms(dist: Any, noise: Any, *, coupled: bool = True) -> tuple[WeakDerivative, ...]:
    """The weak derivative of a distribution in every parameter that has one: ∇_θ E[f] = E[c (f(x⁺) − f(x⁻))].

    Args:
      dist: a distribution that has weak derivatives.
      noise: of `weak_noise_spec(dist, coupled=…)`; `dist.draw(noise["draw"])` is the draw whose other coordinates are kept.
      coupled: x⁺ and x⁻ share noise; otherwise they are independent given those coordinates.
    Returns:
      One `WeakDerivative` for each parameter that has one; the derivative in the others raises.
    Raises:
      ValueError: the family declares none.
    References:
      Pflug (1989), "Sampling Derivatives of Probabilities"; Mohamed, Rosca, Figurnov & Mnih (2020), "Monte Carlo
      Gradient Estimation in Machine Learning", table 1.
    Example:
      >>> import jax, logtrick as lt
      >>> dist = lt.Bernoulli(0.0)
      >>> noise = lt.noise.one(lt.distributions.weak_noise_spec(dist), jax.random.key(0))
      >>> [term.coefficient.item() for term in lt.distributions.weak_terms(dist, noise)]      # p (1 − p)
      [0.25]
    """
    names = _declared(dist).parameters
    x = value_of(dist.draw(noise["draw"]))
    wide = widened(dist)
    message = (
        f"MeasureValued() needs a weak derivative in every parameter that is differentiated; {type(dist).__name__} has "
        f"weak derivatives in {', '.join(names)} only. Use ScoreFunction(), or stop_gradient on the other parameters."
    )
    leaves = [f.name for f in dataclasses.fields(wide) if not f.metadata.get("static")]
    refused = {n: refuse(getattr(wide, n), message, ValueError) for n in leaves if n not in names}
    held = replace(detached(wide), **refused)
    parts = held.weak_derivatives.parts(widened(x), noise["weak"], coupled)
    shape = jax.eval_shape(dist.independent_factors.log_probs, x).shape
    return tuple(spread(getattr(dist, name), x, shape, *parts[name]) for name in names)


def _declared(dist: Any) -> WeakDerivatives:
    declared: WeakDerivatives | None = dist.weak_derivatives
    if declared is None:
        raise ValueError(
            f"{type(dist).__name__} declares no weak derivatives. Use ScoreFunction()."
        )
    return declared


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
    count = math.prod(factors)
    row = x.shape[len(factors) :]
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

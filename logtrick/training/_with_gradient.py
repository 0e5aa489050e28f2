"""Objectives that compute their own gradient, as objectives like any other."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import described, in_words
from logtrick._core.objectives import value_and_aux


@in_words("lt.training.with_gradient")
def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """An objective for `lt.minimize` from a function that returns its value and its gradient.

    For gradients that are not made by differentiating: `lt.eligibility_trace`, finite differences, a simulator's adjoint.
    The derivative of the objective is the gradient that the function returns; first derivatives only.

    Args:
      function: `function(params, key[, batch]) -> (value, gradient)` or `((value, aux), gradient)`, as
        `jax.value_and_grad` returns it; `gradient` is a pytree like `params`.
    Returns:
      `objective(params, key[, batch])`, which returns `value` or `(value, aux)`.
    Raises:
      ValueError: a gradient that is not like the parameters.
    Example:
      >>> import jax, optax, logtrick as lt
      >>> def toss(tail, logit):                       # toss until heads comes up; the cost is the number of tosses
      ...     x = yield lt.sample(lt.Bernoulli(logit))
      ...     yield lt.cost(1.0)
      ...     return 1.0 - x
      >>> @lt.training.with_gradient
      ... def episodes(logit, key):
      ...     return lt.eligibility_trace(key, lambda tail: tail > 0, toss, 1.0, logit, num_samples=32)
      >>> fit = lt.minimize(jax.random.key(0), episodes, 0.0, optax.adam(0.1), num_steps=60)
      >>> bool(fit.history.value[0] > 1.5 > 1.2 > fit.history.value[-1])
      True
    """

    if not callable(function):
        raise TypeError(
            f"lt.training.with_gradient(function=…) needs a function of (params, key); got {described(function)}."
        )

    def objective(params: Any, key: Any, *batch: Any) -> Any:
        out, gradient = function(jax.lax.stop_gradient(params), key, *batch)
        value, aux = value_and_aux("lt.training.with_gradient", out)
        if jax.tree.map(jnp.shape, gradient) != jax.tree.map(jnp.shape, params):
            raise ValueError(
                f"lt.training.with_gradient: the gradient must be like the parameters, {jax.tree.map(jnp.shape, params)}; "
                f"got {jax.tree.map(jnp.shape, gradient)}. Return (value, gradient)."
            )
        value = attach(params, value, jax.lax.stop_gradient(gradient))
        return value if aux is None else (value, aux)

    objective.__wrapped__ = function  # type: ignore[attr-defined]  # as functools.wraps does
    return objective


@jax.custom_vjp
def attach(params: Any, value: Any, gradient: Any) -> Any:
    """`value`, with `gradient` as its derivative in `params`."""
    return value


def _forward(params: Any, value: Any, gradient: Any) -> tuple[Any, Any]:
    return value, gradient


def _backward(gradient: Any, cotangent: Any) -> tuple[Any, Any, Any]:
    scaled = jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), gradient)
    return scaled, jnp.zeros_like(cotangent), jax.tree.map(jnp.zeros_like, gradient)


attach.defvjp(_forward, _backward)

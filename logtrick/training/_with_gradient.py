"""Objectives whose gradient is not taken in JAX's reverse mode: they return it themselves, or it is taken in forward mode."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick._core.kernel import limited
from logtrick._core.module import replace
from logtrick._core.objectives import value_and_aux
from logtrick.expectations import Aux
from logtrick.training._adaptive import auxes


@in_words("lt.training.with_gradient")
def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """An objective for `lt.minimize` from a function that returns its value and its gradient.

    For gradients that are not made by differentiating: `lt.eligibility_trace`, finite differences, a simulator's adjoint.
    The derivative of the objective with respect to the parameters is the gradient that the function returns. First
    derivatives only.

    Args:
      function: `function(params, key[, batch]) -> (value, gradient)` or `((value, aux), gradient)`, as
        `jax.value_and_grad` returns it; `gradient` is a pytree like `params`.
    Returns:
      `objective(params, key[, batch])`, which returns `value` or `(value, aux)`.
    Raises:
      TypeError: no function.
      ValueError: a gradient that is not like the parameters.
      DerivativeOrderError: a second derivative with respect to the parameters was taken.
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
        value = _with_slope("lt.training.with_gradient", params, value, gradient)
        return value if aux is None else (value, aux)

    objective.__wrapped__ = function  # type: ignore[attr-defined]  # as functools.wraps does
    return objective


def _with_slope(where: str, params: Any, value: Any, gradient: Any) -> Any:
    """`value`, which was computed at stopped `params`, with `gradient` as its derivative with respect to `params`.

    The second derivative raises: that of the gradient with respect to `params` is not known, and would be 0. With respect to
    anything else (a number that the objective closes over) the value and the gradient have their own derivatives.
    """
    return limited(where, _attached(params, value, gradient), params)


@jax.custom_vjp
def _attached(params: Any, value: Any, gradient: Any) -> Any:
    return value


def _forward(params: Any, value: Any, gradient: Any) -> tuple[Any, Any]:
    return value, gradient


def _backward(gradient: Any, cotangent: Any) -> tuple[Any, Any, Any]:
    scaled = jax.tree.map(lambda g: (g * cotangent).astype(g.dtype), gradient)
    return scaled, cotangent, jax.tree.map(jnp.zeros_like, gradient)


_attached.defvjp(_forward, _backward)


@in_words("lt.training.forward_mode")
def forward_mode(objective: Callable[..., Any]) -> Callable[..., Any]:
    """The same objective, which `lt.minimize` then differentiates in forward mode.

    For costs that JAX cannot differentiate in reverse mode: a `while_loop` whose number of steps
    depends on the data, under `Pathwise()`. First derivatives only.
    Cost: one forward derivative for each entry of the parameters, all in one vmapped pass, so it is
    for few parameters; memory does not grow with the steps.

    Args:
      objective: `objective(params, key[, batch])`, as for `lt.minimize`.
    Returns:
      An objective of the same values.
    Raises:
      TypeError: no function.
      DerivativeOrderError: a second derivative with respect to the parameters was taken.
    Example:
      >>> import jax, jax.numpy as jnp, optax, logtrick as lt
      >>> def halvings(x):                                  # how often x is halved depends on x
      ...     return jax.lax.while_loop(lambda x: jnp.abs(x) > 1.0, lambda x: 0.5 * x, x)
      >>> @lt.training.forward_mode
      ... def objective(mu, key):
      ...     f = lambda x: (halvings(x) - 0.75) ** 2
      ...     return lt.expect(key, f, lt.Normal(mu, 0.01), estimator=lt.Pathwise(), num_samples=16)
      >>> fit = lt.minimize(jax.random.key(0), objective, 1.8, optax.sgd(0.5), num_steps=50)
      >>> round(fit.params.item(), 1)                       # 1.5 / 2 = 0.75
      1.5
    """
    where = "lt.training.forward_mode"
    if not callable(objective):
        raise TypeError(
            f"{where}(objective=…) needs a function of (params, key); got {described(objective)}."
        )

    def forward(params: Any, key: Any, *batch: Any) -> Any:
        leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
        moved = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        trained = [leaves[i] for i in moved]
        flat, unravel = ravel_pytree(jax.lax.stop_gradient(trained))

        def numbers(flat: Any) -> tuple[Any, Any]:
            given = dict(zip(moved, unravel(flat)))
            at = tree.unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)])
            value, aux = value_and_aux(where, objective(at, key, *batch))
            value = checks.scalar_cost(f"{where}: the objective", value)
            each = [value, *(found.adaptive_loss for _, found in auxes(aux))]
            return jnp.stack([jnp.asarray(number, flat.dtype) for number in each]), (value, aux)

        rows, (value, aux) = jax.jacfwd(numbers, has_aux=True)(flat)
        slopes = iter([unravel(row) for row in rows])
        value = _with_slope(where, trained, value, next(slopes))

        def with_slope(found: Any) -> Any:
            if not isinstance(found, Aux):
                return found
            loss = _with_slope(where, trained, found.adaptive_loss, next(slopes))
            return replace(found, adaptive_loss=loss)

        aux = jax.tree.map(with_slope, aux, is_leaf=lambda x: isinstance(x, Aux))
        return value if aux is None else (value, aux)

    forward.__wrapped__ = objective  # type: ignore[attr-defined]  # as functools.wraps does
    return forward

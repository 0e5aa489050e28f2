"""Objectives that are differentiated in forward mode."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from logtrick._core import checks
from logtrick._core.calls import described, in_words
from logtrick._core.module import replace
from logtrick._core.objectives import value_and_aux
from logtrick.expectations import Aux
from logtrick.training._with_gradient import attach


@in_words("lt.training.forward_mode")
def forward_mode(objective: Callable[..., Any]) -> Callable[..., Any]:
    """The same objective, which `lt.minimize` then differentiates in forward mode.

    For costs that JAX cannot differentiate in reverse mode: a `while_loop` whose number of steps
    depends on the data, under `Pathwise()`. Cost: one forward derivative for each entry of the
    parameters, all in one vmapped pass, so it is for few parameters; memory does not grow with the
    steps. First derivatives only.

    Args:
      objective: `objective(params, key[, batch])`, as for `lt.minimize`.
    Returns:
      An objective of the same values.
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

    if not callable(objective):
        raise TypeError(
            f"lt.training.forward_mode(objective=…) needs a function of (params, key); got {described(objective)}."
        )

    def forward(params: Any, key: Any, *batch: Any) -> Any:
        leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, params))
        moved = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)]
        trained = [leaves[i] for i in moved]
        flat, unravel = ravel_pytree(jax.lax.stop_gradient(trained))

        def numbers(flat: Any) -> tuple[Any, Any]:
            given = dict(zip(moved, unravel(flat)))
            at = tree.unflatten([given.get(i, leaf) for i, leaf in enumerate(leaves)])
            value, aux = value_and_aux("lt.training.forward_mode", objective(at, key, *batch))
            value = checks.scalar_cost("lt.training.forward_mode: the objective", value)
            each = [value, *(found.adaptive_loss for found in _found(aux))]
            return jnp.stack([jnp.asarray(number, flat.dtype) for number in each]), (value, aux)

        rows, (value, aux) = jax.jacfwd(numbers, has_aux=True)(flat)
        slopes = iter([unravel(row) for row in rows])
        value = attach(trained, value, next(slopes))

        def learning(found: Any) -> Any:
            if not isinstance(found, Aux):
                return found
            return replace(found, adaptive_loss=attach(trained, found.adaptive_loss, next(slopes)))

        aux = jax.tree.map(learning, aux, is_leaf=_is_aux)
        return value if aux is None else (value, aux)

    forward.__wrapped__ = objective  # type: ignore[attr-defined]  # as functools.wraps does
    return forward


def _is_aux(x: Any) -> bool:
    return isinstance(x, Aux)


def _found(aux: Any) -> list[Aux]:
    """What expectations have left in what an objective returned beside its value."""
    return [x for x in jax.tree.leaves(aux, is_leaf=_is_aux) if isinstance(x, Aux)]

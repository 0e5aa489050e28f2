"""One step of a fit again, eagerly."""

from collections.abc import Callable
from typing import Any

import jax

from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module
from logtrick._core.objectives import value_and_aux
from logtrick.training._adaptive import merge, partition
from logtrick.training._feed import placed
from logtrick.training._program import step_key


class Replay(Module):
    """What the objective gave at one step.

    Attributes:
      value: the objective.
      gradient: its gradient in the parameters.
      aux: what the objective returned beside it, or None.
      key: the key that it was called with.
      batch: the batch that it was called with, or None.
    """

    value: Any
    gradient: Any
    aux: Any
    key: Any
    batch: Any


@in_words("lt.training.replay")
def replay(
    key: Any,
    objective: Callable[..., Any],
    params: Any,
    step: int,
    *,
    data: Any = None,
    batch_size: int | None = None,
) -> Replay:
    """Evaluate one step of a fit again, eagerly: where it was not finite, with prints and breakpoints that work.

    Args:
      key: the key that the fit was given.
      objective: its objective.
      params: the parameters before the step: `error.result.params` of a `NonFiniteError`.
      step: the step's index, from 0.
      data: the fit's data.
      batch_size: the fit's batch size.
    Returns:
      A `Replay`, with the step's key and batch, from which everything else follows.
    Example:
      >>> import jax, jax.numpy as jnp, optax, logtrick as lt
      >>> objective = lambda p, key: jnp.log(p - jax.random.uniform(key))
      >>> try:
      ...     fit = lt.minimize(jax.random.key(0), objective, 0.5, optax.sgd(0.1), num_steps=100, nonfinite="raise")
      ... except lt.NonFiniteError as error:
      ...     result = error.result
      >>> step = int(result.state.step) - 1
      >>> again = lt.training.replay(jax.random.key(0), objective, result.params, step)
      >>> again.value.item(), (result.params - jax.random.uniform(again.key)).item() < 0
      (nan, True)
    """
    key = as_key(key)
    feed, data, host = placed("lt.training.replay", data, batch_size, key, None)
    if host is not None:
        raise ValueError(
            "lt.training.replay(data=…) needs arrays; got a function of epochs. Pass the step's batch as data, without "
            "batch_size."
        )
    batch = feed.batch(data, jax.numpy.asarray(step, jax.numpy.int32), 0)
    step_key_ = step_key(key, step)
    trained, statistics = partition(jax.tree.map(jax.numpy.asarray, params))

    def value(trained: Any) -> Any:
        return value_and_aux(
            "lt.training.replay", objective(merge(params, trained, statistics), step_key_, *batch)
        )

    (number, aux), gradient = jax.value_and_grad(value, has_aux=True)(trained)
    return Replay(number, gradient, aux, step_key_, batch[0] if batch else None)

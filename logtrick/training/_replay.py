"""One step of a fit, evaluated again, eagerly."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
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
      key: the key that the objective was called with.
      batch: the batch that the objective was called with, or None.
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
    """Evaluate one step of a fit again, eagerly, so that prints and breakpoints work: to see why it was not finite.

    Args:
      key: the key that the fit was given.
      objective: its objective.
      params: the parameters before the step: `error.result.params` of a `NonFiniteError`.
      step: the step's index, from 0.
      data: the fit's data.
      batch_size: the fit's batch size.
    Returns:
      A `Replay`, with the step's key and batch, on which everything else depends.
    Raises:
      ValueError: a negative step, data that the host makes, an objective that is no scalar.
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
    where = "lt.training.replay"
    key = as_key(key)
    step = step.item() if isinstance(step, jax.Array) else step
    step = checks.positive_int(where, "step", step, least=0)
    feed, data, host = placed(where, data, batch_size, key, None)
    if host is not None:
        raise ValueError(
            f"{where}(data=…) needs arrays; got a function of epochs. Pass the step's batch as data, without "
            "batch_size."
        )
    batch = feed.batch(data, jnp.asarray(step, jnp.int32), 0)
    objective_key = step_key(key, step)
    trained, statistics = partition(jax.tree.map(jnp.asarray, params))

    def value_of(trained: Any) -> Any:
        out = objective(merge(params, trained, statistics), objective_key, *batch)
        value, aux = value_and_aux(where, out)
        return checks.scalar_cost(f"{where}: the objective", value), aux

    (value, aux), gradient = jax.value_and_grad(value_of, has_aux=True)(trained)
    return Replay(value, gradient, aux, objective_key, batch[0] if batch else None)

"""What an objective costs, from its trace alone, before anything is compiled or run."""

from collections.abc import Callable
from typing import Any

import jax

from logtrick._core.keys import as_key
from logtrick._core.memory import amount, machine_memory
from logtrick._core.module import Module, static
from logtrick.diagnostics._replicates import Probe, replicator
from logtrick.diagnostics._statistics import as_data


class CostEstimate(Module):
    """What one value and gradient of an objective cost.

    Attributes:
      evaluations: of f; None where the objective uses no expectation, or where the number depends on data.
      bytes: of the largest intermediate array. XLA may fuse it away; what reverse mode keeps may be several of its size.
      memory: the machine's memory, in bytes.
    """

    evaluations: int | None = static()
    bytes: int = static()
    memory: int = static()

    @property
    def fits(self) -> bool:
        """Whether the largest array fits into half of the machine's memory."""
        return self.bytes <= self.memory / 2

    def __repr__(self) -> str:
        count = "an unknown number of" if self.evaluations is None else f"{self.evaluations:,}"
        return (
            f"{count} evaluations of f, largest array {amount(self.bytes)} "
            f"of {amount(self.memory)} of memory"
        )


def estimate_cost(objective: Callable[..., Any], params: Any, *, data: Any = None) -> CostEstimate:
    """How often one gradient of an objective evaluates f, and the memory of its largest array, without running it.

    Args:
      objective: `objective(params, key) -> value`, or `(value, aux)`.
      params: a pytree of float arrays, or of `jax.ShapeDtypeStruct`.
      data: the objective's third argument; None for none.
    Returns:
      A `CostEstimate`.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> def objective(logits, key):
      ...     return lt.expect(key, jnp.sum, lt.Bernoulli(logits), estimator=lt.Enumerate())
      >>> lt.diagnostics.estimate_cost(objective, jnp.zeros(10)).evaluations
      1024
    """
    work = replicator("lt.diagnostics.estimate_cost", objective, data is not None, params)
    probe = work.probe(params, as_key(jax.random.key(0)), as_data(data))
    return CostEstimate(probe.evaluations, probe.bytes, machine_memory())


def too_large(probe: Probe) -> str | None:
    """Why an objective is not run: its largest array would not fit into half of the machine's memory."""
    cost = CostEstimate(probe.evaluations, probe.bytes, machine_memory())
    if cost.fits:
        return None
    count = "" if cost.evaluations is None else f" and {cost.evaluations:,} evaluations of f"
    return (
        f"MemoryError: one gradient needs an array of {amount(cost.bytes)}{count}; the machine has "
        f"{amount(cost.memory)}. Take chunk_size, or an estimator that samples."
    )

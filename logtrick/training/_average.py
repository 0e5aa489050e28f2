"""Averages of the iterates: they have less noise than the last one, and cost one more copy of the parameters."""

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import Module, assign, static

Array = jax.Array


class Average(Module, abstract=True):
    """The base class of averages of the iterates.

    Example:
      >>> import jax, optax, logtrick as lt
      >>> objective = lambda p, key: (p - jax.random.normal(key)) ** 2
      >>> average = lt.training.PolyakAverage(start=200)
      >>> fit = lt.minimize(jax.random.key(0), objective, 3.0, optax.sgd(0.1), num_steps=2000, average=average)
      >>> round(fit.params.item(), 2), round(fit.averaged_params.item(), 2)
      (0.26, 0.0)
    """

    @abc.abstractmethod
    def start(self, params: Any) -> Any:
        """The state before the first step: a pytree of arrays.

        Args:
          params: the initial parameters.
        """

    @abc.abstractmethod
    def update(self, state: Any, params: Any, step: Array) -> Any:
        """The state after a step.

        Args:
          state: the state before it.
          params: the parameters after it, in the optimizer's form for evaluation.
          step: the index of the step, from 0.
        """

    @abc.abstractmethod
    def value(self, state: Any, params: Any) -> Any:
        """The averaged parameters.

        Args:
          state: the state.
          params: the current parameters: for their dtypes, and to be returned where nothing was averaged yet.
        """


class _Mean(Average, abstract=True):
    """θ̄ ← θ̄ + s(n) (θ − θ̄), with θ the n-th iterate that is averaged. The state is (θ̄, n)."""

    @abc.abstractmethod
    def share(self, count: Array) -> Array:
        """s(n), of the latest iterate; s(1) = 1."""

    def start(self, params: Any) -> Any:
        return jax.tree.map(_wide_zeros, params), jnp.zeros((), jnp.int32)

    def update(self, state: Any, params: Any, step: Array) -> Any:
        mean, count = state
        count = count + 1
        share = self.share(count)
        return jax.tree.map(lambda m, p: m + share.astype(m.dtype) * (p - m), mean, params), count

    def value(self, state: Any, params: Any) -> Any:
        mean, count = state
        return jax.tree.map(lambda m, p: jnp.where(count > 0, m, p).astype(p.dtype), mean, params)


class PolyakAverage(_Mean):
    """The mean of the iterates from a step on (Polyak–Ruppert averaging).

    θ̄ₙ = 1/(n − s) Σ_{t>s} θₜ over the accepted steps. For a fit of n steps, s = n/2 forgets the start.

    Args:
      start: s, the number of steps that are left out.
    Raises:
      TypeError: a start that is no int.
      ValueError: a negative start.
    References:
      Polyak & Juditsky (1992), "Acceleration of Stochastic Approximation by Averaging".
    Example:
      >>> import logtrick as lt
      >>> lt.training.PolyakAverage(start=500).first
      500
    """

    first: int = static()

    def __init__(self, start: int = 0) -> None:
        assign(self, first=checks.positive_int("PolyakAverage", "start", start, 0))

    def update(self, state: Any, params: Any, step: Array) -> Any:
        new = super().update(state, params, step)
        return jax.tree.map(lambda n, o: jnp.where(step >= self.first, n, o), new, state)

    def share(self, count: Array) -> Array:
        """1/n."""
        return 1.0 / count


class ExponentialAverage(_Mean):
    """The exponentially weighted mean of the iterates, without the bias of its start.

    θ̄ₙ = Σₜ dⁿ⁻ᵗ θₜ / Σₜ dⁿ⁻ᵗ, d = `decay`: a mean of about 1/(1 − d) iterates.

    Args:
      decay: d in (0, 1).
    Raises:
      ValueError: d outside of (0, 1).
    Example:
      >>> import logtrick as lt
      >>> lt.training.ExponentialAverage(0.99)
      ExponentialAverage(decay=0.99)
    """

    decay: float = static(default=0.999)

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise ValueError(
                f"ExponentialAverage(decay=…) needs a number in (0, 1); got {self.decay}. Pass 0.999, say."
            )

    def share(self, count: Array) -> Array:
        """(1 − d) / (1 − dⁿ)."""
        return (1 - self.decay) / -jnp.expm1(count * math.log(self.decay))


def _wide_zeros(x: Any) -> Array:
    """Zeros like `x` in at least float32: a mean of a thousand bfloat16 numbers would stand still."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.zeros_like(x, float)
    return jnp.zeros_like(x, jnp.promote_types(x.dtype, jnp.float32))

"""`vi.init` and `vi.step`: a stochastic fit by hand, as pure functions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from logtrick._core.calls import described, in_words
from logtrick._core.module import Module, static
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._guide import Guide
from logtrick.vi._loss import loss
from logtrick.vi._objectives._base import Objective
from logtrick.vi._objectives._elbo import ELBO

Array = jax.Array


class State(Module):
    """What a fit by hand carries: a pytree.

    Attributes:
      q: the guide, as it is now.
      opt_state: the optimizer's.
      optimizer: of optax.
    """

    q: Guide
    opt_state: Any
    optimizer: Any = static()


class Info(Module):
    """What a step saw, before its update.

    Attributes:
      value: the objective in its own sign: the ELBO for `ELBO()`, to be maximized.
      gradient_norm: of the loss.
    """

    value: Array
    gradient_norm: Array

    @property
    def elbo(self) -> Array:
        """`value`, under the name that it has for `ELBO()`."""
        return self.value


@in_words("vi.init")
def init(q0: Any, optimizer: optax.GradientTransformation | None = None) -> State:
    """The state before the first step, at the guide given.

    Args:
      q0: a guide, or an `lt.Distribution`.
      optimizer: of optax; `optax.adam(1e-2)` unless said otherwise.
    Returns:
      A `State`.
    Raises:
      TypeError: no guide, no optimizer.
    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from logtrick import vi
      >>> state = vi.init(vi.MeanFieldNormal(like=jnp.array([3.0])), optax.sgd(0.5))
      >>> state.q.loc.tolist()                                       # the point given, not 0
      [3.0]
    """
    q = as_guide("vi.init", q0)
    optimizer = optax.adam(1e-2) if optimizer is None else optimizer
    if not isinstance(optimizer, optax.GradientTransformation):
        raise TypeError(
            f"vi.init(optimizer=…) needs an optax gradient transformation; got {type(optimizer).__name__}. Pass "
            "optax.adam(1e-2), say."
        )
    return State(q, optimizer.init(q), optimizer)


@in_words("vi.step")
def step(
    key: Any,
    state: State,
    log_density: Callable[[Any], Any],
    *,
    objective: Objective = ELBO(),  # noqa: B008  # frozen
    estimator: Any = "auto",
    num_samples: int = 16,
) -> tuple[State, Info]:
    """One step of the optimizer on `vi.loss`: pure, to be jitted or scanned.

    Args:
      key: a typed key, another one for each step.
      state: of `vi.init`, or of the step before.
      log_density: as for `vi.fit`.
      objective: as for `vi.fit`.
      estimator: as for `vi.loss`.
      num_samples: as for `vi.loss`.
    Returns:
      `(state, info)`.
    Raises:
      TypeError: as for `vi.loss`.
      ValueError: as for `vi.loss`.
    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from logtrick import vi
      >>> state = vi.init(vi.MeanFieldNormal(like=0.0), optax.sgd(1.0))
      >>> state, info = vi.step(jax.random.key(0), state, lambda z: -0.5 * (z - 1.0) ** 2)
      >>> state.q.loc.tolist(), bool(info.elbo < 0.9189)             # log Z = ½ log 2π
      ([1.0], True)
    """

    if not isinstance(state, State):
        raise TypeError(
            f"vi.step(state=…) needs a state of vi.init; got {described(state)}. Begin with state = vi.init(q0)."
        )

    def loss_of(q: Guide) -> Array:
        return loss(
            key, log_density, q, objective=objective, estimator=estimator, num_samples=num_samples
        )

    value, grads = jax.value_and_grad(loss_of)(state.q)
    updates, opt_state = state.optimizer.update(grads, state.opt_state, state.q)
    q = optax.apply_updates(state.q, updates)
    sign = -1 if objective.maximize else 1
    norm = jnp.sqrt(sum((jnp.sum(g**2) for g in jax.tree.leaves(grads)), jnp.zeros(())))
    return State(q, opt_state, state.optimizer), Info(sign * value, norm)

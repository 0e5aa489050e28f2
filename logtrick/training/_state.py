"""What a fit carries from step to step, and what each step leaves in the history."""

from typing import Any

import jax

from logtrick._core.module import Module, static
from logtrick.training._history import History

Array = jax.Array

# Bits of `Records.flags`: what of a step was not finite, that the fit stood still, that a gradient was clipped.
VALUE, GRADIENT, UPDATE, STOPPED, CLIPPED = 1, 2, 4, 8, 16
SKIPPED = VALUE | GRADIENT | UPDATE | STOPPED


class FitState(Module):
    """All that a fit carries from step to step: one pytree of arrays. A checkpoint is this pytree.

    Attributes:
      params: the parameters that the optimizer moves, with the estimators that sit in them.
      opt_state: the optimizer's state.
      key_data: the words of the base key; the key of a step is `fold_in(key, step)`.
      step: the number of steps taken, skipped ones included.
      skipped: the number of steps that were skipped because something was not finite.
      skipped_in_a_row: the number of steps skipped since the last accepted one; at the limit the fit stands still.
      clipped: the number of steps whose gradient the freeze guard clipped.
      gradient_scale: (logarithm of the running median of the gradient's norm, number of norms seen), for the freeze guard.
      average: the state of the iterate average, or None.
      position: where the data feed is (epoch, batch), or None.
      history: the `History` until here; None inside of compiled code.
      listeners: arrays of listeners that a resumed fit needs, by the listener's name.
      key_impl: the key's implementation.
    """

    params: Any
    opt_state: Any
    key_data: Array
    step: Array
    skipped: Array
    skipped_in_a_row: Array
    clipped: Array
    gradient_scale: tuple[Array, Array]
    average: Any = None
    position: Any = None
    history: History | None = None
    listeners: Any = None
    key_impl: Any = static(default=None)


class Records(Module):
    """What the steps of one compiled call leave behind, a leading axis of steps.

    Attributes:
      value: the objective, in the user's sign.
      gradient_norm: the Euclidean norm of the gradient of the loss; inf where its square overflows.
      update_norm: the Euclidean norm of the optimizer's update.
      flags: 0 for an ordinary step, else bits that say what was wrong.
      metrics: scalars by name.
    """

    value: Array
    gradient_norm: Array
    update_norm: Array
    flags: Array
    metrics: dict[str, Array]


class Rows(Module):
    """The records of the steps of one compiled call, as they leave it: one matrix, split where it is looked at.

    Attributes:
      values: a row of floats for each step.
      kinds: the `Records` of one step, shapes and dtypes.
    """

    values: Array
    kinds: Any = static()

    def columns(self) -> Records:
        """The records, in the form and the dtypes that a step gave them, a leading axis of steps."""
        leaves, tree = jax.tree.flatten(self.kinds)
        return tree.unflatten([self.values[:, j].astype(k.dtype) for j, k in enumerate(leaves)])

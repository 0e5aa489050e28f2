"""What a fit carries from step to step, and what each step leaves for the history."""

from typing import Any

import jax

from logtrick._core.module import Module, static
from logtrick.training._history import History

Array = jax.Array

# Bits of `Records.flags`: the value, the gradient or the update of a step was not finite; the fit had reached its limit of
# skipped steps and stood still; the gradient was clipped.
VALUE, GRADIENT, UPDATE, STOPPED, CLIPPED = 1, 2, 4, 8, 16
SKIPPED = VALUE | GRADIENT | UPDATE | STOPPED


class FitState(Module):
    """All that a fit carries from step to step: one pytree of arrays, which is what a checkpoint saves.

    Attributes:
      params: the parameters that the optimizer moves, with the estimators that sit in them.
      opt_state: the optimizer's state.
      key_data: the words of the base key; the key of a step is `fold_in(key, step)`.
      step: the number of steps taken, skipped ones included.
      skipped: the number of steps that were skipped because something was not finite.
      skipped_in_a_row: the number of steps skipped since the last accepted one; at the limit the fit stands still.
      clipped: the number of steps whose gradient the freeze guard clipped.
      gradient_scale: for the freeze guard: the logarithm of the running median of the gradient's norm, and the number of
        norms seen.
      average: the state of the iterate average, or None.
      position: the data feed's `Position`, or None.
      history: the `History` so far; None inside compiled code.
      listeners: the arrays of listeners that a resumed fit needs, by the listener's name.
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
    """What one step leaves behind, or the steps of a compiled call, with a leading axis of steps.

    Attributes:
      value: the objective, in the user's sign.
      gradient_norm: the Euclidean norm of the gradient of the loss; inf where its square overflows.
      update_norm: the Euclidean norm of the optimizer's update.
      flags: 0 for an ordinary step, else the bits above.
      metrics: scalars by name.
    """

    value: Array
    gradient_norm: Array
    update_norm: Array
    flags: Array
    metrics: dict[str, Array]

    def history(self) -> History:
        """The same as a `History`."""
        return History(
            value=self.value,
            gradient_norm=self.gradient_norm,
            update_norm=self.update_norm,
            skipped=(self.flags & SKIPPED) != 0,
            clipped=(self.flags & CLIPPED) != 0,
            metrics=self.metrics,
            series={},
        )


class Rows(Module):
    """The records of the steps of one compiled call, as the call returns them: one matrix.

    Attributes:
      values: a row of floats for each step.
      kinds: the shapes and dtypes of one step's `Records`.
    """

    values: Array
    kinds: Any = static()

    def columns(self) -> Records:
        """The records in the form and the dtypes that a step gave them, with a leading axis of steps."""
        leaves, tree = jax.tree.flatten(self.kinds)
        return tree.unflatten([self.values[:, j].astype(k.dtype) for j, k in enumerate(leaves)])

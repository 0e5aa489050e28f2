"""The result of a fit."""

import html
from typing import Any, Generic, TypeVar

import jax
import numpy as np

from logtrick._core.compat import is_tracer
from logtrick._core.module import Module, static
from logtrick.training._history import History, end_length, ends
from logtrick.training._state import FitState

P = TypeVar("P")
_NOTABLE = 0.01  # beyond this fraction of skipped steps the result says that the accepted ones are a selection


class FitResult(Module, Generic[P]):
    """The result of a fit.

    Attributes:
      params: the parameters after the last accepted step, of the type that was passed, in the form that the optimizer
        prescribes for evaluation (see `evaluate` of `lt.minimize`).
      averaged_params: the averaged iterates where `average` was given, else None.
      history: a `History`.
      status: "max_steps" (all steps were taken), "converged", "noise floor" or "frozen" (by the stop rule), "stopped" (by
        a callback), "interrupted" (Ctrl-C, SIGTERM), "running" (in a callback), "diverged" (in `NonFiniteError.result`),
        "failed" (in the result of another exception), or "traced" (under `jax.vmap` or `jax.jit`, where the status would
        depend on traced numbers).
      state: the `FitState`, one pytree of arrays.
      reason: what led to the status, in words, where there is something to say.

    Example:
      >>> import jax, optax, logtrick as lt
      >>> fit = lt.minimize(jax.random.key(0), lambda p, key: (p - 3.0) ** 2, 0.0, optax.sgd(0.25), num_steps=20)
      >>> fit.status, round(fit.params.item(), 4), fit.history.value[:3].tolist()
      ('max_steps', 3.0, [9.0, 2.25, 0.5625])
      >>> fit
      FitResult: max_steps after 20 steps
        objective 2.39766 → 2.23299e-09 (means of the first and the last 5 steps)
        gradient norm 7.09534e-05 (mean of the last 5 steps)
        params float32[]
    """

    params: P
    averaged_params: P | None
    history: History
    status: str = static()
    state: FitState
    reason: str = static(default="")

    def __repr__(self) -> str:
        if any(is_tracer(leaf) for leaf in jax.tree.leaves(self)) or np.ndim(self.state.step):
            return super().__repr__()
        lines = [f"FitResult: {self.status} after {int(self.state.step)} steps"]
        if self.reason:
            lines.append(f"  {self.reason}")
        first, last = ends(self.history.value)
        count = end_length(self.history.value)
        steps = "step" if count == 1 else f"{count} steps"
        lines.append(
            f"  objective {first:.6g} → {last:.6g} (means of the first and the last {steps})"
        )
        norm = ends(self.history.gradient_norm)[1]
        lines.append(f"  gradient norm {norm:.6g} (mean of the last {steps})")
        lines += [f"  {remark}" for remark in self._remarks()]
        lines.append(f"  params {_shapes(self.params)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def _remarks(self) -> list[str]:
        """Skipped and clipped steps, with what they mean."""
        steps = max(int(self.state.step), 1)
        skipped, clipped = int(self.state.skipped), int(self.state.clipped)
        remarks = []
        if skipped > _NOTABLE * steps:
            remarks.append(
                f"{skipped} of {steps} steps ({100 * skipped / steps:.1f} %) were skipped because they were not finite: "
                "the accepted steps are a selection, and the fit may be biased"
            )
        elif skipped:
            remarks.append(f"{skipped} steps were skipped because they were not finite")
        if clipped:
            remarks.append(f"{clipped} gradients were clipped by the freeze guard")
        return remarks


def _shapes(params: Any, most: int = 6) -> str:
    """The leaves of `params` by path, dtype and shape."""
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    shown = [
        f"{jax.tree_util.keystr(path)} {jax.numpy.result_type(x)}[{','.join(map(str, np.shape(x)))}]"
        for path, x in leaves[:most]
    ]
    more = f", and {len(leaves) - most} more" if len(leaves) > most else ""
    return ", ".join(shown).strip() + more

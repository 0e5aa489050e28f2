"""What to say when a fit ends because its steps are not finite."""

from typing import Any

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from logtrick.training._adaptive import auxes, partition
from logtrick.training._loop import GRADIENT, LEAF_SHIFT, UPDATE, VALUE, FitState, Task, _loss, step_inputs


def blame(task: Task, state: FitState, data: Any, trouble: np.ndarray) -> str:
    """The message: which step, what of it, which leaf, which cost, and what to do."""
    step, row = int(state.step) - 1, int(state.skipped_in_a_row)
    bits = int(trouble[step])
    value = _again(task, state, data, step)
    what = []
    if bits & VALUE:
        what.append(f"the value was {value[0]}" + value[1])
    if bits & GRADIENT:
        what.append(f"the gradient of {_leaf(state, bits)} was not finite")
    if bits & UPDATE and not bits & (GRADIENT | VALUE):
        what.append(f"the optimizer's update, at {_leaf(state, bits)} or in its own state, was not finite")
    return (
        f"{task.where} stopped at step {step}: {', and '.join(what)}{_hint(bits)}. It was the last of {row} such steps in a "
        f"row; {int(state.skipped)} of {step + 1} were skipped. The parameters before it are in the error's `result`. Lower "
        "the learning rate, clip gradients (optax.clip_by_global_norm), or start elsewhere."
    )


def _leaf(state: FitState, bits: int) -> str:
    leaves = [path for path, x in tree_flatten_with_path(partition(state.params)[0])[0] if x.size]
    return "params" + keystr(leaves[bits >> LEAF_SHIFT])


def _hint(bits: int) -> str:
    if bits & VALUE:
        return ""
    if bits & GRADIENT:
        return (
            " while the value was finite: either the log_prob of a draw was not finite (a draw of probability zero under its "
            "own distribution), or a derivative overflowed"
        )
    return " while the gradient was finite: it overflowed"


def _again(task: Task, state: FitState, data: Any, step: int) -> tuple[float, str]:
    """The step's value, and the costs in its aux that were not finite: evaluated again, since the parameters stand still."""

    @jax.jit
    def once(state: FitState, data: Any) -> Any:
        base = jax.random.wrap_key_data(state.key_data, impl=state.key_impl)
        key, rows = step_inputs(task, base, np.int32(step), data)
        value, aux = _loss(task, state.params, key, rows, data)[1]
        return value, [a.costs for _, a in auxes(aux)]

    value, costs = once(state, data)
    wrong = [
        (keystr(path[1:]), int(np.argmin(np.isfinite(c))))
        for path, c in tree_flatten_with_path(costs)[0]
        if not np.all(np.isfinite(c))
    ]
    if not wrong:
        return float(value), ""
    name, run = wrong[0]
    return float(value), f" (cost{name}, of draw {run})"

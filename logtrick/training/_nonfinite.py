"""What to say when a fit ends because its steps are not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from logtrick._core.module import replace
from logtrick._core.samples import SampleAxis, under_name
from logtrick._core.watch import wait_until_noted
from logtrick.training._program import CAPACITY, batch_of, step_key
from logtrick.training._reductions import lost
from logtrick.training._state import GRADIENT, UPDATE, VALUE, FitState, Records
from logtrick.training._step import Proposal, Task, expectations, propose


def explanation(task: Task, state: FitState, data: Any, records: list[Records], before: int) -> str:
    """The message: which step, which leaf, which cost, which draw was not finite, and what to do.

    Args:
      task: what was fitted.
      state: the state, in which the fit stands still.
      data: the data of the last steps that were taken together.
      records: what these steps left behind.
      before: how many steps were taken before them.
    """
    index, row = int(state.step) - 1, int(state.skipped_in_a_row)
    if index < before:
        return (
            f"{task.where}(nonfinite=…) allows fewer than {task.limit} skipped steps in a row; the fit was resumed after {row} "
            "of them. Pass a larger int, or start elsewhere."
        )
    part, place = divmod(index - before, CAPACITY)
    bits = int(records[part].flags[place])
    found: dict[str, str] = {}
    step = _again(task, state, data, index, index - before, found)
    what = []
    if bits & VALUE:
        reasons = [f"a cost was {found['cost']}"] if "cost" in found else []
        reasons += [found["draw"]] if "draw" in found else []
        where = f" ({'; '.join(reasons)})" if reasons else ""
        what.append(f"the value was {float(step.value)}{_cost(step.aux)}{where}")
    if bits & GRADIENT:
        leaves = tree_flatten_with_path(step.grads)[0]
        first = _first([(path, np.isfinite(g).all()) for path, g in leaves])
        what.append(f"the gradient of {first} was not finite")
    if bits & UPDATE and not bits & (GRADIENT | VALUE):
        leaves = tree_flatten_with_path(jax.tree.map(lost, step.new[0], step.old[0]))[0]
        first = _first([(path, not x.any()) for path, x in leaves])
        what.append(f"the optimizer's update of {first} was not finite")
    return (
        f"{task.where} stopped at step {index}: {', and '.join(what)}{_hint(bits, found)}. It was the last of {row} such steps "
        f"in a row; {int(state.skipped)} of {index + 1} steps were skipped. The parameters before it are in the error's "
        f"`result`; lt.training.replay(key, objective, result.params, {index}) evaluates the step again. Lower the learning "
        "rate, clip gradients (optax.clip_by_global_norm), or start elsewhere."
    )


def _first(leaves: list[tuple[Any, Any]]) -> str:
    """The first leaf that is not finite; the optimizer's own state where all leaves of the parameters are."""
    wrong = [path for path, fine in leaves if not fine]
    return "params" + keystr(wrong[0]) if wrong else "its own state"


def _hint(bits: int, found: dict[str, str]) -> str:
    if bits & VALUE:
        return ""
    if bits & GRADIENT and "log_prob" in found:
        return f" while the value was finite: the log_prob was {found['log_prob']}, its own distribution"
    if bits & GRADIENT:
        return (
            " while the value was finite: either the log_prob of a draw was not finite (a draw of probability zero under "
            "its own distribution), or a derivative overflowed"
        )
    return " while the gradient was finite: it overflowed"


def _again(
    task: Task, state: FitState, data: Any, index: int, i: int, found: dict[str, str]
) -> Proposal:
    """Propose the step once more, from the same parameters; of what it was, the compiled loop has kept the flags only.

    In `found` the first log-prob and the first cost that is not finite are noted.
    """

    @jax.jit
    def once(state: FitState, data: Any) -> Proposal:
        base = jax.random.wrap_key_data(state.key_data, impl=state.key_impl)
        state = replace(state, step=jnp.asarray(index, jnp.int32))
        key = step_key(base, state.step)
        batch = batch_of(task, state, data, jnp.asarray(i, jnp.int32))

        def proposed() -> Proposal:
            step = propose(task, state, key, batch, found)
            return replace(step, aux=expectations(step.aux))  # the rest of aux may not be arrays

        # under a new name: functions that were jitted and traced before, unwatched, are traced anew
        return under_name(SampleAxis(), proposed)

    step = jax.block_until_ready(once(state, data))
    wait_until_noted()
    return step


def _cost(aux: Any) -> str:
    """The first cost in the aux that was not finite, by its name, and its draw."""
    for path, cost in tree_flatten_with_path(aux)[0]:
        if not np.isfinite(cost).all():
            return f" (cost{keystr(path[1:])}, of draw {int(np.argmin(np.isfinite(cost)))})"
    return ""

"""The parameters that an optimizer prescribes for evaluation, where they are not those that it moves."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from logtrick.training._adaptive import merge, partition

Evaluate = Callable[[Any, Any], Any]


def evaluation_params(evaluate: Evaluate | None, opt_state: Any, params: Any) -> Any:
    """`params` as they are to be evaluated, returned, averaged and judged.

    `evaluate(opt_state, params)` where it is given; `optax.contrib.schedule_free_eval_params` where the optimizer is
    schedule-free; else `params`. Statistics of estimators stay as they are.
    """
    trained, statistics = partition(params)
    if evaluate is not None:
        return merge(params, evaluate(opt_state, trained), statistics)
    schedule_free = _schedule_free(opt_state)
    if schedule_free is None:
        return params
    shown = optax.contrib.schedule_free_eval_params(schedule_free, trained)
    shown = jax.tree.map(lambda x, like: x.astype(like.dtype), shown, trained)
    return merge(params, shown, statistics)


def evaluates_as_is(evaluate: Evaluate | None, opt_state: Any) -> bool:
    """Whether parameters are evaluated in the form in which they are moved."""
    return evaluate is None and _schedule_free(opt_state) is None


def _schedule_free(opt_state: Any) -> Any:
    """The only state of a schedule-free optimizer inside `opt_state`, or None."""
    kind = optax.contrib.ScheduleFreeState
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, kind))
    found = [node for node in nodes if isinstance(node, kind)]
    return found[0] if len(found) == 1 else None

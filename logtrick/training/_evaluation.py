"""The parameters that an optimizer prescribes for evaluation, where they differ from those that it moves."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from logtrick._core.show import short
from logtrick.training._adaptive import merge, partition

Evaluate = Callable[[Any, Any], Any]


def evaluation_params(evaluate: Evaluate | None, opt_state: Any, params: Any) -> Any:
    """`params` as they are to be evaluated, returned, averaged and judged.

    `evaluate(opt_state, params)` where it is given; `optax.contrib.schedule_free_eval_params` where the optimizer is
    schedule-free; else `params`. Statistics of estimators stay as they are.

    Raises:
      ValueError: `evaluate` returned parameters of another structure or shape.
    """
    trained, statistics = partition(params)
    if evaluate is not None:
        shown = evaluate(opt_state, trained)
        if _shapes(shown) != _shapes(trained):
            raise ValueError(
                "evaluate=… needs to return parameters of the structure and the shapes of those that it gets, "
                f"{short(trained)}; got {short(shown)}."
            )
        return merge(params, shown, statistics)
    schedule_free = _schedule_free(opt_state)
    if schedule_free is None:
        return params
    shown = optax.contrib.schedule_free_eval_params(schedule_free, trained)
    shown = jax.tree.map(lambda x, like: x.astype(like.dtype), shown, trained)
    return merge(params, shown, statistics)


def evaluates_as_is(evaluate: Evaluate | None, opt_state: Any) -> bool:
    """Whether parameters are evaluated in the form in which they are moved."""
    return evaluate is None and _schedule_free(opt_state) is None


def _shapes(tree: Any) -> tuple[Any, list[tuple[int, ...]]]:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [jnp.shape(x) for x in leaves]


def _schedule_free(opt_state: Any) -> Any:
    """The only state of a schedule-free optimizer inside `opt_state`, or None."""
    kind = optax.contrib.ScheduleFreeState
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, kind))
    found = [node for node in nodes if isinstance(node, kind)]
    return found[0] if len(found) == 1 else None

"""What of a training step hangs on its key alone, its noise above all, worked out for many steps at once.

The noise of one small step is made in many short loops of its own, and takes most of the step's time; that of a hundred
steps is made in the loops of one. Which equations these are is read off the step's jaxpr, whatever the objective does.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun

from logtrick._core.compat import jaxpr_of
from logtrick._core.jaxprs import largest

BLOCK = 128  # steps that are prepared at once
_MOST = (
    2**13
)  # numbers of one step: more is no faster made for many steps at once, and a block has to stay in the caches
_ON_THE_HOST = ("callback", "debug", "ffi")


def worked_ahead(step: Callable[..., Any], inputs: Any, *args: Any) -> tuple[Any, Callable[..., Any]]:
    """`prepared` and `resume`, such that `resume(row of prepared, *args)` is `step(row of inputs, *args)` to rounding.

    Whether anything is prepared hangs on one step's sizes alone, so that the bits do not hang on how many there are.

    Args:
      step: a pure function of a row of `inputs` and of `args`.
      inputs: a pytree with a leading axis of steps.
    """
    rows, tree = jax.tree.flatten(inputs)
    closed, shape = jaxpr_of(step, tree.unflatten([row[0] for row in rows]), *args)
    jaxpr = closed.jaxpr
    early, late, known = _apart(jaxpr, jaxpr.invars[: len(rows)])
    used = {v for eqn in late for v in eqn.invars if isinstance(v, Var)} | {
        v for v in jaxpr.outvars if isinstance(v, Var)
    }
    kept = [v for v in known if v in used]
    if max(largest(early), sum(v.aval.size for v in kept)) > _MOST:
        return inputs, step
    first = jaxpr.replace(eqns=early, invars=jaxpr.invars[: len(rows)], outvars=kept, effects=set())
    second = jaxpr.replace(eqns=late, invars=[*kept, *jaxpr.invars[len(rows) :]])
    prepared = jax.vmap(jaxpr_as_fun(ClosedJaxpr(first, closed.consts)))(*rows)

    def resume(row: Any, *args: Any) -> Any:
        out = jaxpr_as_fun(ClosedJaxpr(second, closed.consts))(*row, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return prepared, resume


def _apart(jaxpr: Any, inputs: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """The equations of `inputs` and constants alone, the others, and all that is known before the others run."""
    early, late, known, constant = [], [], dict.fromkeys(inputs), set(jaxpr.constvars)
    for eqn in jaxpr.eqns:
        read = [v for v in eqn.invars if isinstance(v, Var)]
        pure = not eqn.effects and not any(word in eqn.primitive.name for word in _ON_THE_HOST)
        if pure and any(v in known for v in read) and all(v in known or v in constant for v in read):
            early.append(eqn)
            known.update(dict.fromkeys(eqn.outvars))
        else:
            late.append(eqn)
    return early, late, list(known)

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
# The numbers of a step that are prepared at most: more are no faster made for many steps at once, and a block has to stay
# in the caches. Where a step's noise is more, its keys.
_MOST, _KEYS = 2**13, 2**6
_ON_THE_HOST = ("callback", "debug", "ffi")


def worked_ahead(step: Callable[..., Any], inputs: Any, *args: Any) -> tuple[Any, Callable[..., Any]]:
    """`prepared` and `resume`, such that `resume(row of prepared, *args)` is `step(row of inputs, *args)` to rounding.

    What is prepared hangs on one step's sizes alone, so that the bits do not hang on how many steps there are.

    Args:
      step: a pure function of a row of `inputs` and of `args`.
      inputs: a pytree with a leading axis of steps.
    """
    rows, tree = jax.tree.flatten(inputs)
    closed, shape = jaxpr_of(step, tree.unflatten([row[0] for row in rows]), *args)
    jaxpr = closed.jaxpr
    early, late, kept = _apart(jaxpr, jaxpr.invars[: len(rows)], _MOST)
    if sum(v.aval.size for v in kept) > _MOST:
        early, late, kept = _apart(jaxpr, jaxpr.invars[: len(rows)], _KEYS)
    first = jaxpr.replace(eqns=early, invars=jaxpr.invars[: len(rows)], outvars=kept, effects=set())
    second = jaxpr.replace(eqns=late, invars=[*kept, *jaxpr.invars[len(rows) :]])
    prepared = jax.vmap(jaxpr_as_fun(ClosedJaxpr(first, closed.consts)))(*rows)

    def resume(row: Any, *args: Any) -> Any:
        out = jaxpr_as_fun(ClosedJaxpr(second, closed.consts))(*row, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return prepared, resume


def _apart(jaxpr: Any, inputs: list[Any], most: int) -> tuple[list[Any], list[Any], list[Any]]:
    """The equations of `inputs` and constants alone and of at most `most` numbers, the others, and what these read."""
    early, late, known, constant = [], [], dict.fromkeys(inputs), set(jaxpr.constvars)
    for eqn in jaxpr.eqns:
        read = [v for v in eqn.invars if isinstance(v, Var)]
        pure = not eqn.effects and not any(word in eqn.primitive.name for word in _ON_THE_HOST)
        ready = any(v in known for v in read) and all(v in known or v in constant for v in read)
        if ready and pure and largest([eqn]) <= most:
            early.append(eqn)
            known.update(dict.fromkeys(eqn.outvars))
        else:
            late.append(eqn)
    read_late = {v for v in (*(v for eqn in late for v in eqn.invars), *jaxpr.outvars) if isinstance(v, Var)}
    return early, late, [v for v in known if v in read_late]

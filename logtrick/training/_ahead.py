"""The noise of a training step, and what else hangs on its key alone, worked out for many steps at once.

The noise of one small step is made in many short loops of its own, and takes much of the step's time; that of a hundred
steps is made in the loops of one. Which equations these are is read off the step's jaxpr. Only what works entry by entry is
taken, of which every entry has the same bits in an array of any length: no sum, no loop, nothing that asks the host. (An
objective that is jitted is one equation, and is left whole.)
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Var, jaxpr_as_fun

from logtrick._core.compat import jaxpr_of
from logtrick._core.jaxprs import equations, largest

# The numbers of a step that are prepared at most: more are no faster made for many steps at once, and those of a chunk have
# to stay in the caches. Where a step's noise is more, its keys.
_MOST, _KEYS = 2**10, 2**6
_NAMES = (
    "random_fold_in random_split random_bits random_unwrap random_wrap random_clone logtrick_true jit pjit cond "
    "add sub mul div rem neg abs sign max min clamp exp exp2 expm1 log log1p erf_inv erf erfc sqrt rsqrt sin cos tan tanh "
    "logistic square integer_pow floor ceil round and or xor not shift_left shift_right_logical shift_right_arithmetic "
    "eq ne lt le gt ge is_finite select_n convert_element_type bitcast_convert_type stop_gradient copy "
    "iota broadcast_in_dim reshape squeeze expand_dims slice concatenate transpose rev unstack"
)
_ENTRY_BY_ENTRY = frozenset(_NAMES.split())


def worked_ahead(
    step: Callable[..., Any], inputs: Any, *args: Any
) -> tuple[Any, Callable[..., Any]]:
    """`prepared` and `resume`, such that `resume(row of prepared, *args)` is `step(row of inputs, *args)` to rounding.

    What is prepared hangs on one step's sizes alone, so that the bits do not hang on how many steps there are.

    Args:
      step: a pure function of a row of `inputs` and of `args`.
      inputs: a pytree with a leading axis of steps.
    """
    rows, tree = jax.tree.flatten(inputs)
    closed, shape = jaxpr_of(step, tree.unflatten([row[0] for row in rows]), *args)
    jaxpr = closed.jaxpr
    early, late, kept = _apart(jaxpr, len(rows), _MOST)
    if sum(v.aval.size for v in kept) > _MOST:
        early, late, kept = _apart(jaxpr, len(rows), _KEYS)
    first = jaxpr.replace(eqns=early, invars=jaxpr.invars[: len(rows)], outvars=kept, effects=set())
    second = jaxpr.replace(eqns=late, invars=[*kept, *jaxpr.invars[len(rows) :]])
    prepared = jax.vmap(jaxpr_as_fun(ClosedJaxpr(first, closed.consts)))(*rows)

    def resume(row: Any, *args: Any) -> Any:
        out = jaxpr_as_fun(ClosedJaxpr(second, closed.consts))(*row, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return prepared, resume


def _apart(jaxpr: Any, count: int, most: int) -> tuple[list[Any], list[Any], list[Any]]:
    """The equations of the first `count` inputs alone, of at most `most` numbers; the others; and what these read.

    Equations of constants alone are among both.
    """
    early, late, known, constant = [], [], dict.fromkeys(jaxpr.invars[:count]), set(jaxpr.constvars)
    for eqn in jaxpr.eqns:
        read = {v for v in eqn.invars if isinstance(v, Var)}
        movable = (
            read <= known.keys() | constant and _entry_by_entry(eqn) and largest([eqn]) <= most
        )
        if movable:
            early.append(eqn)
        if not movable or read <= constant:
            late.append(eqn)
        if movable and read <= constant:
            constant.update(eqn.outvars)
        elif movable:
            known.update(dict.fromkeys(eqn.outvars))
    read_late = {
        v for v in (*(v for eqn in late for v in eqn.invars), *jaxpr.outvars) if isinstance(v, Var)
    }
    return early, late, [v for v in known if v in read_late]


def _entry_by_entry(eqn: Any) -> bool:
    """Also not of keys other than threefry's: other generators' bits under vmap depend on the batch."""
    return not eqn.effects and all(
        e.primitive.name in _ENTRY_BY_ENTRY
        and all(_is_counted(v.aval) for v in (*e.invars, *e.outvars))
        for e in equations([eqn])
    )


def _is_counted(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return (
        dtype is None
        or not jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
        or str(dtype) == "key<fry>"
    )

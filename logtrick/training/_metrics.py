"""Columns of the history from what an objective returns beside its value."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import keystr, tree_flatten_with_path

from logtrick._core.kernel import is_array
from logtrick.expectations import Aux

Array = jax.Array


def columns(where: str, aux: Any, opt_state: Any) -> dict[str, Array]:
    """Scalars by name: the learning rate, the scalars of the user's aux, and statistics of the expectations in it.

    The name of a scalar is its path in the aux, joined by "/". No derivative goes through them.
    """
    found: dict[str, Array] = {}
    rate = _learning_rate(opt_state)
    if rate is not None:
        found["learning_rate"] = rate
    given: dict[str, Array] = {}
    for path, leaf in tree_flatten_with_path(aux, is_leaf=lambda x: isinstance(x, Aux))[0]:
        name = keystr(path, simple=True, separator="/")
        scalars = {}
        if isinstance(leaf, Aux):
            scalars = {f"{name}/{k}" if name else k: x for k, x in _of_expectation(leaf).items()}
        elif is_array(leaf) and jnp.ndim(leaf) == 0 and _is_real(leaf):
            scalars = {name: leaf}
        twice = given.keys() & scalars.keys()
        if twice:
            raise ValueError(
                f"{where}: two scalars of the objective's aux have the name {min(twice)!r} in the history. Name one of them "
                "differently."
            )
        given |= scalars
    found |= given
    as_float = lambda x: jax.lax.stop_gradient(jnp.asarray(x)).astype(float)
    return {name: as_float(x) for name, x in found.items()}


def _is_real(x: Any) -> bool:
    dtype = jnp.result_type(x)
    return any(jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating))


def _of_expectation(aux: Aux) -> dict[str, Array]:
    """The standard error (the largest, of a batch of expectations), and how many had no signal.

    An expectation has no signal where the costs of all its samples are equal: then leave-one-out leaves nothing, and its
    gradient is exactly zero.
    """
    out = {"standard_error": jnp.max(aux.standard_error)}
    costs = [jnp.asarray(cost) for cost in jax.tree.leaves(aux.costs)]
    if (
        costs
        and all(c.ndim and c.shape == costs[0].shape for c in costs)
        and costs[0].shape[-1] > 1
    ):
        total = sum(costs[1:], costs[0])
        equal = jnp.max(total, -1) == jnp.min(total, -1)
        out["fraction_without_signal"] = jnp.mean(equal.astype(float))
    return out


def _learning_rate(opt_state: Any) -> Array | None:
    """The learning rate, where the optimizer keeps one in its state (`optax.inject_hyperparams`)."""
    rates = optax.tree_utils.tree_get_all_with_path(opt_state, "learning_rate")
    scalars = [rate for _, rate in rates if is_array(rate) and jnp.ndim(rate) == 0]
    return scalars[0] if len(scalars) == 1 else None

"""The points at which an estimator evaluates the rest of a program, before the rest is evaluated.

Estimators that are combined share ONE vmapped call of the rest, so their points must be known first. An estimator calls
`rest` under a vmap of its own: a primitive in the place of the rest sees the whole stack of points in its batching rule,
and a second one hands the costs of the stack back in the same way.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching

from logtrick._core.kernel import RUNS
from logtrick._core.runs import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs


class _Stopped(Exception):
    """The points are known: the estimator need not go on."""


class _Single(Exception):
    """The estimator called the rest at one point, under no vmap of its own."""


_rest_p = Primitive("logtrick_rest")
_rest_p.multiple_results = True


# Whether what was recorded is of the run itself, or of a derivative that the estimator takes of the rest.
_level_p = Primitive("logtrick_level")
_level_p.multiple_results = True


def _batch(
    axis: Any, xs: Any, dims: Any, *, at: Callable[..., list[Any]]
) -> tuple[list[Any], list[int]]:
    if axis.name is RUNS:
        raise _Single
    front = [
        jnp.broadcast_to(x, (axis.size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
        for x, d in zip(xs, dims)
    ]
    outs = at(front)
    return outs, [0] * len(outs)


def _differentiated(*_: Any, **__: Any) -> Any:
    raise ValueError(
        "Combination(estimators=…) needs estimators that do not differentiate the rest of the program; one of them does. "
        "Average two expectations instead."
    )


def _reached(*_: Any, **__: Any) -> Any:
    raise _Stopped


def _level_batch(axis: Any, xs: Any, dims: Any) -> Any:
    if axis.name is RUNS:
        raise _Stopped
    return _level_p.bind(*xs), dims


batching.fancy_primitive_batchers[_rest_p] = _batch
batching.fancy_primitive_batchers[_level_p] = _level_batch
ad.primitive_jvps[_rest_p] = ad.primitive_jvps[_level_p] = _differentiated
_rest_p.def_abstract_eval(
    _differentiated
)  # traced to be differentiated, apart from what surrounds it
_level_p.def_impl(_reached)
_level_p.def_abstract_eval(_reached)


def points_of(estimator: Estimator, noise: Any, dist: Distribution, runs: Runs) -> Any:
    """The stack of points at which `estimator` would call its rest under one vmap."""
    seen: list[Any] = []

    def rest(x: Any) -> Costs:
        leaves, tree = jax.tree.flatten(x)

        def record(front: list[Any]) -> list[Any]:
            seen.append(tree.unflatten(front))
            return _level_p.bind(*front)

        try:
            _rest_p.bind(*leaves, at=record)
        except _Single:
            seen.append(jax.tree.map(lambda a: jnp.asarray(a)[None], x))
        raise _Stopped

    try:
        estimator(noise, dist, rest, runs)
    except _Stopped:
        return seen[0]
    raise AssertionError(f"{type(estimator).__name__} did not call rest")


def with_costs(
    estimator: Estimator, noise: Any, dist: Distribution, costs: Costs, runs: Runs
) -> Costs:
    """What `estimator` makes of the costs at its stack of points."""
    leaves, tree = jax.tree.flatten(costs)

    def rest(x: Any) -> Costs:
        try:
            return tree.unflatten(_rest_p.bind(*jax.tree.leaves(x), at=lambda front: leaves))
        except _Single:
            return costs.point(0, 1)

    return estimator(noise, dist, rest, runs)

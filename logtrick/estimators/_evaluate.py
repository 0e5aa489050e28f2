"""What the engine does between `draw` and `close`: evaluate the rest at the points, and enforce the declared order."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import limited
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._costs import Costs
from logtrick.estimators._derivatives import expanded, linearized
from logtrick.estimators._points import Points


def draw(estimator: Any, noise: Any, dist: Distribution) -> Points:
    """The points at which the estimator wants the costs, checked to be as many as it declares.

    Raises:
      TypeError: what its `draw` returns are no points.
      ValueError: they are more or fewer than `evaluations` declares.
    """
    points, name = estimator.draw(noise, dist), type(estimator).__name__
    if not isinstance(points, Points):
        raise TypeError(f"{name}.draw must return lt.Points(x, dist); got {type(points).__name__}.")
    declared, found = estimator.evaluations, points.count + len(points.centers)
    if declared is not None and declared != found:
        raise ValueError(
            f"{name}.evaluations declares {declared} evaluations of f per sample; draw gives {found} points. Declare "
            f"{found}, or None for the engine to count."
        )
    return points


def evaluate(estimator: Any, points: Points, rest: Callable[[Any], Costs]) -> Costs:
    """The costs at the points, the rest evaluated at all of them in one vmapped call."""
    name, x = type(estimator).__name__, value_of(points.x)
    expansions: list[Any] = []
    if points.centers:
        first = jax.tree.map(lambda a: a[0], x) if points.stacked else x
        rest, expansions = expanded(name, rest, first, points.centers)
    whole = jax.vmap(rest) if points.stacked else rest
    if estimator.derivatives_of_rest:
        at = linearized(name, whole, x, bend=estimator.derivatives_of_rest > 1)
        costs = dataclasses.replace(at.costs, derivatives=at)
    else:
        costs = whole(x)
    return dataclasses.replace(
        costs,
        name=name,
        expansions=tuple(expansions),
        evaluations=costs.evaluations * (points.count + len(points.centers)),
    )


def close(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """What the estimator makes of the costs; nan where the traced parameters of the distribution are illegal."""
    return estimator.close(found, points, runs).plus(points.dist.nan_unless_legal())


def close_limited(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """What the estimator makes of the costs, its derivatives beyond the declared order refused.

    Where only the first derivative is right, a second one may go wrong in two ways: within a term
    of value zero, and between such a term and the costs themselves. So a derivative of the costs
    may not be differentiated in the parameters of the site, and a derivative of a term of value
    zero not in anything that it or the costs depend on. Second derivatives of the costs in other
    parameters stay legal.
    """
    closed = close(estimator, found, points, runs)
    for cost in (*closed.credited.values(), *closed.others.values(), closed.zero):
        if cost is not None and jnp.shape(cost):
            raise ValueError(
                f"{type(estimator).__name__}.close returned costs of shape {jnp.shape(cost)}, one for each of several "
                "points. Return costs.averaged(weights)."
            )
    closed = dataclasses.replace(closed, derivatives=None, expansions=(), name="", shift={})
    if estimator.max_order > 1 or estimator.mixed_orders:
        return closed
    name, own = type(estimator).__name__, (points.dist, points.kept)
    credited = {k: limited(name, c, own) for k, c in closed.credited.items()}
    zero = closed.zero
    if zero is not None:
        zero = limited(name, zero, (zero, found.total, own))
    return dataclasses.replace(closed, credited=credited, zero=zero)

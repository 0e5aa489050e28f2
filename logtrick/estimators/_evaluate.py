"""What the engine does between `draw` and `close`: evaluate the rest at the points, and enforce the declared order."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import described
from logtrick._core.kernel import limited
from logtrick._core.module import holds_user_code
from logtrick._core.samples import Runs
from logtrick._core.watch import watch, watching
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._costs import Costs
from logtrick.estimators._derivatives import expanded, linearized
from logtrick.estimators._points import Points


def draw(estimator: Any, noise: Any, dist: Distribution) -> Points:
    """Choose the points at which the estimator wants the costs, checked to be as many as it declares.

    Args:
      estimator: the estimator.
      noise: values of the noise that `estimator.noise(dist)` declares.
      dist: the distribution of the site.
    Returns:
      The points.
    Raises:
      TypeError: what its `draw` returns are no points.
      ValueError: they are more or fewer than `evaluations` declares.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.estimators.draw(lt.Enumerate(), None, lt.Bernoulli(0.0)).x.tolist()
      [0.0, 1.0]
    """
    choose = _draw if dist.may_hide_parameters or holds_user_code(estimator) else _draw_jitted
    points, name = choose(estimator, noise, dist), type(estimator).__name__
    if not isinstance(points, Points):
        raise TypeError(f"{name}.draw must return lt.Points(x, dist); got {described(points)}.")
    declared, found = estimator.evaluations, points.count + len(points.centers)
    if declared is not None and declared != found:
        raise ValueError(
            f"{name}.evaluations declares {declared} evaluations of f per sample; draw gives {found} points. Declare "
            f"{found}, or None for the engine to count."
        )
    if (
        watching() and not points.stacked
    ):  # stacked points have weights, and may be of probability zero
        watch("log_prob", points.dist.log_prob(points.x), value_of(points.x), points.dist)
    return points


def _draw(estimator: Any, noise: Any, dist: Distribution) -> Points:
    chosen: Points = estimator.draw(noise, dist)
    return chosen


# Estimators and distributions of this package are known by their leaves and static fields. Called eagerly, all operations
# of a draw are then one compiled call, and no Python of theirs runs after the first.
_draw_jitted = jax.jit(_draw, inline=True)


def evaluate(estimator: Any, points: Points, rest: Callable[[Any], Costs]) -> Costs:
    """The costs at the points, the rest evaluated at all of them in one vmapped call.

    Args:
      estimator: the estimator; its `derivatives_of_rest` says which derivatives are taken.
      points: where the costs are wanted.
      rest: what the program computes after the site, of one draw.
    Returns:
      The costs, with a leading axis where the points are stacked, and with the derivatives that the estimator declares.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> estimator, dist = lt.Enumerate(), lt.Bernoulli(0.0)
      >>> points = lt.estimators.draw(estimator, None, dist)
      >>> costs = lt.estimators.evaluate(estimator, points, lambda x: lt.Costs({(): 3.0 * x}))
      >>> costs.total.tolist()
      [0.0, 3.0]
    """
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
        expansions=tuple(expansions),
        evaluations=costs.evaluations * _times(estimator, points),
    )


def _times(estimator: Any, points: Points) -> int:
    """How often the rest is evaluated for this site; 1 where that is counted over all sites, by `Structure.largest_table`."""
    return 1 if estimator.sums_out else points.count + len(points.centers)


def close(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """What the estimator makes of the costs; nan where the traced parameters of the distribution are illegal.

    Args:
      estimator: the estimator.
      found: the costs at the points.
      points: what `draw` returned.
      runs: the samples of the expectation, seen from this one.
    Returns:
      The costs whose value estimates the expectation and whose derivative estimates its derivative.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> estimator, dist = lt.Enumerate(), lt.Bernoulli(0.0)
      >>> points = lt.estimators.draw(estimator, None, dist)
      >>> costs = lt.estimators.evaluate(estimator, points, lambda x: lt.Costs({(): 3.0 * x}))
      >>> lt.estimators.close(estimator, costs, points, None).total.item()      # E 3x
      1.5
    """
    found = dataclasses.replace(found, name=type(estimator).__name__)
    hides = points.dist.may_hide_parameters or holds_user_code(estimator)
    # the derivatives of the rest hold functions; a chunk's own axis would be a new entry in JAX's cache at every call
    if hides or found.derivatives is not None or runs is None or not runs.axis.shared:
        return _close(estimator, found, points, runs)
    return _close_once(estimator, found, points, runs)


def _close(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    closed = estimator.close(found, points, runs)
    if not isinstance(closed, Costs):
        raise TypeError(
            f"{type(estimator).__name__}.close must return the costs; got {described(closed)}. Return "
            "costs.plus(term of value zero), costs.scored(box), costs.averaged(weights), …: a number would lose the credit "
            "of other sites."
        )
    return closed.plus(points.dist.nan_unless_legal())


_close_jitted = jax.jit(_close, inline=True)


def _close_once(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """`_close` as one compiled call, which sites that differ in nothing but the sites of their costs share.

    For this, the groups of the costs are numbered; and what an estimator of one point leaves alone stays outside.
    """
    shown = dataclasses.replace(found, credited=_numbered(found.credited))
    if points.stacked:
        shown = dataclasses.replace(shown, others=_numbered(found.others))
    else:
        shown = dataclasses.replace(shown, others={}, records=None, reply=None, later_losses=None)
    closed = _close_jitted(estimator, shown, points, runs)
    closed = dataclasses.replace(closed, credited=_grouped(closed.credited, found.credited))
    if points.stacked:
        return dataclasses.replace(closed, others=_grouped(closed.others, found.others))
    return dataclasses.replace(
        closed,
        others=found.others,
        records=found.records,
        reply=found.reply,
        later_losses=found.later_losses,
    )


def _numbered(groups: dict[Any, Any]) -> dict[Any, Any]:
    return dict(enumerate(groups.values()))


def _grouped(numbered: dict[Any, Any], groups: dict[Any, Any]) -> dict[Any, Any]:
    return dict(zip(groups, numbered.values()))


def close_limited(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """What the estimator makes of the costs, its derivatives beyond the declared order refused.

    Where only the first derivative is right, a second one may go wrong in two ways: within a term of value zero, and
    between such a term and the costs themselves. So a derivative of the costs may not be differentiated in the
    parameters of the site, and a derivative of a term of value zero not in anything that it or the costs depend on.
    Second derivatives of the costs in other parameters stay legal.

    Args:
      estimator: the estimator.
      found: the costs at the points.
      points: what `draw` returned.
      runs: the samples of the expectation, seen from this one.
    Returns:
      The costs of `close`, without what only `close` needs.
    Raises:
      ValueError: `close` returned costs at several points, not their average.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> estimator, dist = lt.Enumerate(), lt.Bernoulli(0.0)
      >>> points = lt.estimators.draw(estimator, None, dist)
      >>> costs = lt.estimators.evaluate(estimator, points, lambda x: lt.Costs({(): 3.0 * x}))
      >>> lt.estimators.close_limited(estimator, costs, points, None).total.item()
      1.5
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

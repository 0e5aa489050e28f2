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
from logtrick._core.watch import watch, watching_draws
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._derivatives import expanded, linearized
from logtrick.estimators._points import Points


def draw(estimator: Any, noise: Any, dist: Distribution) -> Points:
    """Choose the points at which the estimator wants the costs, and check that they are as many as it declares.

    Args:
      estimator: the estimator.
      noise: values of the noise that `estimator.noise(dist)` declares.
      dist: the distribution of the site.
    Returns:
      The points.
    Raises:
      TypeError: its `draw` returns no `Points`.
      ValueError: there are more or fewer points than `evaluations` declares.
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
    # Not for stacked points: they have weights, and may be of probability zero.
    if watching_draws() and not points.stacked:
        watch("log_prob", points.dist.log_prob(points.x), value_of(points.x), points.dist)
    if points.dist.may_hide_parameters and _is_limited(estimator):
        points = dataclasses.replace(points, hidden=_hidden(points))
    return points


def _is_limited(estimator: Any) -> bool:
    """Whether the engine refuses second derivatives for the estimator, which does not do so itself."""
    return bool(estimator.max_order == 1 and not estimator.mixed_orders)


def _hidden(points: Points) -> Array:
    """The log-prob at the points, for what it depends on; its value is of no use."""
    log_prob = jax.vmap(points.dist.log_prob) if points.stacked else points.dist.log_prob
    return jnp.sum(log_prob(points.x))


def _draw(estimator: Any, noise: Any, dist: Distribution) -> Points:
    chosen: Points = estimator.draw(noise, dist)
    return chosen


# An estimator and a distribution of this package depend on nothing but their leaves and static fields. So an eager draw is
# one compiled call, and its Python runs in the first call alone.
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
    """How often this site evaluates the rest; 1 for sites that sum out, counted together by `Structure.largest_table`."""
    return 1 if estimator.sums_out else points.count + len(points.centers)


def close(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """The estimate that the estimator makes of the costs; nan where traced parameters of the distribution are illegal.

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
    # The derivatives of the rest hold functions, which are no arguments of a jitted one. The axis of a chunk is an object of
    # its own, and would be a new entry in JAX's cache at every call.
    if hides or found.derivatives is not None or runs is None or not runs.axis.shared:
        return _close(estimator, found, points, runs)
    return _close_once(estimator, found, points, runs)


def _close(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    possible = points.nan_unless_possible()
    if possible is not None:
        # The factor makes the derivatives nan. Not the value: XLA computes 0 for nan times a comparison that is false.
        factor = 1 + possible
        credited = {k: factor.astype(c.dtype) * c for k, c in found.credited.items()}
        found = dataclasses.replace(found, credited=credited)
    closed = estimator.close(found, points, runs)
    if not isinstance(closed, Costs):
        raise TypeError(
            f"{type(estimator).__name__}.close must return the costs; got {described(closed)}. Return "
            "costs.plus(term of value zero), costs.scored(box), costs.averaged(weights), …: a number would lose the credit "
            "of other sites."
        )
    if closed.shift:
        raise ValueError(
            f"{type(estimator).__name__}.close returned costs.centered(), which lack their mean. Return "
            "costs.centered().averaged(weights), which adds it back."
        )
    mark = points.nan_unless_valid()
    if mark is None:
        return closed
    credited = {k: c + mark.astype(c.dtype) for k, c in closed.credited.items()}
    return dataclasses.replace(closed, credited=credited)


_close_jitted = jax.jit(_close, inline=True)


def _close_once(estimator: Any, found: Costs, points: Points, runs: Runs) -> Costs:
    """`_close` as one compiled call, shared by sites that differ only in which sites their costs are credited to.

    So the groups of costs go in by number, not by their sites. What an estimator of one point does not touch stays outside.
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
    """The estimate that the estimator makes of the costs, with derivatives beyond the declared order refused.

    Where only the first derivative is right, a second one may go wrong in two ways: within a term of value zero, and
    between such a term and the costs themselves. So a derivative of the costs may not be differentiated again in the
    parameters of the site, nor a derivative of a term of value zero in anything that the term or the costs depend on.
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
    closed = dataclasses.replace(closed, derivatives=None, expansions=(), name="")
    if not _is_limited(estimator):
        return closed
    name, own = type(estimator).__name__, points.parameters
    credited = {k: limited(name, c, own) for k, c in closed.credited.items()}
    zero = closed.zero
    if zero is not None:
        zero = limited(name, zero, (zero, found.total, own))
    return dataclasses.replace(closed, credited=credited, zero=zero)

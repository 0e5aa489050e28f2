"""The rest of a program, for estimators that differentiate it themselves."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import refuse, stop
from logtrick._core.mesh import cast_varying, local, varying
from logtrick._core.refusals import refusals
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._relaxed import straight_through

Rest = Callable[[Any], Costs]
Values = list[Array]


@dataclasses.dataclass(frozen=True)
class Derivatives:
    """The rest at the points, evaluated once, and its derivatives there.

    An estimator that differentiates the rest makes a number of the derivative, and the user
    differentiates that number: a second derivative of the later sites, which those that are right
    to first order refuse, although the estimate does not depend on it. So the rest is linearized
    once, at values held constant: the estimator's derivative is a constant, and the user's goes
    through the linear map.

    Attributes:
      costs: what the rest returns. Its first derivative is right, in the points and in what the
        rest closes over; the second raises.
      held: the same, constant.
      push: the linear map from a change of the inexact leaves of the points to the change of the
        costs.
      slope: the gradient with respect to these leaves of the sum of the costs credited to the site,
        constant.
      bend: the linear map from a change of these leaves to the change of the slope; None where it
        was not asked for, or the rest has no second derivative.
    """

    costs: Costs
    held: Costs
    push: Callable[[Values], Costs]
    slope: Values
    bend: Callable[[Values], Values] | None

    def part(self, start: int, stop: int, single: bool) -> "Derivatives":
        """The same of points start … stop of a stack, without the leading axis where there is a single one."""
        where = start if single else slice(start, stop)
        pick = lambda tree: jax.tree.map(lambda a: a[where], tree)

        def whole(values: Values) -> Values:
            """A change of all points: these, and no other."""
            zeros = [jnp.zeros_like(s, v.dtype) for s, v in zip(self.slope, values)]
            return [zero.at[where].set(v) for zero, v in zip(zeros, values)]

        bend, own_bend = self.bend, None
        if bend is not None:
            own_bend = lambda values: pick(bend(whole(values)))
        return Derivatives(
            pick(self.costs),
            pick(self.held),
            lambda values: pick(self.push(whole(values))),
            pick(self.slope),
            own_bend,
        )


def linearized(name: str, rest: Rest, x: Any, *, bend: bool = False) -> Derivatives:
    """`rest` at `x`; second derivatives of its costs are refused in the name of `name`.

    Args:
      name: the estimator's.
      rest: of all points.
      x: the points.
      bend: whether the derivative of the slope is wanted too.
    """
    rest, outside = hoisted(rest, x)
    values, others = inexact(x), tuple(outside)
    check_local(name, rest, values, others)
    rest, others, refused = _differentiable(rest, values, others)
    still = jax.tree.map(jnp.zeros_like, stop(others))
    with_slope = lambda v, o: _value_and_slope(lambda v: rest(v, *o), v)
    if bend and not refusals(with_slope, values, others):
        (held, slope), push = jax.linearize(with_slope, stop(values), stop(others))
        along = lambda v: push(v, still)[0]
        bent = lambda v: push(v, still)[1]
        moved, _ = push(*_away(values, others))
    else:
        held, push = jax.linearize(lambda v, o: rest(v, *o), stop(values), stop(others))
        along = lambda v: push(v, still)
        bent = None
        moved = push(*_away(values, others))
        of_sum = lambda v: sum_of(along(v))
        (slope,) = jax.linear_transpose(of_sum, stop(values))(jnp.ones_like(sum_of(held)))
    return Derivatives(_moved(name, held, moved, refused), held, along, stop(slope), bent)


def hoisted(rest: Rest, x: Any) -> tuple[Callable[..., Costs], list[Array]]:
    """`rest` as a function of the inexact leaves of `x` and of the arrays that it closes over, and these arrays.

    `rest` itself, a suspended generator, can be called once only; the function that is returned is traced, and can be
    called again.
    """
    leaves, tree = jax.tree.flatten(x)
    moving = [i for i, leaf in enumerate(leaves) if _is_inexact(leaf)]

    def of(values: Values) -> Costs:
        full = list(leaves)
        for i, value in zip(moving, values):
            full[i] = value
        return rest(tree.unflatten(full))

    return jax.closure_convert(of, inexact(x))


def check_local(name: str, rest: Callable[..., Costs], values: Values, others: Any) -> None:
    """Inside a user's `shard_map`, a derivative in a point that all devices share would be summed over their costs."""
    there = local(lambda v: sum_of(rest(v, *others)), values)[0]
    axes = {axis for new, old in zip(there, values) for axis in varying(new) - varying(old)}
    if axes:
        raise ValueError(
            f"{name}() differentiates the rest of the program, and over the mesh axes {sorted(map(str, axes))} the costs vary "
            "while the draw is the same: its derivative would be their sum. Give each device a key of its own: "
            "jax.random.fold_in(key, jax.lax.axis_index(…))."
        )


def inexact(x: Any) -> Values:
    """The leaves of `x` that can carry a derivative."""
    return [leaf for leaf in jax.tree.leaves(x) if _is_inexact(leaf)]


def sum_of(costs: Costs) -> Array:
    """The costs credited to the site, over all points."""
    return functools.reduce(jnp.add, (jnp.sum(c) for c in costs.credited.values()), jnp.zeros(()))


def expanded(
    name: str, rest: Rest, x: Any, centers: tuple[tuple[Any, int], ...]
) -> tuple[Rest, list[tuple[Array, ...]]]:
    """`rest`, traced once, and its expansions around other points.

    In the expansions everything is held constant, so that a derivative of the estimate is no second
    derivative of the rest. A center is a single point, not one of a stack: where it is the same in
    all samples, so is its expansion, which is then computed once for all of them.

    Args:
      name: the estimator's.
      rest: of one point.
      x: one point.
      centers: the other points, single arrays, and the order of the derivatives wanted there, 1 or
        2.
    Returns:
      `rest` of one point, and for each center the total cost, its gradient and, for order 2, its
      Hessian.
    """
    converted, outside = hoisted(rest, x)
    held = stop(tuple(outside))
    expansions = []
    for center, order in centers:
        (center,), (at,) = jax.tree.leaves(center), inexact(x)
        # Any constants serve as the coefficients of an expansion. `converted` was traced for points that vary over the
        # mesh axes of an enclosing shard_map, so the center has to vary over them too.
        center = cast_varying(center.astype(at.dtype), varying(at))
        check_local(name, converted, [center], outside)
        expansions.append(_expansion(name, lambda m: sum_of(converted([m], *held)), center, order))
    traced = lambda x: converted(inexact(x), *outside)
    return traced, expansions


def _expansion(
    name: str, total: Callable[[Array], Array], center: Array, order: int
) -> tuple[Array, ...]:
    """The total cost at `center`, its gradient and, for order 2, its Hessian, held constant."""
    value_and_slope = jax.value_and_grad(total)
    if order == 1:
        return stop(value_and_slope(center))

    def slope_first(center: Array) -> tuple[Array, tuple[Array, Array]]:
        value, slope = value_and_slope(center)
        return slope, (value, slope)

    refusal = refusals(slope_first, center).get(0)
    if refusal is not None and issubclass(refusal.kind, DerivativeOrderError):
        raise DerivativeOrderError(
            f"{name}(DeltaMethod(order=2)) takes the second derivative of the rest of the program, and a later site has "
            f"none: {refusal.message.split('. Use ')[0]}. Use DeltaMethod(order=1) or LeaveOneOut()."
        )
    hessian, first = jax.jacfwd(slope_first, has_aux=True)(center)
    return stop((*first, hessian))


def _value_and_slope(rest: Callable[[Values], Costs], values: Values) -> tuple[Costs, Values]:
    def evaluate(values: Values) -> tuple[Array, Costs]:
        costs = rest(values)
        return sum_of(costs), costs

    total, back, costs = jax.vjp(evaluate, values, has_aux=True)
    return costs, back(jnp.ones_like(total))[0]


def _away(*inputs: Any) -> Any:
    """Zeros with the derivative of the inputs."""
    return jax.tree.map(lambda v: v - stop(v), inputs)


def _differentiable(
    rest: Callable[..., Costs], values: Values, others: tuple[Array, ...]
) -> tuple[Callable[..., Costs], tuple[Array, ...], list[Array]]:
    """`rest` as a function of the points and of those of the `others` that may be differentiated, these, and the others, guarded.

    What the rest closes over is linearized whether the user differentiates it or not. Where that is refused (parameters
    that move a support, or that go into a host function), the error must wait until the user does.
    """
    found = refusals(rest, values, *others)
    numbers = range(len(values), len(values) + len(others))
    legal = [i for i, number in enumerate(numbers) if number not in found]
    if len(legal) == len(others):
        return rest, others, []
    refused = [
        refuse(other, found[number].message, found[number].kind)
        for other, number in zip(others, numbers)
        if number in found
    ]

    def some(values: Values, *free: Array) -> Costs:
        full = list(stop(others))
        for i, value in zip(legal, free):
            full[i] = value
        return rest(values, *full)

    return some, tuple(others[i] for i in legal), refused


def _moved(name: str, held: Costs, moved: Costs, refused: list[Array]) -> Costs:
    """`held` with the derivative of `moved`, of whose value nothing is taken: it is nan where a derivative is infinite."""
    guard = sum((jnp.sum(r) for r in refused), jnp.zeros(()))

    def one(value: Any, change: Any) -> Array:
        # a cost that is a number of the traced rest, as `f = lambda x: 1.0` has, is no array
        value = straight_through(name, jnp.asarray(value), jnp.asarray(change))
        if not refused:
            return value
        return straight_through(name, value, jnp.broadcast_to(guard, value.shape))

    live = lambda value, change: jax.tree.map(one, value, change)
    return dataclasses.replace(
        held,
        credited=live(held.credited, moved.credited),
        others=live(held.others, moved.others),
        reply=jax.tree.map(
            lambda value, change: one(value, change) if _is_inexact(value) else value,
            held.reply,
            moved.reply,
        ),
        later_losses=live(held.later_losses, moved.later_losses),
    )


def _is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))

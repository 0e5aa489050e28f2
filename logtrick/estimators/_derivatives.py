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
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._relaxed import straight_through

Rest = Callable[[Any], Costs]
Values = list[Array]


@dataclasses.dataclass(frozen=True)
class Derivatives:
    """The rest at the points, evaluated once, and its derivatives there.

    The user's derivative of what an estimator makes of its own derivative of the rest would be a
    second one of the later sites: those right to first order refuse it, although nothing of it is
    used. Here derivatives are taken at values held constant: the estimator's is a linear map, and
    the user's goes through a linear map as well.

    Attributes:
      costs: what the rest returns. Its first derivative is right, in the points and in what the
        rest closes over; the second raises.
      held: the same, constant.
      push: from a change of the inexact leaves of the points, the change of the costs.
      slope: the gradient of the sum of the costs credited to the site in these leaves, constant.
      bend: from a change of these leaves, the change of the slope; None where it was not asked for,
        or a later site has no second derivative.
    """

    costs: Costs
    held: Costs
    push: Callable[[Values], Costs]
    slope: Values
    bend: Callable[[Values], Values] | None

    def part(self, start: int, stop: int, single: bool) -> "Derivatives":
        """The same of points start … stop of a stack, without the leading axis where there is a single one."""
        pick = lambda a: a[start] if single else a[start:stop]
        where = (
            (lambda a, v: a.at[start].set(v)) if single else (lambda a, v: a.at[start:stop].set(v))
        )

        def whole(values: Values) -> Values:
            return [where(jnp.zeros_like(s, v.dtype), v) for s, v in zip(self.slope, values)]

        of = lambda costs: jax.tree.map(pick, costs)
        bend = self.bend
        return Derivatives(
            of(self.costs),
            of(self.held),
            lambda values: of(self.push(whole(values))),
            [pick(s) for s in self.slope],
            None if bend is None else lambda values: [pick(b) for b in bend(whole(values))],
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
    if bend and _error(DerivativeOrderError, with_slope, values, others) is None:
        (held, slope), push = jax.linearize(with_slope, stop(values), stop(others))
        along, bent = (lambda v: push(v, still)[0]), (lambda v: push(v, still)[1])
        moved = push(*_away(values, others))[0]
    else:
        held, push = jax.linearize(lambda v, o: rest(v, *o), stop(values), stop(others))
        along, bent, moved = (lambda v: push(v, still)), None, push(*_away(values, others))
        (slope,) = jax.linear_transpose(lambda v: sum_of(along(v)), stop(values))(
            jnp.ones_like(sum_of(held))
        )
    return Derivatives(_moved(name, held, moved, refused), held, along, stop(slope), bent)


def hoisted(rest: Rest, x: Any) -> tuple[Callable[..., Costs], list[Array]]:
    """`rest` as a function of the inexact leaves of `x` and of what it closes over, which can be called again; and that."""
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

    The expansions see everything held constant, so that a derivative of the result is none of a
    derivative in them. A center is a point of its own, not one of a stack: where it is the same in
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
    return (lambda x: converted(inexact(x), *outside)), expansions


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

    try:
        hessian, first = jax.jacfwd(slope_first, has_aux=True)(center)
    except DerivativeOrderError as error:
        raise DerivativeOrderError(
            f"{name}(DeltaMethod(order=2)) takes the second derivative of the rest of the program, and a later site has "
            f"none: {error.args[0].split('. Use ')[0]}. Use DeltaMethod(order=1) or LeaveOneOut()."
        ) from error
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


def _error(kinds: Any, function: Callable[..., Any], *args: Any) -> Exception | None:
    """What differentiating `function` raises."""
    try:
        jax.eval_shape(lambda: jax.linearize(function, *stop(args))[0])
    except kinds as error:
        return error
    return None


def _differentiable(
    rest: Callable[..., Costs], values: Values, others: Any
) -> tuple[Any, Any, list[Array]]:
    """`rest` as a function of those of the `others` in which it may be differentiated, these, and the others, under guards.

    What the rest closes over is linearized whether the user differentiates it or not; where it is
    guarded (the parameters that move a support, say), the guard must wait for the user.
    """
    guards = (TypeError, ValueError)
    if _error(guards, lambda o: rest(stop(values), *o), others) is None:
        return rest, others, []
    errors = [
        _error(guards, lambda o, i=i: rest(stop(values), *others[:i], o, *others[i + 1 :]), other)
        for i, other in enumerate(others)
    ]
    legal = [i for i, error in enumerate(errors) if error is None]
    refused = [refuse(o, str(e), type(e)) for o, e in zip(others, errors) if e is not None]

    def some(values: Values, *free: Array) -> Costs:
        full = list(stop(others))
        for i, value in zip(legal, free):
            full[i] = value
        return rest(values, *full)

    return some, tuple(others[i] for i in legal), refused


def _moved(name: str, held: Costs, moved: Costs, refused: list[Array]) -> Costs:
    """`held` with the derivative of `moved`, whose value is not looked at: it is nan where a derivative is infinite."""
    guard = sum((jnp.sum(r) for r in refused), jnp.zeros(()))

    def one(value: Array, change: Array) -> Array:
        value = straight_through(name, value, change)
        return (
            straight_through(name, value, jnp.broadcast_to(guard, value.shape))
            if refused
            else value
        )

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

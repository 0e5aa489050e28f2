"""The rest of a program, for estimators that differentiate it themselves."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import stop
from logtrick.estimators._base import Rest
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._relaxed import straight_through

Values = list[Array]


@dataclasses.dataclass(frozen=True)
class Linearized:
    """The rest at a point, evaluated once, and its derivatives there.

    The user's derivative of what an estimator makes of its own derivative of the rest would be a second one of the later
    sites: those right to first order refuse it, although nothing of it is used. Here derivatives are taken at values held
    constant: the estimator's is a linear map, and the user's goes through a linear map as well.

    Attributes:
      costs: what the rest returns. Its first derivative is right, in the point and in what the rest closes over; the
        second raises.
      held: the same, constant.
      push: from a change of the point's inexact leaves, the change of the costs.
      slope: the gradient of the sum of the costs credited to the site in these leaves, constant.
      bend: from a change of these leaves, the change of the slope; None where it was not asked for, or a later site has no
        second derivative.
    """

    costs: Costs
    held: Costs
    push: Callable[[Values], Costs]
    slope: Values
    bend: Callable[[Values], Values] | None


def linearized(name: str, rest: Rest, x: Any, *, bend: bool = False) -> Linearized:
    """`rest` at `x`; second derivatives of its costs are refused in the name of `name`."""
    converted, outside = hoisted(rest, x)
    inputs = (inexact(x), tuple(outside))
    still = jax.tree.map(jnp.zeros_like, stop(inputs[1]))

    def with_slope(values: Values, others: Any) -> tuple[Costs, Values]:
        return _value_and_slope(lambda v: converted(v, *others), values)

    if bend and _allowed(with_slope, *stop(inputs)):
        (held, slope), push = jax.linearize(with_slope, *stop(inputs))
        costs = _moved(name, held, push(*jax.tree.map(lambda v: v - stop(v), inputs))[0])
        return Linearized(costs, held, lambda v: push(v, still)[0], stop(slope), lambda v: push(v, still)[1])
    held, push = jax.linearize(lambda v, o: converted(v, *o), *stop(inputs))
    costs = _moved(name, held, push(*jax.tree.map(lambda v: v - stop(v), inputs)))
    along = lambda v: push(v, still)
    (slope,) = jax.linear_transpose(lambda v: sum_of(along(v)), stop(inputs[0]))(jnp.ones_like(sum_of(held)))
    return Linearized(costs, held, along, stop(slope), None)


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


def inexact(x: Any) -> Values:
    """The leaves of `x` that can carry a derivative."""
    return [leaf for leaf in jax.tree.leaves(x) if _is_inexact(leaf)]


def sum_of(costs: Costs) -> Array:
    """The costs credited to the site, over all points."""
    return functools.reduce(jnp.add, (jnp.sum(c) for c in costs.mine.values()), jnp.zeros(()))


@contextlib.contextmanager
def second_derivative_of_the_rest(who: str, instead: str) -> Iterator[None]:
    """Inside, where a later site has no second derivative, `who` asks for it and what to do is said too."""
    try:
        yield
    except DerivativeOrderError as error:
        raise DerivativeOrderError(
            f"{who} takes the second derivative of the rest of the program, and a later site has none: "
            f"{error.args[0].split('. Use ')[0]}. {instead}"
        ) from error


def _value_and_slope(rest: Callable[[Values], Costs], values: Values) -> tuple[Costs, Values]:
    def evaluate(values: Values) -> tuple[Array, Costs]:
        costs = rest(values)
        return sum_of(costs), costs

    total, back, costs = jax.vjp(evaluate, values, has_aux=True)
    return costs, back(jnp.ones_like(total))[0]


def _allowed(function: Callable[..., Any], *args: Any) -> bool:
    """Whether the later sites allow the derivative of `function`."""
    try:
        jax.eval_shape(lambda *args: jax.linearize(function, *args)[0], *args)
    except DerivativeOrderError:
        return False
    return True


def _moved(name: str, held: Costs, moved: Costs) -> Costs:
    """`held` with the derivative of `moved`, whose value is not looked at: it is nan where a derivative is infinite."""
    live = lambda value, change: jax.tree.map(lambda v, c: straight_through(name, v, c), value, change)
    costs = dataclasses.replace(held, mine=live(held.mine, moved.mine), others=live(held.others, moved.others))
    if "adaptive" not in held.aux:
        return costs
    return dataclasses.replace(costs, aux={**held.aux, "adaptive": live(held.aux["adaptive"], moved.aux["adaptive"])})


def _is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.inexact))

"""Statements that have been read and wait for the costs that follow: open sites, costs and keys.

An open statement is a pytree, so that a loop can stack those of its steps along time and a plate
those of its elements. Once the costs that follow are known, the statement is settled. The result
holds its own costs, multiplied by the boxes of the draws inside of it; the terms of value zero that
it adds; and the weight of value 1 by which all later costs are to be multiplied.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import stop
from logtrick._core.samples import Runs
from logtrick.distributions import value_of
from logtrick.estimators import Costs, Estimator, Points, close, close_limited

Array = jax.Array
_OWN = (0,)  # the group of the costs that a settled site is shown


@dataclasses.dataclass(frozen=True)
class Settled:
    """What a statement becomes once the costs that follow it are known; None stands for nothing.

    Attributes:
      paid: its own costs, each under the boxes of the draws inside of the statement that come
        before it.
      zero: its terms of value zero, likewise.
      weight: the product of the boxes of its draws, which the later costs are multiplied by.
      loss: its adaptive losses.
      observed: what running statistics advance by; of a loop or plate a list like its items.
    """

    paid: Array | None = None
    zero: Array | None = None
    weight: Array | None = None
    loss: Array | None = None
    observed: Any = None


jax.tree_util.register_dataclass(
    Settled, data_fields=["paid", "zero", "weight", "loss", "observed"], meta_fields=[]
)


class Open:
    """Base of the open statements."""

    def settle(self, after: Array, runs: Runs) -> Settled:
        """Settle the statement.

        Args:
          after: the sum of the costs that follow. Not held constant: limits on the order of
            derivatives go through it.
          runs: the samples.
        """
        return Settled()

    def paid(self) -> Array | None:
        """The sum of its own costs; None where it has none."""
        return None

    def limits(self) -> list[tuple[str, Any]]:
        """The first-order estimators inside the statement, each with the arrays that its derivatives go through."""
        return []

    def draws(self) -> Any:
        """The draws; of a loop or plate a list like its items."""
        return None

    def costs(self) -> Any:
        """Its costs; of a loop or plate a list like its items."""
        return None


@dataclasses.dataclass(frozen=True)
class OpenKey(Open):
    """A key: nothing is left to do."""


@dataclasses.dataclass(frozen=True)
class OpenCost(Open):
    """A cost inside of a loop."""

    value: Array

    def settle(self, after: Array, runs: Runs) -> Settled:
        return Settled(paid=self.value)

    def paid(self) -> Array:
        return self.value

    def costs(self) -> Any:
        return self.value


@dataclasses.dataclass(frozen=True)
class OpenSite(Open):
    """A site that has drawn its one point.

    Attributes:
      points: the point.
      inside: the leaves of the estimator that were made inside the program, None for those that
        came from outside: a loop need not stack these. None where all came from outside.
      planned: the estimator as the abstract run saw it.
    """

    points: Points
    inside: list[Any] | None
    planned: Estimator

    @property
    def estimator(self) -> Any:
        if self.inside is None:
            return self.planned
        outside, tree = jax.tree.flatten(self.planned)
        return tree.unflatten([o if i is None else i for o, i in zip(outside, self.inside)])

    def close(self, costs: Costs, runs: Runs) -> Costs:
        """What the estimator makes of the costs, its derivatives beyond the declared order refused."""
        return close_limited(self.estimator, costs, self.points, runs)

    def settle(self, after: Array, runs: Runs) -> Settled:
        closed = close(self.estimator, Costs({_OWN: stop(after)}), self.points, runs)
        return Settled(None, closed.zero, closed.weight, closed.adaptive_loss, closed.observed)

    def limits(self) -> list[tuple[str, Any]]:
        estimator = self.estimator
        if estimator.max_order > 1 or estimator.mixed_orders:
            return []
        return [(type(estimator).__name__, self.points.parameters)]

    def draws(self) -> Any:
        return value_of(self.points.x)


jax.tree_util.register_dataclass(OpenKey, data_fields=[], meta_fields=[])
jax.tree_util.register_dataclass(OpenCost, data_fields=["value"], meta_fields=[])
jax.tree_util.register_dataclass(
    OpenSite, data_fields=["points", "inside"], meta_fields=["planned"]
)


def open_site(points: Points, estimator: Estimator, planned: Estimator) -> OpenSite:
    """A site that has drawn."""
    if estimator is planned:
        return OpenSite(points, None, planned)
    leaves, outside = jax.tree.leaves(estimator), jax.tree.leaves(planned)
    if len(leaves) == len(outside):
        leaves = [None if leaf is other else leaf for leaf, other in zip(leaves, outside)]
    return OpenSite(points, leaves, planned)


def sum_of(values: Iterable[Any]) -> Any:
    """The sum of what is not None; None where nothing is."""
    total = None
    for value in values:
        if value is not None:
            total = value if total is None else total + value
    return total


def product_of(values: Iterable[Any]) -> Any:
    """The product of what is not None; None where nothing is."""
    total = None
    for value in values:
        if value is not None:
            total = value if total is None else total * value
    return total


def weighed(value: Any, weight: Any) -> Any:
    """`value` times `weight`; a value of None is no value, a weight of None is 1."""
    if value is None or weight is None:
        return value
    return value * weight.astype(value.dtype)


def log_of(weight: Array) -> Array:
    """The logarithm of a weight of value 1: 0, with the derivatives of its boxes' log-probs."""
    return jnp.log(weight)


def wide(cost: Array) -> Array:
    """Costs are summed in at least float32."""
    return cost if cost.dtype.itemsize >= 4 else cost.astype(jnp.float32)

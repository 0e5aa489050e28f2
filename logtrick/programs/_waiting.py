"""Statements that have been read and wait for the costs that follow: sites that have drawn, costs and keys.

An open statement is a pytree, so that a loop can stack those of its steps along time and a plate
those of its elements. Once the costs that follow are known, the statement is closed. In a program
it then sees the costs that are credited to it (`close`). Inside of a loop or plate, where only the
sum of the costs that follow is at hand, it is settled: the result holds its own costs, multiplied
by the boxes of the draws inside of it; the terms of value zero that it adds; and the weight of
value 1 by which all later costs are to be multiplied.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import limited, stop
from logtrick._core.materialize import computed_once
from logtrick._core.samples import Runs
from logtrick.estimators import Costs, Estimator, Points, close, close_limited
from logtrick.programs._infos import Group

Array = jax.Array
_OWN = (0,)  # the group of the costs that a settled site is shown


@dataclasses.dataclass(frozen=True)
class Record:
    """What a statement leaves for `aux`: its draw, its costs, what its statistics advance by.

    For a loop or plate each of them is a list like its items. None of it is differentiated.
    """

    draw: Any = None
    costs: Any = None
    observed: Any = None


jax.tree_util.register_dataclass(Record, data_fields=["draw", "costs", "observed"], meta_fields=[])


def record_of(records: list[Record]) -> Record:
    """What a step of a loop, or an element of a plate, leaves: lists like its items."""
    draws, costs = [r.draw for r in records], [r.costs for r in records]
    return Record(draws, costs, [r.observed for r in records])


def merged(record: Record) -> Record:
    """What all steps or elements leave, a leading axis of them on everything: statistics advance by the mean."""
    mean = lambda a: jnp.mean(a, 0)
    return dataclasses.replace(record, observed=jax.tree.map(mean, record.observed))


@dataclasses.dataclass(frozen=True)
class Settled:
    """What a statement becomes once the sum of the costs that follow is known; None stands for nothing.

    Attributes:
      paid: its own costs, each under the boxes of the draws inside of the statement that come
        before it.
      zero: its terms of value zero, likewise.
      weight: the product of the boxes of its draws, which the later costs are multiplied by.
      loss: its adaptive losses.
      record: what it leaves for `aux`.
    """

    paid: Array | None = None
    zero: Array | None = None
    weight: Array | None = None
    loss: Array | None = None
    record: Record = Record()  # frozen


jax.tree_util.register_dataclass(
    Settled, data_fields=["paid", "zero", "weight", "loss", "record"], meta_fields=[]
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

    def close(self, costs: Costs, group: Group, runs: Runs) -> tuple[Costs, Record]:
        """Close the statement: what it makes of the costs that follow, and what it leaves for `aux`.

        Args:
          costs: those that follow, seen from this statement.
          group: the sites that are credited with its own costs.
          runs: the samples.
        """
        settled = self.settle(costs.total, runs)
        if settled.weight is not None:
            costs = costs.scored(settled.weight)
        for name, watched in self.limits():
            # without a weight, a derivative of the later costs would go on in these parameters and find nothing
            credited = {k: limited(name, c, watched) for k, c in costs.credited.items()}
            costs = dataclasses.replace(costs, credited=credited)
        costs = with_cost(costs, group, settled.paid).plus(settled.zero).learned(settled.loss)
        return costs, settled.record

    def paid(self) -> Array | None:
        """The sum of its own costs; None where it has none."""
        return None

    def limits(self) -> list[tuple[str, Any]]:
        """The first-order estimators inside the statement, each with the arrays that its derivatives go through."""
        return []


@dataclasses.dataclass(frozen=True)
class OpenKey(Open):
    """A key: nothing is left to do."""


@dataclasses.dataclass(frozen=True)
class OpenCost(Open):
    """A cost; for `lt.expect` it may be a tuple of costs, which are summed and recorded one by one."""

    value: Any

    def settle(self, after: Array, runs: Runs) -> Settled:
        return Settled(self.paid(), record=Record(costs=self.value))

    def close(self, costs: Costs, group: Group, runs: Runs) -> tuple[Costs, Record]:
        return with_cost(costs, group, self.paid()), Record(costs=self.value)

    def paid(self) -> Array | None:
        return sum_of(self.value) if isinstance(self.value, tuple) else self.value


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

    def settle(self, after: Array, runs: Runs) -> Settled:
        closed = close(self.estimator, Costs({_OWN: stop(after)}), self.points, runs)
        record = Record(self.points.x, observed=closed.observed)
        mark = self.points.nan_unless_valid()
        return Settled(mark, closed.zero, closed.weight, closed.adaptive_loss, record)

    def close(self, costs: Costs, group: Group, runs: Runs) -> tuple[Costs, Record]:
        """What the estimator makes of the costs, its derivatives beyond the declared order refused."""
        closed = close_limited(self.estimator, costs, self.points, runs)
        return closed, Record(self.points.x, observed=closed.observed)

    def limits(self) -> list[tuple[str, Any]]:
        estimator = self.estimator
        if estimator.max_order > 1 or estimator.mixed_orders:
            return []
        return [(type(estimator).__name__, self.points.parameters)]


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


def with_cost(costs: Costs, group: Group, cost: Array | None) -> Costs:
    """The costs, and one more that is credited to `group`; None adds nothing."""
    if cost is None:
        return costs
    groups = dict(costs.credited)
    groups[group] = computed_once(groups[group] + cost) if group in groups else cost
    return dataclasses.replace(costs, credited=groups)


def sum_of(values: Iterable[Any]) -> Any:
    """The sum of what is not None; None where nothing is."""
    total = None
    for value in values:
        if value is not None:
            total = value if total is None else total + value
    return total


def product_of(values: Iterable[Any]) -> Any:
    """The product of what is not None; None where nothing is."""
    product = None
    for value in values:
        if value is not None:
            product = value if product is None else product * value
    return product


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

"""What the rest of a program returns to an estimator, and what the estimator makes of it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import first_order, stop

Array = jax.Array
Sites = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Costs:
    """The costs found at an estimator's points, grouped by the sites that are still to credit them.

    `close(costs, points, runs)` gets them and returns what its estimator makes of them, by the
    methods below. With several points every array has a leading axis of points until `averaged` (or
    `at`) removes it.

    Scalars by group, not a vector with masks: with a vector XLA duplicates the chain of sites into
    every slot.

    Attributes:
      credited: the costs that depend on this site's draw, by their remaining sites.
      others: the costs that do not.
      zero: the sum of the terms of value zero; every earlier site credits it.
      weight: the product of the boxes by which `scored` weighed the credited costs; None for none.
      shift: what `centered` has subtracted from the credited costs; empty for nothing.
      records: what the later statements leave: draws, cost values, statistics. Averaged over points
        by their weights, and held constant.
      reply: what the element of a plate returns. Costs after the plate may depend on it only where
        it is the same at all points, so it is taken from the first, with its derivatives.
      later_losses: the sum of the adaptive losses of later sites, averaged likewise; None where
        nothing learns.
      adaptive_loss: what the estimator's own parameters minimize; None where nothing learns.
      observed: what its running statistics advance by; None where there are none.
      evaluations: at how many points the rest was evaluated.
      derivatives: of the rest at the points, for estimators that declare `derivatives_of_rest`.
      expansions: for each of the points' centers the total cost there, its gradient, and its
        Hessian where the order is 2, all held constant.
      name: the estimator's name, for messages.
    """

    credited: dict[Sites, Array]
    others: dict[Sites, Array] = dataclasses.field(default_factory=dict)
    zero: Array | None = None
    weight: Array | None = None
    shift: dict[Sites, Array] = dataclasses.field(default_factory=dict)
    records: Any = None
    reply: Any = None
    later_losses: Array | None = None
    adaptive_loss: Array | None = None
    observed: Any = None
    evaluations: int = 1
    derivatives: Any = None
    expansions: tuple[Any, ...] = ()
    name: str = ""

    @property
    def total(self) -> Array:
        """The sum of the costs credited to this site, shape (), or (points,) where there are several."""
        # weakly typed: the costs keep their dtype
        return sum(self.credited.values(), jnp.asarray(0.0))

    @property
    def total_and_zero(self) -> Array:
        """`total` and the terms of value zero: the estimate of a site with nothing before it."""
        return self.total if self.zero is None else self.total + self.zero

    def scored(self, box: Array) -> "Costs":
        """The credited costs, each multiplied by `box`, shape (), a weight of value 1: `lt.magic_box` of a log-prob."""
        weight = box if self.weight is None else self.weight * box
        credited = {k: box * c for k, c in self.credited.items()}
        return dataclasses.replace(self, credited=credited, weight=weight)

    def averaged(self, weights: Array) -> "Costs":
        """The sum over the points, each with its weight in the expectation: `weights`, shape (points,), sum to 1.

        What does not depend on the draw is the same at all points, and is taken from the first.
        """
        held = stop(weights)
        back = dict.fromkeys(self.credited, 0.0) | self.shift

        def mean(record: Any) -> Array:
            return jnp.tensordot(held.astype(jnp.result_type(record, held)), record, 1)

        return dataclasses.replace(
            self,
            credited={k: weights.astype(c.dtype) @ c + back[k] for k, c in self.credited.items()},
            others={k: c[0] for k, c in self.others.items()},
            records=jax.tree.map(mean, self.records),
            reply=jax.tree.map(lambda a: a[0], self.reply),
            later_losses=jax.tree.map(mean, self.later_losses),
            shift={},
        )

    def finite_where(self, needed: Array) -> "Costs":
        """The costs with 0 for what is not finite at the points that are not `needed`, shape (points,)."""

        def kept(a: Array) -> Array:
            if not jnp.issubdtype(a.dtype, jnp.inexact):
                return a
            here = needed.reshape(-1, *[1] * (a.ndim - 1))
            return jnp.where(here | jnp.isfinite(a), a, jnp.zeros((), a.dtype))

        credited, records = jax.tree.map(kept, (self.credited, self.records))
        return dataclasses.replace(self, credited=credited, records=records)

    def centered(self) -> "Costs":
        """The credited costs less their mean over the points, which `averaged` adds back.

        For estimators that give the same derivative when a constant is added to all costs: the sum
        over the points would lose the differences between large costs to its rounding.
        """
        shift = {}
        for k, c in self.credited.items():
            mean = jnp.mean(stop(c))
            shift[k] = jnp.where(jnp.isfinite(mean), mean, 0.0).astype(c.dtype)
        credited = {k: c - shift[k] for k, c in self.credited.items()}
        return dataclasses.replace(self, credited=credited, shift=shift)

    def at(self, index: int) -> "Costs":
        """The costs at one of the points."""
        return self._picked(lambda a: a[index])

    def between(self, start: int, stop: int) -> "Costs":
        """The costs at the points start … stop."""
        return self._picked(lambda a: a[start:stop])

    def _picked(self, pick: Any) -> "Costs":
        names = ("credited", "others", "records", "reply", "later_losses")
        picked = {name: jax.tree.map(pick, getattr(self, name)) for name in names}
        return dataclasses.replace(self, **picked)

    def plus(self, term: Any) -> "Costs":
        """Add a term of value zero that carries a derivative, shape (); None adds nothing."""
        if term is None:
            return self
        return dataclasses.replace(self, zero=term if self.zero is None else self.zero + term)

    def first_order(self, coefficient: Any, x: Any) -> "Costs":
        """Add the term of value zero whose derivative is Σ c dx; its second derivative raises.

        Args:
          coefficient: c, broadcast against `x`; not held constant, so that its derivative in other
            parameters than those of x, a mixed second derivative, is right.
          x: what the derivative is taken with respect to, any shape.
        """
        return self.plus(first_order(self.name, coefficient, x))

    def learned(self, adaptive_loss: Array | None = None, observed: Any = None) -> "Costs":
        """Add what the estimator learns from: a loss for its parameters, and what its statistics advance by."""
        return dataclasses.replace(self, adaptive_loss=adaptive_loss, observed=observed)


jax.tree_util.register_dataclass(
    Costs,
    data_fields=[
        "credited",
        "others",
        "zero",
        "weight",
        "shift",
        "records",
        "reply",
        "later_losses",
        "adaptive_loss",
        "observed",
        "expansions",
    ],
    meta_fields=["evaluations", "derivatives", "name"],
)

"""What the rest of a program returns to an estimator, and what the estimator hands on."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import stop

Array = jax.Array
Sites = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Costs:
    """Costs grouped by the sites still to credit them, and what is not a cost.

    Scalars by group, not a vector with masks: with a vector XLA duplicates the chain of sites into every slot.

    Attributes:
      mine: the costs that depend on the draw at hand, by their remaining sites; () stands for a term of value zero,
        which every earlier site credits.
      others: the costs that do not.
      aux: draws, cost values, adaptive losses, statistics: averaged over points by their weights, never differentiated
        through the weights.
      evaluations: at how many points the rest was evaluated.
    """

    mine: dict[Sites, Array]
    others: dict[Sites, Array]
    aux: dict[str, Any]
    evaluations: int = 1

    @property
    def total(self) -> Array:
        """The sum of the costs credited to this site, shape (), or (points,) under a vmap."""
        return sum(self.mine.values(), jnp.asarray(0.0))  # weakly typed: the costs keep their dtype

    def combine(
        self, weights: Array | None = None, zero: Array | None = None, **aux: Any
    ) -> "Costs":
        """The estimate from the points evaluated.

        Args:
          weights: None for one point as it is; shape (), a weight of value 1 (a box); shape (points,), the points'
            weights in the expectation.
          zero: a term of value 0 that carries a derivative.
          aux: `adaptive` (a scalar loss) and `statistics` (a pytree) of this site.
        """
        if weights is None:
            new = self
        elif jnp.ndim(weights) == 0:
            new = dataclasses.replace(self, mine={k: weights * c for k, c in self.mine.items()})
        else:
            new = self._average(weights)
        if zero is not None:
            mine = dict(new.mine)
            mine[()] = mine[()] + zero if () in mine else zero
            new = dataclasses.replace(new, mine=mine)
        aux = {k: v for k, v in aux.items() if v is not None}
        return dataclasses.replace(new, aux={**new.aux, **{"own": aux}}) if aux else new

    def _average(self, weights: Array) -> "Costs":
        points, held = weights.shape[0], stop(weights)
        return Costs(
            {k: weights.astype(c.dtype) @ c for k, c in self.mine.items()},
            {k: c[0] for k, c in self.others.items()},
            jax.tree.map(
                lambda a: jnp.tensordot(held.astype(jnp.result_type(a, held)), a, 1), self.aux
            ),
            points * self.evaluations,
        )

    def point(self, index: int, points: int) -> "Costs":
        """The costs at one of `points` evaluated points."""
        return dataclasses.replace(
            jax.tree.map(lambda a: a[index], self), evaluations=points * self.evaluations
        )


jax.tree_util.register_dataclass(
    Costs, data_fields=["mine", "others", "aux"], meta_fields=["evaluations"]
)

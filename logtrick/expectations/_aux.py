"""What an expectation returns beside its value, with `has_aux=True`."""

import math
from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached
from logtrick._core.module import Module
from logtrick._core.samples import standard_error
from logtrick.estimators import Estimator
from logtrick.programs import Block, CostInfo, SiteInfo, Structure, leaves_of

Array = jax.Array


class Aux(Module):
    """The results of an expectation beside its value.

    Attributes:
      standard_error: of the value, over independent samples, in the units of f; 0 where nothing is
        random, nan for one sample.
      costs: each sample's costs, with a leading axis of samples: for `expect` like f's return; for
        programs by name where one was given, by index elsewhere.
      draws: each sample's draws likewise; of an estimator of several points their weighted mean.
      adaptive_loss: what the learned parts of the estimators minimize, shape (); 0 where there are
        none.
      estimators: by site name or index, the estimators with their statistics advanced by this call.

    Example:
      >>> import jax, logtrick as lt
      >>> value, aux = lt.expect(jax.random.key(0), lambda x: x, lt.Normal(2.0, 1.0), num_samples=100, has_aux=True)
      >>> aux.draws.shape, round(aux.standard_error.item(), 1)
      ((100,), 0.1)
    """

    standard_error: Array
    costs: Any
    draws: Any
    adaptive_loss: Array
    estimators: Any

    @property
    def estimator(self) -> Estimator:
        """The only estimator.

        Raises:
          ValueError: there are several sites.
        """
        if len(self.estimators) != 1:
            raise ValueError(
                f"aux.estimator needs a single site; there are {len(self.estimators)}. Use aux.estimators."
            )
        return next(iter(self.estimators.values()))


def aux_of(block: Block, structure: Structure, random: bool) -> Aux:
    """The aux of a program's samples."""
    items, found = structure.items, detached(block.records)
    records = [found[position] for position in range(len(items))]
    totals = block.totals
    losses = jnp.zeros((), totals.dtype) if block.losses is None else jnp.mean(block.losses)
    error = _standard_error(totals, structure) if random else jnp.zeros((), totals.dtype)
    return Aux(
        detached(error),
        OrderedDict(leaves_of(items, CostInfo, [record.costs for record in records])),
        OrderedDict(leaves_of(items, SiteInfo, [record.draw for record in records])),
        losses,
        OrderedDict(_advanced(structure, [record.observed for record in records])),
    )


def _advanced(structure: Structure, observed: list[Any]) -> list[tuple[Any, Estimator]]:
    """The estimators for the next call; those made inside the program from values of one sample are left out."""
    made_inside = iter([] if structure.credit is None else structure.credit.unknown)
    found = []
    for item, value in zip(structure.items, observed):
        if not item.draws or next(made_inside, False):
            continue
        for (name, site), (_, o) in zip(
            leaves_of([item], SiteInfo), leaves_of([item], SiteInfo, [value])
        ):
            estimator = site.estimator
            if o is not None:
                estimator = estimator.advance(jax.tree.map(lambda a: jnp.mean(a, 0), o))
            found.append((name, estimator))
    return found


def _standard_error(totals: Array, structure: Structure) -> Array:
    """The standard error of the mean, from blocks of samples that are independent of each other; nan for fewer than two."""
    blocks = [block for _, block in structure.blocks]
    size = 1 if None in blocks else math.lcm(*(b or 1 for b in blocks))
    if None in blocks or totals.shape[0] < 2 * size:
        return jnp.full((), jnp.nan, totals.dtype)
    return standard_error(jnp.mean(totals.reshape(-1, size), 1))

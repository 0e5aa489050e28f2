"""The second phase of a sample: every open statement is closed, in reverse, with the costs that follow it.

A sample is run in two phases. It is *opened* (`_opening.py`): the program is read, every site
draws, and sites of one point wait. When all costs are known it is *closed*, in reverse: each
waiting site makes of the costs what its estimator makes of them. A site that branches (its
estimator evaluates the rest of the program at several points, or differentiates it) is opened and
closed at once, in the middle of the first phase: the rest of the program is opened and closed in
one vmapped call. Without recursion for the sites of one point, a long chain of them stays cheap.

Costs are scalars grouped by the sites still to credit them, merged as sites close, so that tracing
and compiling are linear in the number of sites.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import derivative_only
from logtrick._core.materialize import computed_once
from logtrick._core.samples import Runs
from logtrick.distributions import value_of
from logtrick.estimators import Costs
from logtrick.programs._infos import Group, Structure
from logtrick.programs._waiting import Open, Record, product_of

Array = jax.Array
# First entries of groups that are not costs of the program: terms of value zero, and the costs after a
# plate as an element of the plate sees them.
ZERO, AFTER = -2, -1


@dataclasses.dataclass(frozen=True)
class Context:
    """What all stretches of one sample share.

    Attributes:
      structure: what the abstract run found.
      runs: the samples, seen from this one.
      collect: whether draws and costs are recorded.
      element: whether this is an element of a plate, whose reply is wanted.
      scale: what every cost is multiplied by, for a plate that uses some of its elements.
    """

    structure: Structure
    runs: Runs
    collect: bool
    element: bool = False
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A stretch of a program that has been opened: from one statement to a site that branches, or to the end.

    Attributes:
      items: the open statements, in order.
      tail: what the site that branches made of the costs of the rest; None where there is no such site.
      reply: what the program returned.
      first: the position of the first statement in the program.
    """

    items: list[Open]
    tail: Costs | None
    reply: Any
    first: int


jax.tree_util.register_dataclass(
    Stretch, data_fields=["items", "tail", "reply"], meta_fields=["first"]
)


def close_stretch(context: Context, stretch: Stretch, after: Array | None = None) -> Costs:
    """The costs of an open stretch, as the sites before it see them.

    Args:
      context: of the sample.
      stretch: what has been opened.
      after: for an element of a plate, the costs after the plate: sites that the element's reply
        depends on are credited with them. The result's `weight` is then what these costs are to be
        multiplied by.
    """
    structure = context.structure
    costs = Costs({}) if stretch.tail is None else stretch.tail
    weight = None
    for position, item in reversed(list(enumerate(stretch.items, stretch.first))):
        group = structure.groups[position]
        if structure.items[position].draws:
            site = structure.numbers[position]
            credits_after = after is not None and structure.reply_depends_on(site)
            seen = seen_from(costs, site, after if credits_after else None)
            closed, record = item.close(seen, group, context.runs)
            if credits_after:
                weight = product_of([weight, closed.weight])
            costs = without_site(closed, site)
        else:
            costs, record = item.close(costs, group, context.runs)
        if context.collect:
            costs = with_record(costs, position, record)
    return dataclasses.replace(costs, weight=weight)


def with_record(costs: Costs, position: int, record: Record) -> Costs:
    """The costs, and what the statement at one position of the program leaves for `aux`."""
    record = dataclasses.replace(record, draw=value_of(record.draw))
    records = {} if costs.records is None else costs.records
    return dataclasses.replace(costs, records={**records, position: record})


def seen_from(costs: Costs, site: int, after: Array | None = None) -> Costs:
    """The costs seen from `site`: those that it is credited with, and the others."""
    inside: dict[Group, Array] = {}
    others: dict[Group, Array] = {}
    for k, v in costs.credited.items():
        if site in k:
            inside[k] = v
        else:
            others[k] = v
    if after is not None:
        inside[(AFTER, site)] = after
    if not inside:
        # no cost depends on the draw: a cost of 0, which tells the estimator how many points there are
        inside[(site,)] = jnp.zeros(())
    return dataclasses.replace(costs, credited=inside, others=others)


def without_site(costs: Costs, site: int) -> Costs:
    """The costs after `site` is closed: `site` is removed from the groups, and groups that have become equal merge."""
    groups = dict(costs.others)
    terms = [(k[:-1], v) for k, v in costs.credited.items() if k != (AFTER, site)]
    if costs.zero is not None:
        # credited by every earlier site: without it the second derivative across sites is silently 0
        terms.append(((ZERO, *range(site)), costs.zero))
    for k, v in terms:
        if k[:1] == (ZERO,):
            if len(k) > 1:  # earlier sites will read it: a sum of zeros, which the compiler drops
                v = derivative_only(v)
            groups[k] = groups[k] + v if k in groups else v
        else:
            groups[k] = computed_once(groups[k] + v) if k in groups else v
    losses = costs.later_losses
    if costs.adaptive_loss is not None:
        losses = costs.adaptive_loss if losses is None else losses + costs.adaptive_loss
    return Costs(
        groups,
        records=costs.records,
        reply=costs.reply,
        later_losses=losses,
        evaluations=costs.evaluations,
    )


def total_of(costs: Costs) -> tuple[Any, Any]:
    """The costs of a whole program or element, and its terms of value zero; None for nothing."""
    paid, zero = None, None
    for k, v in costs.credited.items():
        if k[:1] == (ZERO,):
            zero = v if zero is None else zero + v
        else:
            paid = v if paid is None else paid + v
    return paid, zero

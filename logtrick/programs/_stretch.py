"""One sample of a program: read and drawn from some statement to its end, then closed in reverse.

A sample is run in two phases. It is *opened*: the program is read, every site draws, and sites of
one point wait. When all costs are known it is *closed*, in reverse: each waiting site makes of the
costs what its estimator makes of them. A site of several points is opened and closed at once, in
the middle of the first phase: it evaluates the rest of the program, itself opened and closed, in
one vmapped call. Without recursion for the sites of one point, a long chain of them stays cheap.

Costs are scalars grouped by the sites still to credit them, merged as sites close, so that tracing
and compiling are linear in the number of sites.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import limited
from logtrick._core.materialize import computed_once
from logtrick._core.samples import Runs
from logtrick._core.watch import watch
from logtrick.distributions import value_of
from logtrick.estimators import Costs, Estimator, Points, close_limited, draw, evaluate
from logtrick.programs._forward import sum_out
from logtrick.programs._infos import CostInfo, KeyInfo, LoopInfo, PlateInfo, Structure
from logtrick.programs._open import Open, OpenKey, OpenSite, Settled, open_site, sum_of, wide
from logtrick.programs._records import Record, Records
from logtrick.programs._statements import Cost, FreshKey, Loop, Plate, Sample, WholeCost
from logtrick.programs._structure import branches, check_site
from logtrick.programs._walk import Reader, Running, changed, walk

Array = jax.Array
Sites = tuple[int, ...]
# First entries of groups that are no costs: terms of value zero, and what the element of a plate is
# shown of the costs after the plate.
ZERO, AFTER = -2, -1


@dataclasses.dataclass(frozen=True)
class Sampled:
    """The data that all stretches of one sample share.

    Attributes:
      structure: what the abstract run found.
      noises: the numbers for each site.
      runs: the samples, seen from this one.
      collect: whether draws and costs are recorded.
      open_loop, open_plate: what to do with these statements.
      element: whether this is an element of a plate, whose reply is wanted.
      scale: what every cost is multiplied by, for a plate that uses some of its elements.
    """

    structure: Structure
    noises: Any
    runs: Runs
    collect: bool
    open_loop: Any = None
    open_plate: Any = None
    scale: float = 1.0
    element: bool = False


@dataclasses.dataclass(frozen=True)
class Stretch:
    """A stretch of a sample that has been opened.

    Attributes:
      sites: the waiting sites, in order.
      costs: the costs of this stretch.
      tail: the costs that the first site of several points returned for the rest; None without such
        a site.
      reply: what the program returned.
      first_site, first_cost: the positions of the first of them in the program.
    """

    sites: list[Any]
    costs: list[Any]
    tail: Costs | None
    reply: Any
    first_site: int
    first_cost: int


jax.tree_util.register_dataclass(
    Stretch,
    data_fields=["sites", "costs", "tail", "reply"],
    meta_fields=["first_site", "first_cost"],
)


class _Opener(Reader):
    """Reads a stretch of a program from one statement to its end."""

    def __init__(self, running: Running, of: Sampled, site: int, cost: int) -> None:
        self.running, self.of = running, of
        self.first_site, self.first_cost = site, cost
        self.sites: list[Open] = []
        self.costs: list[Any] = []
        self.tail: Costs | None = None
        self.last: Any = ()  # the latest draw, for errors

    @property
    def site(self) -> int:
        return self.first_site + len(self.sites)

    def _planned(self, kind: type | None = None) -> Any:
        """The next site of the structure, and its noise."""
        planned, site = self.of.structure.sites, self.site
        if site >= len(planned) or not isinstance(planned[site], kind or object):
            raise changed("sites")
        return planned[site], self.of.noises[site]

    def cost(self, statement: Cost) -> None:
        value = wide(checks.scalar_cost("lt.cost", statement.value))
        watch("cost", value, self.last)
        self.costs.append(value if self.of.scale == 1 else value * self.of.scale)

    def whole_cost(self, statement: WholeCost) -> None:
        for value in jax.tree.leaves(statement.value):
            watch("cost", value, self.last)
        # a tuple of costs: summed here, recorded one by one
        self.costs.append(jax.tree.map(wide, statement.value))

    def fresh_key(self, statement: FreshKey) -> Any:
        _, key = self._planned(KeyInfo)
        self.sites.append(OpenKey())
        return key

    def loop(self, statement: Loop) -> Any:
        planned, noises = self._planned(LoopInfo)
        if planned.branches:
            self.tail = self._summed_out(statement, planned)
            return None
        reply, opened = self.of.open_loop(statement, planned, noises, self.of)
        self.sites.append(opened)
        return reply

    def plate(self, statement: Plate) -> Any:
        planned, noises = self._planned(PlateInfo)
        reply, opened = self.of.open_plate(statement, planned, noises, self.of)
        if statement.stand_in is not None:
            self.tail = self._stand_in(statement.stand_in, reply, opened)
            return None
        self.sites.append(opened)
        return reply

    def sample(self, statement: Sample) -> Any:
        planned, noise = self._planned()
        planned, estimator = check_site(statement, planned), statement.estimator
        points = draw(estimator, noise, statement.dist)
        x = self.last = value_of(points.x)
        if branches(estimator, points):
            self.tail = self._branch(estimator, points)
            return None
        self.sites.append(open_site(points, estimator, planned.estimator))
        return x

    def _branch(self, estimator: Estimator, points: Points) -> Costs:
        """A site whose estimator evaluates the rest of the program at several points, or differentiates it."""
        found = evaluate(estimator, points, self._rest(record_draw=True))
        return _closed(close_limited(estimator, found, points, self.of.runs), self.site)

    def _summed_out(self, statement: Loop, planned: LoopInfo) -> Costs:
        """A loop whose draws are summed out; the rest of the program is evaluated at every outcome of its last step."""
        of, site = self.of, self.site
        loop = sum_out(statement, planned, of.scale, of.structure.nests)
        rest = self._rest(record_draw=False)
        if loop.last:
            costs = jax.vmap(lambda last: rest(loop.reply(last)))(loop.last)
            costs = costs.centered().averaged(loop.weights)
        else:
            costs = rest(loop.reply([]))
        costs = _closed(_with_paid(of, site, costs, loop.paid).plus(loop.zero), site)
        if not of.collect:
            return costs
        is_cost = [isinstance(item, CostInfo) for item in planned.items]
        draws = [None if c else mean for c, mean in zip(is_cost, loop.means)]
        paid = [mean if c else None for c, mean in zip(is_cost, loop.means)]
        return _with_record(costs, site, Record(draws, paid))

    def _rest(self, record_draw: bool) -> Callable[[Any], Costs]:
        """The rest of the program after the site at hand, a function of its reply."""
        of, site, cost = self.of, self.site, self.first_cost + len(self.costs)

        def rest(x: Any) -> Costs:
            opened = open_stretch(self.running, of, site + 1, cost, x)
            costs = close_stretch(of, opened)
            if of.collect and record_draw:
                costs = _with_record(costs, site, Record(x))
            if of.element:
                records = dataclasses.replace(costs.records or Records(), reply=opened.reply)
                costs = dataclasses.replace(costs, records=records)
            return _seen_from(costs, site)

        return rest

    def _stand_in(self, stand_in: Callable[[Any], Any], ys: Any, opened: Any) -> Costs:
        """A plate whose elements have the costs after it, with a stand-in for their own reply, as their baseline.

        The rest of the program is evaluated at the live replies and, in the same vmapped call, at those with each reply
        replaced. What is found there does not depend on the element's own draws, and is held constant.
        """
        points = with_each_replaced(stand_in, ys)
        found = jax.vmap(self._rest(record_draw=False))(points)
        opened = dataclasses.replace(opened, baselines=jax.lax.stop_gradient(found.total[1:]))
        live = found.at(0)
        if found.zero is not None:
            live = dataclasses.replace(live, zero=found.zero[0])
        count = jax.tree.leaves(points)[0].shape[0]
        closed = _close(self.of, self.site, opened, live)
        costs = _closed(closed, self.site)
        if self.of.collect:
            record = Record(opened.draws(), opened.costs(), closed.observed)
            costs = _with_record(costs, self.site, record)
        return dataclasses.replace(costs, evaluations=found.evaluations * count)


def with_each_replaced(stand_in: Callable[[Any], Any], ys: Any) -> Any:
    """The replies of k elements as they are, and with each of them replaced: a leading axis of k + 1."""
    count = jax.tree.leaves(ys)[0].shape[0]
    kept = jnp.arange(count - 1)

    def without(j: Array) -> Any:
        others = jax.tree.map(lambda y: y[kept + (kept >= j)], ys)
        return jax.tree.map(lambda y, new: y.at[j].set(new), ys, stand_in(others))

    replaced = jax.vmap(without)(jnp.arange(count))
    return jax.tree.map(lambda y, new: jnp.concatenate([y[None], new]), ys, replaced)


def open_stretch(
    running: Running, of: Sampled, site: int = 0, cost: int = 0, reply: Any = None
) -> Stretch:
    """Read a program on from a draw `reply` to its end."""
    opener = _Opener(running, of, site, cost)
    opener.last = () if reply is None else reply
    value = walk(running, opener, reply)
    if opener.tail is None:
        of.structure.check_end(opener.site, cost + len(opener.costs))
    elif of.element and opener.tail.records is not None:
        value = opener.tail.records.reply  # averaged over the points
    return Stretch(opener.sites, opener.costs, opener.tail, value, site, cost)


def close_stretch(of: Sampled, stretch: Stretch, after: Array | None = None) -> Costs:
    """The costs of an open stretch, as the sites before it see them.

    Args:
      of: the sample.
      stretch: what has been opened.
      after: for an element of a plate, the costs after the plate: sites that the element's reply
        depends on are credited with them. The result's `weight` is then what these costs are to be
        multiplied by.
    """
    costs, weight = _with_own_costs(of, stretch), None
    for position, opened in reversed(list(enumerate(stretch.sites))):
        site = stretch.first_site + position
        credits_after = after is not None and of.structure.reply_depends_on(site)
        seen = _seen_from(costs, site, after if credits_after else None)
        closed = _close(of, site, opened, seen)
        if credits_after and closed.weight is not None:
            weight = closed.weight if weight is None else weight * closed.weight
        costs = _closed(closed, site)
        if of.collect:
            costs = _with_record(
                costs, site, Record(opened.draws(), opened.costs(), closed.observed)
            )
    return dataclasses.replace(costs, weight=weight)


def _close(of: Sampled, site: int, opened: Open, costs: Costs) -> Costs:
    """Close a waiting site with the costs that are credited to it."""
    if isinstance(opened, OpenSite):
        return opened.close(costs, of.runs)
    settled: Settled = opened.settle(costs.total, of.runs)
    if settled.weight is not None:
        costs = costs.scored(settled.weight)
    for name, watched in opened.limits():
        # without a weight, a derivative of the later costs would go on in these parameters and find nothing
        credited = {k: limited(name, c, watched) for k, c in costs.credited.items()}
        costs = dataclasses.replace(costs, credited=credited)
    return (
        _with_paid(of, site, costs, settled.paid)
        .plus(settled.zero)
        .learned(settled.loss, settled.observed)
    )


def _with_paid(of: Sampled, site: int, costs: Costs, paid: Array | None) -> Costs:
    """The costs, with those inside of a loop or plate, to be credited to it and to what its draws depend on."""
    if paid is None:
        return costs
    own = of.structure.ancestors(site)
    groups = dict(costs.credited)
    groups[own] = groups[own] + paid if own in groups else paid
    return dataclasses.replace(costs, credited=groups)


def _with_own_costs(of: Sampled, stretch: Stretch) -> Costs:
    """The costs of what came after this stretch, and of the stretch itself."""
    costs = Costs({}) if stretch.tail is None else stretch.tail
    groups = dict(costs.credited)
    for i, value in enumerate(stretch.costs):
        k = of.structure.credited(stretch.first_cost + i)
        total = sum_of(jax.tree.leaves(value))
        groups[k] = computed_once(groups[k] + total) if k in groups else total
    costs = dataclasses.replace(costs, credited=groups)
    if not of.collect:
        return costs
    records = costs.records or Records()
    own = {stretch.first_cost + i: value for i, value in enumerate(stretch.costs)}
    return dataclasses.replace(costs, records=records.with_costs(own))


def _with_record(costs: Costs, site: int, record: Record) -> Costs:
    records = costs.records or Records()
    return dataclasses.replace(costs, records=records.with_site(site, record))


def _seen_from(costs: Costs, site: int, after: Array | None = None) -> Costs:
    """The costs seen from `site`: those that it is credited with, and the others."""
    inside = {k: v for k, v in costs.credited.items() if site in k}
    others = {k: v for k, v in costs.credited.items() if site not in k}
    if after is not None:
        inside[(AFTER, site)] = after
    if (
        not inside
    ):  # no cost depends on the draw: a cost of 0, which has as many points as there are
        inside[(site,)] = jnp.zeros(())
    return dataclasses.replace(costs, credited=inside, others=others)


def _closed(costs: Costs, site: int) -> Costs:
    """The costs after `site` is closed: `site` is removed from the groups, and groups that have become equal merge."""
    groups = dict(costs.others)
    terms = [(k[:-1], v) for k, v in costs.credited.items() if k != (AFTER, site)]
    if costs.zero is not None:
        # credited by every earlier site: without it the second derivative across sites is silently
        # 0
        terms.append(((ZERO, *range(site)), costs.zero))
    for k, v in terms:
        groups[k] = computed_once(groups[k] + v) if k in groups else v
    losses = costs.later_losses
    if costs.adaptive_loss is not None:
        losses = costs.adaptive_loss if losses is None else losses + costs.adaptive_loss
    records = costs.records
    if costs.observed is not None and records is not None and site in records.sites:
        record = dataclasses.replace(records.sites[site], observed=costs.observed)
        records = records.with_site(site, record)
    return Costs(groups, records=records, later_losses=losses, evaluations=costs.evaluations)


def total_of(costs: Costs) -> tuple[Any, Any]:
    """The costs of a whole program or element, and its terms of value zero; None for nothing."""
    paid, zero = None, None
    for k, v in costs.credited.items():
        if k[:1] == (ZERO,):
            zero = v if zero is None else zero + v
        else:
            paid = v if paid is None else paid + v
    return paid, zero


def paid_by(stretch: Stretch) -> Array | None:
    """The sum of the costs of an open stretch; None where it has none."""
    tail = None if stretch.tail is None else total_of(stretch.tail)[0]
    inside = [site.paid() for site in stretch.sites]
    return sum_of([*stretch.costs, *inside, tail])

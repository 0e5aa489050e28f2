"""The first phase of a sample: the program is read, every site draws, and what was read waits to be closed.

One reader opens programs, elements of plates and steps of loops. A statement that branches ends the
stretch that is being opened: the rest of the program is opened and closed at several points, and
what is made of its costs is the tail of the stretch (`_closing.py`). In a step of a loop nothing
branches, which the abstract run has checked.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks, mesh
from logtrick._core.samples import in_step, over_elements
from logtrick._core.watch import watch
from logtrick.distributions import value_of
from logtrick.estimators import Costs, Estimator, Points, close_limited, draw, evaluate
from logtrick.programs._closing import (
    Context,
    Stretch,
    close_stretch,
    seen_from,
    with_record,
    without_site,
)
from logtrick.programs._forward import sum_out
from logtrick.programs._infos import Info, LoopInfo, PlateInfo
from logtrick.programs._plate import OpenPlate
from logtrick.programs._scan import OpenLoop
from logtrick.programs._sites import branches, check_site
from logtrick.programs._statements import Cost, FreshKey, Loop, Plate, Sample, Statement, WholeCost
from logtrick.programs._waiting import Open, OpenCost, OpenKey, Record, open_site, wide, with_cost
from logtrick.programs._walk import Reader, Running, begin_step, changed, step_result, walk

Array = jax.Array


class _Opener(Reader):
    """Opens one statement after the other, each checked against what the abstract run found in its place.

    Attributes:
      running: the program, the element of a plate or the step of a loop that is read.
      context: of the sample.
      planned: what the abstract run found, statement by statement.
      noises: the numbers for each site that is still to come.
      first: the position of the first statement that is read here.
      last: the latest draw, for errors.
      items: the open statements.
      tail: what a statement that branches made of the rest of the program; None until there is one.
    """

    def __init__(
        self,
        running: Running,
        context: Context,
        planned: Sequence[Info],
        noises: Iterable[Any],
        first: int = 0,
        last: Any = (),
    ) -> None:
        self.running, self.context = running, context
        self.planned, self.noises = planned, iter(noises)
        self.first, self.last = first, last
        self.items: list[Open] = []
        self.tail: Costs | None = None

    def read(self, reply: Any = None) -> Any:
        """Read from here to the end, or to a statement that branches; what the program returns."""
        value = walk(self.running, self, reply)
        if self.tail is None and self.first + len(self.items) != len(self.planned):
            raise changed("statements")
        return value

    @property
    def _position(self) -> int:
        return self.first + len(self.items)

    def _plan(self, statement: Statement) -> Any:
        """What the abstract run found in the place of the next statement."""
        position = self.first + len(self.items)
        plan = self.planned[position] if position < len(self.planned) else None
        if plan is None or plan.called != statement.called:
            raise changed("statements")
        return plan

    def cost(self, statement: Cost) -> None:
        self._plan(statement)
        value = wide(checks.scalar_cost("lt.cost", statement.value))
        watch("cost", value, self.last)
        if self.context.scale != 1:
            value = value * self.context.scale
        self.items.append(OpenCost(value))

    def whole_cost(self, statement: WholeCost) -> None:
        self._plan(statement)
        for value in jax.tree.leaves(statement.value):
            watch("cost", value, self.last)
        self.items.append(OpenCost(jax.tree.map(wide, statement.value)))

    def fresh_key(self, statement: FreshKey) -> Any:
        self._plan(statement)
        self.items.append(OpenKey())
        return next(self.noises)

    def sample(self, statement: Sample) -> Any:
        plan, estimator = check_site(statement, self._plan(statement)), statement.estimator
        points = draw(estimator, next(self.noises), statement.dist)
        x = self.last = value_of(points.x)
        if branches(estimator, points):
            self.tail = self._branch(estimator, points)
            return None
        self.items.append(open_site(points, estimator, plan.estimator))
        return x

    def loop(self, statement: Loop) -> Any:
        plan, noises = self._plan(statement), next(self.noises)
        if plan.branches:
            self.tail = self._summed_out(statement, plan)
            return None
        reply, opened = _open_loop(statement, plan, noises, self.context)
        self.items.append(opened)
        return reply

    def plate(self, statement: Plate) -> Any:
        plan, noises = self._plan(statement), next(self.noises)
        ys, opened = _open_plate(statement, plan, noises, self.context)
        if statement.stand_in is not None:
            self.tail = self._stand_in(statement.stand_in, ys, opened)
            return None
        self.items.append(opened)
        return ys

    # --- statements that branch

    def _branch(self, estimator: Estimator, points: Points) -> Costs:
        """A site whose estimator evaluates the rest of the program at several points, or differentiates it."""
        context, position, rest = self.context, self._position, self._rest()

        def recorded(x: Any) -> Costs:
            return with_record(rest(x), position, Record(x)) if context.collect else rest(x)

        found = evaluate(estimator, points, recorded)
        closed = close_limited(estimator, found, points, context.runs)
        costs = without_site(closed, self._site)
        if not context.collect:
            return costs
        draws = closed.records[position].draw  # averaged over the points
        return with_record(costs, position, Record(draws, observed=closed.observed))

    def _summed_out(self, statement: Loop, plan: LoopInfo) -> Costs:
        """A loop whose draws are summed out; the rest of the program is evaluated at every outcome of its last step."""
        context, position = self.context, self._position
        loop = sum_out(statement, plan, context.scale, context.structure.nests)
        rest = self._rest()
        if loop.last:
            costs = jax.vmap(lambda last: rest(loop.reply(last)))(loop.last)
            costs = costs.centered().averaged(loop.weights)
        else:
            costs = rest(loop.reply([]))
        costs = with_cost(costs, context.structure.groups[position], loop.paid).plus(loop.zero)
        costs = without_site(costs, self._site)
        if not context.collect:
            return costs
        draws = [mean if item.draws else None for item, mean in zip(plan.items, loop.means)]
        paid = [None if item.draws else mean for item, mean in zip(plan.items, loop.means)]
        return with_record(costs, position, Record(draws, paid))

    def _stand_in(self, stand_in: Callable[[Any], Any], ys: Any, opened: OpenPlate) -> Costs:
        """A plate whose elements have the costs after it, with a stand-in for their own reply, as their baseline.

        The rest of the program is evaluated at the live replies and, in the same vmapped call, at those with each reply
        replaced. What is found there does not depend on the element's own draws, and is held constant.
        """
        context, position = self.context, self._position
        points = _with_each_replaced(stand_in, ys)
        found = jax.vmap(self._rest())(points)
        opened = dataclasses.replace(opened, baselines=jax.lax.stop_gradient(found.total[1:]))
        closed, record = opened.close(found.at(0), context.structure.groups[position], context.runs)
        costs = without_site(closed, self._site)
        if context.collect:
            costs = with_record(costs, position, record)
        count = jax.tree.leaves(points)[0].shape[0]
        return dataclasses.replace(costs, evaluations=found.evaluations * count)

    @property
    def _site(self) -> int:
        """The number of the next statement among the sites."""
        return self.context.structure.numbers[self._position]

    def _rest(self) -> Callable[[Any], Costs]:
        """The rest of the program after the statement at hand, a function of its reply."""
        context, position, site = self.context, self._position, self._site
        noises = list(self.noises)

        def rest(x: Any) -> Costs:
            opened = open_stretch(self.running, context, noises, position + 1, x)
            costs = close_stretch(context, opened)
            if context.element:
                costs = dataclasses.replace(costs, reply=opened.reply)
            return seen_from(costs, site)

        return rest


def open_stretch(
    running: Running, context: Context, noises: Iterable[Any], first: int = 0, reply: Any = None
) -> Stretch:
    """Open a program, or what follows a statement that branches.

    Args:
      running: the program.
      context: of the sample.
      noises: the numbers for each site from here on.
      first: the position of the next statement.
      reply: what the statement before is replied.
    """
    last = () if reply is None else reply
    opener = _Opener(running, context, context.structure.items, noises, first, last)
    value, tail = opener.read(reply), opener.tail
    if tail is not None and context.element:
        value, tail = tail.reply, dataclasses.replace(tail, reply=None)
    return Stretch(opener.items, tail, value, first)


def _open_loop(
    statement: Loop, plan: LoopInfo, noises: Any, context: Context
) -> tuple[Any, OpenLoop]:
    """The loop's (carry, ys), and its steps, opened."""

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        number, x, rows = x

        def step() -> tuple[Any, Any]:
            running = begin_step(statement.step, carry, x)
            opener = _Opener(running, context, plan.items, rows)
            after, y = step_result(opener.read())
            return after, (y, opener.items)

        return in_step(number, step) if context.structure.nests else step()

    body = jax.checkpoint(body, prevent_cse=False) if statement.remat else body
    numbers = jnp.arange(plan.length, dtype=jnp.uint32)
    carry, (ys, items) = mesh.scan_varying(
        body, statement.carry, (numbers, statement.xs, noises), plan.length
    )
    return (carry, ys), OpenLoop(items, plan.length)


def _open_plate(
    statement: Plate, plan: PlateInfo, noises: Any, context: Context
) -> tuple[Any, OpenPlate]:
    """The plate's ys, and its elements, opened."""
    chooser, rows = noises
    xs = jax.tree.map(jnp.asarray, statement.xs)
    if chooser:
        chosen = jnp.argsort(chooser[0])[: plan.used]
        xs = jax.tree.map(lambda a: a[chosen], xs)
    scale = context.scale * plan.length / plan.used
    element = dataclasses.replace(context, structure=plan.element, element=True, scale=scale)

    def one(x: Any, rows: Any) -> tuple[Any, Stretch]:
        opened = open_stretch(begin_step(statement.step, x), element, rows)
        return opened.reply, dataclasses.replace(opened, reply=None)

    ys, elements = over_elements(one, xs, rows, count=plan.used)
    return ys, OpenPlate(elements, plan, context.collect)


def _with_each_replaced(stand_in: Callable[[Any], Any], ys: Any) -> Any:
    """The replies of k elements as they are, and with each of them replaced: a leading axis of k + 1."""
    count = jax.tree.leaves(ys)[0].shape[0]
    kept = jnp.arange(count - 1)

    def without(j: Array) -> Any:
        others = jax.tree.map(lambda y: y[kept + (kept >= j)], ys)
        new = jax.tree.map(jnp.asarray, stand_in(others))
        _check_stand_in(ys, new)
        return jax.tree.map(lambda y, new: y.at[j].set(new), ys, new)

    replaced = jax.vmap(without)(jnp.arange(count))
    return jax.tree.map(lambda y, new: jnp.concatenate([y[None], new]), ys, replaced)


def _check_stand_in(ys: Any, new: Any) -> None:
    """What stands in for an element's reply has its structure, shapes and dtypes."""
    fits = lambda y, a: a.shape == y.shape[1:] and y.dtype in (a.dtype, jnp.result_type(y, a))
    same = jax.tree.structure(ys) == jax.tree.structure(new)
    if same and all(jax.tree.leaves(jax.tree.map(fits, ys, new))):
        return
    want = jax.tree.map(lambda y: f"{y.dtype}{list(y.shape[1:])}", ys)
    got = jax.tree.map(lambda a: f"{a.dtype}{list(a.shape)}", new)
    raise ValueError(
        f"lt.plate(stand_in=…) must return what one element returns, {want}; got {got}. Return the mean of the others, say."
    )

"""The structure of a program, from one abstract run: its sites, its costs, and which sites each cost is credited to.

The abstract run executes the program on traced values, once. Each draw is marked in the jaxpr, so that the walk over it
(`_credit.py`) finds what depends on the draw.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from logtrick import noise as _noise
from logtrick._core import checks, mesh
from logtrick._core.compat import is_tracer
from logtrick._core.samples import depends_on_step, in_abstract_step
from logtrick.distributions import Distribution, value_of
from logtrick.estimators import Estimator, draw
from logtrick.programs._begin import Begin
from logtrick.programs._credit import Credit, credit, mark, mark_inside
from logtrick.programs._forward import remembered, sums_out
from logtrick.programs._infos import (
    CostInfo,
    Info,
    LoopInfo,
    PlateInfo,
    SiteInfo,
    Structure,
    check_unique,
    key_info,
    leaves_of,
)
from logtrick.programs._sites import branches, check_in_loop, check_independent, site_info
from logtrick.programs._statements import Cost, FreshKey, Loop, Plate, Sample, WholeCost
from logtrick.programs._walk import Reader, Running, begin_step, step_result, walk


def structure_of(begin: Begin, num_samples: int, *, element: bool = False) -> Structure:
    """Run the program abstractly, once.

    Args:
      begin: starts the program.
      num_samples: how many samples share a chunk; legality may depend on it.
      element: whether it is an element of a plate, which may have no costs, and whose reply counts.
    """
    finders: list[_Finder] = []

    def run() -> Any:
        finder = _Finder(num_samples)
        finders[:] = [finder]
        reply = walk(Running(begin()), finder)
        costs = [part for item, part in zip(finder.items, finder.parts) if not item.draws]
        made_of = [part for item, part in zip(finder.items, finder.parts) if item.draws]
        return costs, made_of, finder.estimators, _arrays(reply) if element else []

    found = credit(run)
    items = tuple(finders[0].items)
    cost_names = [name for name, _ in leaves_of(items, CostInfo)]
    if not cost_names and not element:
        raise ValueError(
            "the program yields no lt.cost: there is nothing to take the expectation of. Yield lt.cost(…)."
        )
    _check_names_of_sites(items)
    check_unique("lt.cost", cost_names)
    has_loops = bool(list(leaves_of(items, LoopInfo)))
    nests = has_loops and depends_on_step(found.jaxpr)
    structure = Structure(items, found, nests)
    _check_estimators(structure, found)
    _check_plates(structure, found)
    return structure


class _Finder(Reader):
    """Finds what the statements are, with draws that are marked so that credit can follow them.

    Attributes:
      path: where it reads: the numbers of the loops and plates that it is inside of; () for the program itself.
      in_step: whether it reads the step of a loop.
      in_loop: whether it reads a step, or an element of a plate in a step.
      items: what it has found.
      parts: for each item what its draw is made of, or the cost.
      estimators: for each item that draws, the leaves of its estimators.
    """

    def __init__(
        self,
        num_samples: int,
        path: tuple[int, ...] = (),
        in_step: bool = False,
        in_loop: bool = False,
    ) -> None:
        self.num_samples = num_samples
        self.path, self.in_step, self.in_loop = path, in_step, in_loop
        self.items: list[Info] = []
        self.parts: list[Any] = []
        self.estimators: list[Any] = []

    @property
    def _number(self) -> int:
        """The number of the next statement among the sites."""
        return len(self.estimators)

    def _add(self, item: Info, parts: Any, estimators: Any) -> None:
        """Note an item that draws."""
        self.items.append(item)
        self.parts.append(parts)
        self.estimators.append(estimators)

    def _add_cost(self, name: Any, value: Any) -> None:
        self.items.append(CostInfo(name))
        self.parts.append(value)

    def _marked(self, draw: Any) -> Any:
        """The draw of the next site, marked; inside of loops and plates by the site's path."""
        if self.path:
            return mark_inside(draw, (*self.path, self._number))
        return mark(draw, self._number)

    def sample(self, statement: Sample) -> Any:
        info = site_info(statement, self._number, self.num_samples)
        points = draw(statement.estimator, _noise.example(info.noise), statement.dist)
        if self.in_step and info.sums_out:
            pass  # whether the loop can sum its draws out is known at the end of the step
        elif self.in_loop:
            check_in_loop("lt.scan", statement, points)
        elif self.path:
            check_independent("lt.plate", statement)
        info = dataclasses.replace(
            info,
            evaluations=points.count + len(points.centers),
            branches=branches(statement.estimator, points),
        )
        first = value_of(points.x)
        if points.stacked:
            first = jax.tree.map(lambda a: a[0], first)
        reply = self._marked(first)
        self._add(info, _made_of(statement, first, reply), _arrays(statement.estimator))
        return reply

    def cost(self, statement: Cost) -> None:
        number = len(self.items) - self._number
        name = number if statement.name is None else statement.name
        self._add_cost(name, checks.scalar_cost("lt.cost", statement.value))

    def whole_cost(self, statement: WholeCost) -> None:
        parts = jax.tree.leaves(statement.value)
        self._add_cost(0, sum(parts[1:], jnp.asarray(parts[0])))

    def fresh_key(self, statement: FreshKey) -> Any:
        self._add(key_info(self._number), [], [])
        return jax.random.key(0)

    def loop(self, statement: Loop) -> Any:
        inner: list[_Finder] = []

        def body(carry: Any, x: Any) -> tuple[Any, Any]:
            finder = self._inside(in_step=True)
            inner[:] = [finder]

            def step() -> tuple[Any, Any]:
                after, y = step_result(walk(begin_step(statement.step, carry, x), finder))
                return after, (y, finder.parts, finder.estimators)

            return in_abstract_step(step)

        carry, (ys, parts, estimators) = mesh.scan_varying(
            body, statement.carry, statement.xs, statement.length
        )
        items = tuple(inner[0].items)
        _check_names_of_sites(items)
        if not items:
            raise ValueError(
                "the step of lt.scan yields no lt.sample and no lt.cost. Use jax.lax.scan."
            )
        name = self._number if statement.name is None else statement.name
        info = LoopInfo(name, statement.length, items, self._remembered(statement, items))
        reply = self._marked((carry, ys))
        self._add(info, self._with_reply((carry, ys), parts), estimators)
        return reply

    def _remembered(self, statement: Loop, items: tuple[Info, ...]) -> tuple[bool, ...] | None:
        """Which leaves of the carry depend on draws, where these are summed out."""
        if not sums_out(items):
            return None
        if self.in_loop:
            raise ValueError(
                "lt.scan: the last carry of a loop whose draws are summed out by VariableElimination() is known at several "
                "points: in each of T steps that would be k^T. Write one loop over all steps, or use ScoreFunction()."
            )
        return remembered(statement)

    def plate(self, statement: Plate) -> Any:
        inner: list[_Finder] = []

        def element(x: Any) -> Any:
            finder = self._inside()
            inner[:] = [finder]
            y = walk(begin_step(statement.step, x), finder)
            return y, finder.parts, finder.estimators

        used = statement.length if statement.subsample is None else statement.subsample
        xs = jax.tree.map(lambda a: jnp.asarray(a)[:used], statement.xs)
        # what draws and costs are made of, for the credit of what is outside of the plate
        ys, parts, estimators = jax.vmap(element, axis_size=used)(xs)
        if not inner[0].items:
            raise ValueError(
                "the step of lt.plate yields no lt.sample and no lt.cost. Use jax.vmap."
            )
        stands_in = statement.stand_in is not None
        if stands_in and self.in_loop:
            raise ValueError(
                "lt.scan: lt.plate(stand_in=…) evaluates the rest of the program once more for each element: in each of T "
                "steps that would be (k + 1)^T. Use a plate without it, or yield it outside of the loop."
            )
        # one element as a program of its own, for the credit inside of it
        first = jax.tree.map(lambda a: a[0], xs)
        begin = lambda: begin_step(statement.step, first).generator
        structure = structure_of(begin, self.num_samples, element=True)
        name = self._number if statement.name is None else statement.name
        info = PlateInfo(name, statement.length, used, structure, stands_in)
        reply = self._marked(ys)
        self._add(info, self._with_reply(ys, parts), estimators)
        return reply

    def _with_reply(self, reply: Any, parts: list[Any]) -> Any:
        """What a loop or plate of the program itself is made of: what it replies, and what its items are made of."""
        return parts if self.path else (_arrays(reply), parts)

    def _inside(self, in_step: bool = False) -> "_Finder":
        """The finder of a step or element of the next statement."""
        path = (*self.path, self._number)
        return _Finder(self.num_samples, path, in_step, in_step or self.in_loop)


def _check_names_of_sites(items: Sequence[Any]) -> None:
    check_unique("lt.sample", [item.name for item in items if item.draws])


def _check_estimators(structure: Structure, found: Credit) -> None:
    """Refuse learning estimators made from traced values: `aux` returns them with advanced statistics, outside of the trace."""
    for site, unknown in zip(structure.sites, found.unknown):
        for name, inner in leaves_of([site], SiteInfo):
            if unknown and inner.estimator.adaptive and _moves(inner.estimator):
                raise ValueError(
                    f"the estimator of site {name!r} learns and was made inside the program from values that only exist there. "
                    "Make it outside and pass it in."
                )


def _check_plates(structure: Structure, found: Credit) -> None:
    """Refuse costs after a plate for sites that are closed before these costs are known."""
    for number, plate in enumerate(structure.sites):
        if not isinstance(plate, PlateInfo):
            continue
        credited = any(number in sites for sites in found.costs)
        for other, item in enumerate(structure.sites):
            has_costs = bool(list(leaves_of([item], CostInfo)))
            credited |= other != number and has_costs and number in found.sites[other]
        if credited:
            _check_reply(plate)


def _check_reply(plate: PlateInfo) -> None:
    """Check that costs after the plate depend on no site of an element at or after a site that branches.

    A site that branches closes the rest of its element at once, without the costs after the plate.
    """
    branched: Any = None
    for number, item in enumerate(plate.element.sites):
        if branched is None and item.branches:
            branched = item
        if not plate.element.reply_depends_on(number):
            continue
        if branched is not None:
            raise ValueError(
                f"lt.plate {plate.name!r}: costs after the plate depend on the draw of site {item.name!r} in its "
                f"elements. {branched.method} at site {branched.name!r} evaluates the rest of its own "
                "element only. Yield these costs inside the element, use ScoreFunction() or Pathwise() there, or draw "
                f"what the element returns before site {branched.name!r}."
            )
        if isinstance(item, PlateInfo):
            _check_reply(item)


def _moves(estimator: Estimator) -> bool:
    """Whether an estimator has running statistics, which `aux` returns."""
    baseline = getattr(estimator, "baseline", None)
    return bool(estimator.statistics) or bool(getattr(baseline, "statistics", ()))


def _arrays(tree: Any) -> list[Any]:
    """The traced leaves: only these can depend on a draw."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_tracer(leaf)]


def _made_of(statement: Sample, raw: Any, draw: Any) -> tuple[list[Any], list[Any]]:
    """Everything that a draw depends on besides its noise, as arrays.

    These are the leaves of the distribution and of the estimator (points may depend on a
    temperature). Where functions of the distribution may close over more, they are also the
    log-prob and the draw itself (apart, since a sampler may compare and round).
    """
    dist: Distribution = statement.dist
    parts = _arrays((dist, statement.estimator))
    if not dist.may_hide_parameters:
        return parts, []
    return [*parts, dist.log_prob(draw)], _arrays(raw)

"""The structure of a program, from one abstract run: its sites, its costs, and which sites each cost is credited to."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from logtrick import noise as _noise
from logtrick._core import checks, mesh
from logtrick._core.compat import is_tracer
from logtrick._core.samples import depends_on_step, in_abstract_step
from logtrick.distributions import Distribution, value_of
from logtrick.estimators import Estimator, FiniteSupport, Points, draw
from logtrick.noise import INDEPENDENT
from logtrick.programs._credit import Credit, credit, mark, mark_inside
from logtrick.programs._forward import remembered, sums_out
from logtrick.programs._infos import (
    CostInfo,
    Info,
    LoopInfo,
    Path,
    PlateInfo,
    SiteInfo,
    Structure,
    key_info,
    leaves_of,
    unique,
)
from logtrick.programs._statements import Cost, FreshKey, Loop, Plate, Sample, WholeCost
from logtrick.programs._walk import (
    Reader,
    Running,
    Start,
    begin_step,
    changed,
    step_result,
    walk,
)


def site_info(statement: Sample, index: int, num_samples: int) -> SiteInfo:
    """Describe a site, and check that its estimator is legal there."""
    estimator, dist = statement.estimator, statement.dist
    estimator.check(dist, num_samples)
    name = index if statement.name is None else statement.name
    family = type(dist).__name__.lstrip("_")
    factorized = dist.independent_factors is not None
    return SiteInfo(
        name,
        family,
        estimator,
        estimator.noise(dist),
        _event_size(dist),
        evaluations=estimator.count_evaluations(dist) if estimator.sums_out else 0,
        factorized=factorized,
    )


def _event_size(dist: Distribution) -> int:
    """How many numbers a draw has; 0 where the shape is not declared."""
    shape = dist.event_shape
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        return math.prod(shape)
    is_shape = lambda s: isinstance(s, tuple) and all(isinstance(n, int) for n in s)
    return sum(math.prod(part) for part in jax.tree.leaves(shape, is_leaf=is_shape))


def check_site(statement: Sample, planned: Any) -> SiteInfo:
    """Check that a site of the running program is the one that the abstract run found."""
    if not isinstance(planned, SiteInfo):
        raise changed("sites")
    noise = statement.estimator.noise(statement.dist)
    same = jax.tree.structure(noise) == jax.tree.structure(planned.noise)
    if not same or type(statement.estimator) is not type(planned.estimator):
        raise changed(f"distributions or estimators at site {planned.name!r}")
    return planned


def structure_of(begin: Start, num_samples: int, *, plate: str | None = None) -> Structure:
    """Run the program abstractly, once.

    Args:
      begin: starts the program.
      num_samples: how many samples share a chunk; legality may depend on it.
      plate: the name of the plate whose element this is; None for a whole program.
    """
    finders: list[_Finder] = []

    def run() -> Any:
        finder = _Finder(num_samples, lambda draw, index: mark(draw, index))
        finders[:] = [finder]
        reply = walk(Running(begin()), finder)
        costs = [part for item, part in zip(finder.items, finder.parts) if not item.draws]
        made_of = [part for item, part in zip(finder.items, finder.parts) if item.draws]
        return costs, made_of, finder.estimators, _arrays(reply) if plate else []

    found = credit(run)
    items = finders[0].items
    if not list(leaves_of(items, CostInfo)) and plate is None:
        raise ValueError(
            "the program yields no lt.cost: there is nothing to take the expectation of. Yield lt.cost(…)."
        )
    has_loops = bool(list(leaves_of(items, LoopInfo)))
    nests = has_loops and depends_on_step(found.jaxpr)
    structure = Structure(tuple(_named(items)), found, nests)
    _check_estimators(structure, found)
    _check_plates(structure)
    return structure


class _Finder(Reader):
    """Finds what the statements are, with draws that are marked so that credit can follow them."""

    def __init__(
        self,
        num_samples: int,
        marked: Callable[[Any, int], Any],
        inside: str = "",
        path: Path = (),
    ) -> None:
        self.num_samples, self.marked = num_samples, marked
        self.inside, self.path = inside, path
        self.is_step = False
        self.items: list[Info] = []
        self.parts: list[Any] = []
        self.estimators: list[Any] = []

    def _add(self, item: Info, parts: Any, estimators: Any) -> None:
        self.items.append(item)
        self.parts.append(parts)
        if item.draws:
            self.estimators.append(estimators)

    @property
    def _sites(self) -> int:
        return len(self.estimators)

    def sample(self, statement: Sample) -> Any:
        index = self._sites
        info = site_info(statement, index, self.num_samples)
        points = draw(statement.estimator, _noise.example(info.noise), statement.dist)
        if self.is_step and statement.estimator.sums_out:
            pass  # whether the loop can sum its draws out is known at the end of the step
        elif self.inside:
            check_in_loop(self.inside, statement, points)
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
        reply = self.marked(first, index)
        parts = _made_of(statement, first, reply)
        self._add(info, parts, _arrays(statement.estimator))
        return reply

    def cost(self, statement: Cost) -> None:
        number = len(self.items) - self._sites
        name = number if statement.name is None else statement.name
        self._add(CostInfo(name), checks.scalar_cost("lt.cost", statement.value), None)

    def whole_cost(self, statement: WholeCost) -> None:
        parts = jax.tree.leaves(statement.value)
        self._add(CostInfo(0), sum(parts[1:], jnp.asarray(parts[0])), None)

    def fresh_key(self, statement: FreshKey) -> Any:
        index = self._sites
        self._add(key_info(index), [], [])
        return jax.random.key(0)

    def loop(self, statement: Loop) -> Any:
        index = self._sites
        inner: list[_Finder] = []

        def body(carry: Any, x: Any) -> tuple[Any, Any]:
            finder = self._nested(index, "lt.scan")
            finder.is_step = True
            inner[:] = [finder]

            def step() -> tuple[Any, Any]:
                after, y = step_result(walk(begin_step(statement.step, carry, x), finder))
                return after, (y, finder.parts, finder.estimators)

            return in_abstract_step(step)

        xs, length = statement.xs, statement.length
        carry, (ys, parts, estimators) = mesh.scan_varying(body, statement.carry, xs, length)
        items = tuple(_named(inner[0].items))
        if not items:
            raise ValueError(
                "the step of lt.scan yields no lt.sample and no lt.cost. Use jax.lax.scan."
            )
        steps = jax.tree.leaves(xs)
        length = length if not steps else jnp.shape(steps[0])[0]
        assert length is not None  # lax.scan has checked it
        name = index if statement.name is None else statement.name
        info = LoopInfo(name, length, items, self._remembered(statement, items))
        reply = self.marked((carry, ys), index)
        self._add(info, self._with_reply((carry, ys), parts), estimators)
        return reply

    def _remembered(self, statement: Loop, items: tuple[Info, ...]) -> tuple[bool, ...] | None:
        """Which leaves of the carry depend on draws, where these are summed out."""
        if not sums_out(items):
            return None
        if self.inside:
            raise ValueError(
                f"{self.inside}: the last carry of a loop whose draws are summed out by VariableElimination() is known at "
                "several points: in each of T steps that would be k^T. Write one loop over all steps, or use ScoreFunction()."
            )
        return remembered(statement)

    def plate(self, statement: Plate) -> Any:
        index = self._sites
        name = index if statement.name is None else statement.name
        inner: list[_Finder] = []

        def element(x: Any) -> Any:
            finder = self._nested(index, "")
            inner[:] = [finder]
            y = walk(begin_step(statement.step, x), finder)
            return y, finder.parts, finder.estimators

        used = statement.length if statement.subsample is None else statement.subsample
        xs = jax.tree.map(lambda a: jnp.asarray(a)[:used], statement.xs)
        ys, parts, estimators = jax.vmap(element, axis_size=used)(xs)
        first = jax.tree.map(lambda a: a[0], xs)
        begin = lambda: begin_step(statement.step, first).generator
        structure = structure_of(begin, self.num_samples, plate=str(name))
        if not structure.items:
            raise ValueError(
                "the step of lt.plate yields no lt.sample and no lt.cost. Use jax.vmap."
            )
        stands_in = statement.stand_in is not None
        if stands_in and self.inside:
            raise ValueError(
                f"{self.inside}: lt.plate(stand_in=…) evaluates the rest of the program once more for each element: in "
                "each of T steps that would be (k + 1)^T. Use a plate without it, or yield it outside of the loop."
            )
        info = PlateInfo(name, statement.length, used, structure, stands_in)
        reply = self.marked(ys, index)
        self._add(info, self._with_reply(ys, parts), estimators)
        return reply

    def _with_reply(self, reply: Any, parts: list[Any]) -> Any:
        """What a loop or plate of the program itself is made of: what it replies, and what its items are made of."""
        return parts if self.path else (_arrays(reply), parts)

    def _nested(self, index: int, where: str) -> "_Finder":
        """The finder of a step or element; a position in it is a path."""
        path = (*self.path, index)
        inside = lambda draw, position: mark_inside(draw, (*path, position))
        return _Finder(self.num_samples, inside, where or self.inside, path)


def branches(estimator: Estimator, points: Points) -> bool:
    """Whether an estimator evaluates the rest of the program at several points, or differentiates it."""
    return points.stacked or bool(points.centers) or estimator.derivatives_of_rest > 0


def check_in_loop(where: str, statement: Sample, points: Any) -> None:
    """Check that a statement is legal inside a loop over time."""
    estimator, name = statement.estimator, type(statement.estimator).__name__
    instead = "Use ScoreFunction() or Pathwise() inside the step, or draw outside of the loop."
    if points.stacked:
        if where == "lt.scan" and FiniteSupport in estimator.needs:
            instead = f"VariableElimination() sums a Markov chain out exactly. Else: {instead[0].lower()}{instead[1:]}"
        raise ValueError(
            f"{where}: {name} evaluates the rest of the program at {points.count} points: in each of T steps that would "
            f"be {points.count}^T in all. {instead}"
        )
    if branches(estimator, points):
        raise ValueError(
            f"{where}: {name} differentiates the rest of the program, which inside of a step is not known yet. {instead}"
        )
    check_independent(where, statement)


def check_independent(where: str, statement: Sample) -> None:
    """Inside a loop or plate the rows of noise are steps or elements as well as samples: they must be independent."""
    specs = jax.tree.leaves(statement.estimator.noise(statement.dist), is_leaf=_noise.is_noise)
    if any(type(spec) not in INDEPENDENT for spec in specs):
        what = "a plate's rows are elements" if where == "lt.plate" else "a loop's rows are steps"
        raise ValueError(
            f"{where}: the noise of {type(statement.estimator).__name__} depends from sample to sample, and {what} as "
            "well. Use the plan IID()."
        )


def _named(items: Sequence[Any]) -> list[Any]:
    """The items, their names checked to be unique among sites and among costs."""
    unique("lt.sample", [item.name for item in items if item.draws])
    unique("lt.cost", [item.name for item in items if not item.draws])
    return list(items)


def _check_estimators(structure: Structure, found: Credit) -> None:
    """Refuse learning estimators made from traced values: `aux` returns them with advanced statistics, outside of the trace."""
    for site, unknown in zip(structure.sites, found.unknown):
        for name, inner in leaves_of([site], SiteInfo):
            if unknown and inner.estimator.adaptive and _moves(inner.estimator):
                raise ValueError(
                    f"the estimator of site {name!r} learns and was made inside the program from values that only exist there. "
                    "Make it outside and pass it in."
                )


def _check_plates(structure: Structure) -> None:
    """Refuse costs after a plate for sites that are closed before these costs are known."""
    assert structure.credit is not None
    credited = structure.credit
    for p, plate in enumerate(structure.sites):
        if not isinstance(plate, PlateInfo):
            continue
        later = any(p in sites for sites in credited.costs)
        for q, other in enumerate(structure.sites):
            pays = bool(list(leaves_of([other], CostInfo)))
            later |= q != p and pays and p in credited.sites[q]
        if later:
            _check_reply(plate)


def _check_reply(plate: PlateInfo) -> None:
    """Check that costs after the plate depend on no site of an element at or after a site that branches.

    A site that branches closes the rest of its element at once, without the costs after the plate.
    """
    branched = None
    for position, item in enumerate(plate.element.sites):
        if branched is None and item.branches:
            branched = item
        if not plate.element.reply_depends_on(position):
            continue
        if branched is not None:
            what = "lt.plate(stand_in=…)"
            if isinstance(branched, LoopInfo):
                what = "VariableElimination"
            if isinstance(branched, SiteInfo):
                what = type(branched.estimator).__name__
            raise ValueError(
                f"lt.plate {plate.name!r}: costs after the plate depend on the draw of site {item.name!r} in its "
                f"elements. {what} at site {branched.name!r} evaluates the rest of its own "
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

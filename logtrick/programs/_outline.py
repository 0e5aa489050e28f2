"""The outline of a program, from one abstract run: its sites, its costs, who is credited with what."""

import dataclasses
import inspect
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from logtrick import noise as _noise
from logtrick._core import checks
from logtrick._core.compat import is_tracer
from logtrick.distributions import Distribution
from logtrick.estimators import Estimator
from logtrick.noise import INDEPENDENT, Steps
from logtrick.programs import _mesh
from logtrick.programs._credit import Credit, credit, mark, mark_inside
from logtrick.programs._items import MADE, Cost, Item, Loop, Sample

Start = Callable[[], Generator[Any, Any, Any]]


@dataclasses.dataclass(frozen=True)
class SiteOutline:
    """One site: its name, family, estimator, noise, and f's evaluations per draw."""

    name: Any
    family: str
    estimator: Estimator
    noise: Any
    evaluations: int


@dataclasses.dataclass(frozen=True)
class CostOutline:
    """One cost inside a loop."""

    name: Any


@dataclasses.dataclass(frozen=True)
class LoopOutline:
    """One loop over time: what each step draws and pays, in the order of the yields."""

    name: Any
    length: int
    items: "tuple[SiteOutline | CostOutline | LoopOutline, ...]"

    @property
    def noise(self) -> list[Any]:
        """The noise of all steps, for each item that draws."""
        drawn = [item.noise for item in self.items if not isinstance(item, CostOutline)]
        return [
            jax.tree.map(lambda n: Steps(n, self.length), spec, is_leaf=_noise.is_noise)
            for spec in drawn
        ]


@dataclasses.dataclass(frozen=True)
class Outline:
    """A program's sites and costs, in the order of their yields.

    Attributes:
      sites: what is drawn; a loop is one site.
      cost_names: what is paid outside of loops.
      credits: from the number of costs, for each cost its sites.
      ancestors: from a site, itself and those whose draws its distribution depends on.
      credit: what the abstract run found; None for a single site, which needs none.
    """

    sites: list[SiteOutline | LoopOutline]
    cost_names: Sequence[Any]
    credits: Callable[[int], list[tuple[int, ...]]]
    ancestors: Callable[[int], tuple[int, ...]]
    credit: Credit | None = None

    def all_sites(self) -> list[tuple[Any, SiteOutline]]:
        """Every site by its full name, those of loops as "loop.site"."""
        found = list(leaves_of(self.sites, SiteOutline))
        return list(
            zip(unique("lt.sample", [name for name, _ in found]), [site for _, site in found])
        )


def leaves_of(
    items: Sequence[Any], kind: type, values: Any = None, prefix: str = ""
) -> Iterator[tuple[Any, Any]]:
    """Items of a `kind`, through loops, by their full names; with `values`, a list like `items`, those instead."""
    values = items if values is None else values
    for item, value in zip(items, values):
        name = f"{prefix}{item.name}" if prefix else item.name
        if isinstance(item, kind):
            yield name, value
        elif isinstance(item, LoopOutline):
            inner = item.items if value is item else value or [None] * len(item.items)
            yield from leaves_of(item.items, kind, inner, f"{name}.")


def changed(what: str) -> ValueError:
    """The error for a program whose structure is not the same in every run."""
    return ValueError(
        f"the program has other {what} in one run than in another. Its structure must not change."
    )


def start(program: Any, args: tuple[Any, ...]) -> Start:
    """A function that starts the program anew."""
    if inspect.isgenerator(program):
        raise TypeError(
            "a program is run several times; got a running generator. Pass the generator function itself."
        )
    if not callable(program):
        raise TypeError(
            f"a program is a generator function; got {type(program).__name__}. Write `def program(): yield …`."
        )

    def begin() -> Generator[Any, Any, Any]:
        running = program(*args)
        if not inspect.isgenerator(running):
            raise TypeError(
                "a program is a generator function that yields lt.sample(…) and lt.cost(…); got one that returned "
                f"{type(running).__name__}. Write `x = yield lt.sample(…)` and `yield lt.cost(…)`."
            )
        if inspect.getgeneratorstate(running) != inspect.GEN_CREATED:
            raise TypeError(
                "a program is run several times; got one that returned a generator already begun. Return a new one each "
                "time: pass the generator function itself."
            )
        return running

    return begin


class Running:
    """A program under way."""

    def __init__(self, generator: Generator[Any, Any, Any]) -> None:
        self.generator, self.made, self.value = generator, list[Item](), None

    def advance(self, reply: Any) -> Any:
        """The next item that the program yields, or None at its end."""
        token = MADE.set(self.made)
        try:
            item = self.generator.send(reply)
        except StopIteration as end:
            self.value = end.value
            self._finished()
            return None
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
            if not hasattr(error, "__notes__"):
                error.add_note(
                    "logtrick: programs and costs are traced by JAX, one draw at a time. Write them with jax.numpy and "
                    "lax.cond, or wrap a NumPy function in lt.black_box(f, …)."
                )
            raise
        finally:
            MADE.reset(token)
        if not isinstance(item, Item):
            raise TypeError(
                f"a program yields lt.sample(…) or lt.cost(…); got {type(item).__name__}. Wrap it in lt.cost."
            )
        item.yielded = True
        return item

    def _finished(self) -> None:
        for item in self.made:
            if not item.yielded:
                raise TypeError(
                    f"an lt.{item.called}(…) was made and not yielded, so it would be lost silently. Write `yield "
                    f"lt.{item.called}(…)` in the program itself, not inside jax.jit, lax.scan or lax.cond."
                )


def site_outline(item: Sample, index: int, num_runs: int) -> SiteOutline:
    item.estimator.check(item.dist, num_runs)
    name, spec = index if item.name is None else item.name, item.estimator.noise_spec(item.dist)
    family = type(item.dist).__name__.lstrip("_")
    return SiteOutline(
        name, family, item.estimator, spec, item.estimator.count_evaluations(item.dist)
    )


def check_site(item: Sample, planned: Any) -> SiteOutline:
    """The site that comes is the one that was planned."""
    if not isinstance(planned, SiteOutline):
        raise changed("sites")
    same = jax.tree.structure(item.estimator.noise_spec(item.dist)) == jax.tree.structure(
        planned.noise
    )
    if not same or type(item.estimator) is not type(planned.estimator):
        raise changed(f"distributions or estimators at site {planned.name!r}")
    return planned


def outline(begin: Start, num_runs: int) -> Outline:
    """Run the program abstractly, once."""
    sites: list[SiteOutline | LoopOutline] = []
    names: list[Any] = []

    def run() -> tuple[list[Any], list[Any], list[Any]]:
        sites.clear()
        names.clear()
        made_of: list[Any] = []
        running, reply, costs, estimators = Running(begin()), None, [], []
        while (item := running.advance(reply)) is not None:
            reply = None
            if isinstance(item, Cost):
                costs.append(checks.scalar_cost("lt.cost", item.value))
                names.append(len(names) if item.name is None else item.name)
                continue
            if isinstance(item, Loop):
                loop, raw, parts, own = outline_loop(item, len(sites), num_runs, (len(sites),))
                reply = mark(raw, len(sites))
                made_of.append((_arrays(raw), parts))
                sites.append(loop)
            else:
                site = site_outline(item, len(sites), num_runs)
                raw = site.estimator.example(_noise.example(site.noise), item.dist)
                reply = mark(raw, len(sites))
                made_of.append(_made_of(item, raw, reply))
                own = _arrays(item.estimator)
                sites.append(site)
            estimators.append(own)
        return costs, made_of, estimators

    found = credit(run)
    if not list(leaves_of(sites, SiteOutline)):
        raise ValueError(
            "the program yields no lt.sample: nothing is random. Call the function itself."
        )
    if not names and not list(leaves_of(sites, CostOutline)):
        raise ValueError(
            "the program yields no lt.cost: there is nothing to take the expectation of. Yield lt.cost(…)."
        )
    _check_estimators(sites, found)
    named = [
        dataclasses.replace(s, name=n)
        for s, n in zip(sites, unique("lt.sample", [s.name for s in sites]))
    ]
    return Outline(
        named,
        unique("lt.cost", names),
        lambda costs: _same(found.costs, costs),
        lambda i: found.sites[i],
        found,
    )


def outline_loop(
    item: Loop, index: int, num_runs: int, path: tuple[int, ...]
) -> tuple[LoopOutline, Any, list[Any], list[Any]]:
    """The outline of a loop, what it replies, what each of its items is made of, and its estimators' leaves."""
    items: list[Any] = []

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        items.clear()
        running, reply = begin_step(item, carry, x), None
        parts: list[Any] = []
        estimators: list[Any] = []
        while (yielded := running.advance(reply)) is not None:
            reply = None
            number = sum(isinstance(i, CostOutline) == isinstance(yielded, Cost) for i in items)
            here = (*path, len(items))
            if isinstance(yielded, Cost):
                parts.append(checks.scalar_cost("lt.cost", yielded.value))
                items.append(CostOutline(number if yielded.name is None else yielded.name))
            elif isinstance(yielded, Loop):
                inner, reply, made_of, own = outline_loop(yielded, number, num_runs, here)
                parts.append(made_of)
                estimators += own
                items.append(inner)
            else:
                check_in_loop("lt.scan", yielded)
                site = site_outline(yielded, number, num_runs)
                raw = site.estimator.example(_noise.example(site.noise), yielded.dist)
                reply = mark_inside(raw, here)
                parts.append(_made_of(yielded, raw, reply))
                estimators += _arrays(yielded.estimator)
                items.append(site)
        carry, y = step_result(running.value)
        return carry, (y, parts, estimators)

    carry, (ys, parts, estimators) = _mesh.scan(body, item.carry, item.xs, item.length)
    if not items:
        raise ValueError(
            "the step of lt.scan yields no lt.sample and no lt.cost. Use jax.lax.scan."
        )
    unique("lt.sample", [i.name for i in items if not isinstance(i, CostOutline)])
    unique("lt.cost", [i.name for i in items if isinstance(i, CostOutline)])
    steps = jax.tree.leaves(item.xs)
    length = item.length if not steps else jnp.shape(steps[0])[0]
    assert length is not None  # lax.scan has checked it
    name = index if item.name is None else item.name
    return LoopOutline(name, length, tuple(items)), (carry, ys), parts, estimators


def begin_step(item: Loop, carry: Any, x: Any) -> Running:
    return Running(start(item.step, (carry, x))())


def step_result(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise TypeError(
            f"the step of lt.scan must return (carry, y); got {type(value).__name__}. Write `return carry, y`."
        )
    return value


def check_in_loop(where: str, item: Sample) -> None:
    """What is legal inside a loop over time."""
    name = type(item.estimator).__name__
    if not item.estimator.one_point:
        raise ValueError(
            f"{where}: {name} is no one-point estimator: it needs the rest of the program at each draw, and a loop's step has "
            "none (k points in each of T steps would be k^T in all). Use ScoreFunction() or Pathwise() inside the step, or "
            "draw outside of the loop."
        )
    specs = jax.tree.leaves(item.estimator.noise_spec(item.dist), is_leaf=_noise.is_noise)
    if any(type(spec) not in INDEPENDENT for spec in specs):
        raise ValueError(
            f"{where}: the noise of {name} depends from run to run, and a loop's rows are steps as well. Use the plan IID()."
        )


def single(item: Sample, num_runs: int, credits: Callable[[int], list[tuple[int, ...]]]) -> Outline:
    """The outline of one site without a run; who is credited is looked up only where there are several costs."""
    look_up: Callable[[int], list[tuple[int, ...]]] = lambda costs: (
        [(0,)] if costs == 1 else credits(costs)
    )
    return Outline([site_outline(item, 0, num_runs)], range(2**31), look_up, lambda i: (0,))


def _same(credits: list[tuple[int, ...]], costs: int) -> list[tuple[int, ...]]:
    if len(credits) != costs:
        raise changed(f"costs ({costs} and {len(credits)})")
    return credits


def _check_estimators(sites: list[Any], found: Credit) -> None:
    """An estimator that learns is handed back with its statistics advanced, so it must not be of the trace."""
    for site, unknown in zip(sites, found.unknown):
        for name, inner in leaves_of([site], SiteOutline):
            if unknown and inner.estimator.adaptive:
                raise ValueError(
                    f"the estimator of site {name!r} learns and was made inside the program from what only a run knows. "
                    "Make it outside and pass it in."
                )


def _arrays(tree: Any) -> list[Any]:
    """The leaves that can depend on anything: those that are traced."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_tracer(leaf)]


def _made_of(item: Sample, raw: Any, draw: Any) -> tuple[list[Any], list[Any]]:
    """Everything that a draw depends on besides noise: what its law is made of, the leaves of its distribution and of its
    estimator (points may depend on a temperature); where functions may close over more, what these functions give: the
    log-prob, and the draw itself (apart, since a sampler may compare and round)."""
    dist: Distribution = item.dist
    parts = _arrays((dist, item.estimator))
    return ([*parts, dist.log_prob(draw)], _arrays(raw)) if dist.opaque else (parts, [])


def unique(where: str, names: list[Any]) -> list[Any]:
    """The names, all of them strings where one is, so that they can be the keys of one dictionary."""
    names = [str(n) for n in names] if any(isinstance(n, str) for n in names) else names
    if len(set(names)) < len(names):
        twice = sorted({str(n) for n in names if names.count(n) > 1})
        raise ValueError(
            f"{where}(name=…) must be unique in a program; got {twice} more than once."
        )
    return names

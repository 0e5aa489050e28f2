"""The outline of a program, from one abstract run: its sites, its costs, who is credited with what."""

import dataclasses
import inspect
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks, noise as _noise
from logtrick._core.kernel import is_array
from logtrick.estimators import Estimator
from logtrick.programs._credit import credit, mark
from logtrick.programs._items import Cost, Sample

Start = Callable[[], Generator[Any, Any, Any]]


@dataclasses.dataclass(frozen=True)
class SiteOutline:
    """One site: its name, estimator, noise, and f's evaluations per draw."""

    name: Any
    estimator: Estimator
    noise: Any
    evaluations: int


@dataclasses.dataclass(frozen=True)
class Outline:
    """A program's sites and costs, in the order of their yields.

    Attributes:
      sites: what is drawn.
      cost_names: what is paid.
      credits: from the number of costs, for each cost its sites.
    """

    sites: list[SiteOutline]
    cost_names: Sequence[Any]
    credits: Callable[[int], list[tuple[int, ...]]]


def start(program: Any, args: tuple[Any, ...]) -> Start:
    """A function that starts the program anew."""
    if inspect.isgenerator(program):
        raise TypeError("a program is run several times; got a running generator. Pass the generator function itself.")
    if not callable(program):
        raise TypeError(f"a program is a generator function; got {type(program).__name__}. Write `def program(): yield …`.")

    def begin() -> Generator[Any, Any, Any]:
        running = program(*args)
        if not inspect.isgenerator(running):
            raise TypeError(
                "a program is a generator function that yields lt.sample(…) and lt.cost(…); got one that returned "
                f"{type(running).__name__}. Write `x = yield lt.sample(…)` and `yield lt.cost(…)`."
            )
        return running

    return begin


def advance(running: Generator[Any, Any, Any], reply: Any) -> Any:
    """The next item that the program yields, or None at its end."""
    try:
        item = running.send(reply)
    except StopIteration:
        return None
    if not isinstance(item, Sample | Cost):
        raise TypeError(f"a program yields lt.sample(…) or lt.cost(…); got {type(item).__name__}. Wrap it in lt.cost.")
    return item


def site_outline(item: Sample, index: int, num_runs: int) -> SiteOutline:
    item.estimator.check(item.dist, num_runs)
    name = index if item.name is None else item.name
    return SiteOutline(
        name, item.estimator, item.estimator.noise_spec(item.dist), item.estimator.count_evaluations(item.dist)
    )


def outline(begin: Start, num_runs: int) -> Outline:
    """Run the program abstractly, once."""
    sites: list[SiteOutline] = []
    names: list[Any] = []

    def run() -> tuple[list[Any], list[list[Any]]]:
        sites.clear(), names.clear()
        running, reply, costs, made_of = begin(), None, [], []
        while (item := advance(running, reply)) is not None:
            reply = None
            if isinstance(item, Cost):
                costs.append(checks.scalar_cost("lt.cost", item.value))
                names.append(len(names) if item.name is None else item.name)
                continue
            site = site_outline(item, len(sites), num_runs)
            raw = site.estimator.example(_noise.example(site.noise), item.dist)
            reply = mark(raw, len(sites))
            sites.append(site)
            made_of.append(_made_of(item.dist, raw, reply))
        return costs, made_of

    credits = credit(run)
    if not sites:
        raise ValueError("the program yields no lt.sample: nothing is random. Call the function itself.")
    if not names:
        raise ValueError("the program yields no lt.cost: there is nothing to take the expectation of. Yield lt.cost(…).")
    site_names = _unique("lt.sample", [s.name for s in sites])
    named = [dataclasses.replace(s, name=n) for s, n in zip(sites, site_names)]
    return Outline(named, _unique("lt.cost", names), lambda costs: _same(credits, costs))


def single(item: Sample, num_runs: int, credits: Callable[[int], list[tuple[int, ...]]]) -> Outline:
    """The outline of one site without a run; who is credited is looked up only where there are several costs."""
    look_up = lambda costs: [(0,)] if costs == 1 else credits(costs)
    return Outline([site_outline(item, 0, num_runs)], range(2**31), look_up)


def _same(credits: list[tuple[int, ...]], costs: int) -> list[tuple[int, ...]]:
    if len(credits) != costs:
        raise ValueError(
            f"the program has {costs} costs in one run and {len(credits)} in another. Its structure must not change."
        )
    return credits


def _made_of(dist: Any, raw: Any, draw: Any) -> list[Any]:
    """Everything that a site's distribution depends on: its leaves, and where functions may close over more, what these
    functions give."""
    parts = [leaf for leaf in jax.tree.leaves(dist) if is_array(leaf)]
    if dist.opaque:
        parts += [*jax.tree.leaves(raw), dist.log_prob(draw)]
    return [jnp.asarray(p) for p in parts]


def _unique(where: str, names: list[Any]) -> list[Any]:
    """The names, all of them strings where one is, so that they can be the keys of one dictionary."""
    names = [str(n) for n in names] if any(isinstance(n, str) for n in names) else names
    if len(set(names)) < len(names):
        twice = sorted({str(n) for n in names if names.count(n) > 1})
        raise ValueError(f"{where}(name=…) must be unique in a program; got {twice} more than once.")
    return names

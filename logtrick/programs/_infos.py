"""Descriptions of a program's parts: sites, costs, keys, loops and plates, and the credit between sites and costs.

Each description says of itself what it `draws` (everything but a cost takes noise), whether that is `random`, whether it
`branches`, and which `items` are inside of it.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import jax

from logtrick import noise as _noise
from logtrick.estimators import Estimator
from logtrick.noise import KeyPerRun, Steps
from logtrick.programs._credit import Credit
from logtrick.programs._walk import changed

Path = tuple[int, ...]
# Eager calls ask for these, and a generator would be a Python call for each.
_SIZE, _RANDOM = operator.attrgetter("size"), operator.attrgetter("random")


@dataclasses.dataclass(frozen=True)
class SiteInfo:
    """One site.

    Attributes:
      name: the given one, or its index.
      family: of its distribution.
      estimator: of its gradient.
      noise: what the estimator asks for.
      event_size: how many numbers a draw has; 0 where that is not declared.
      evaluations: of f per sample.
      branches: its estimator evaluates the rest of the program at several points, or differentiates
        it.
      factorized: its distribution is a product over the entries of a draw.
    """

    name: Any
    family: str
    estimator: Estimator
    noise: Any
    event_size: int
    evaluations: int = 0
    branches: bool = False
    factorized: bool = False
    draws: ClassVar[bool] = True
    items: "ClassVar[tuple[Info, ...]]" = ()

    @functools.cached_property
    def noises(self) -> list[Any]:
        """The declarations of noise in the tree that the estimator asks for."""
        return jax.tree.leaves(self.noise, is_leaf=_noise.is_noise)

    @property
    def size(self) -> int:
        """How many numbers a sample needs here: those of its noise, or of its draw."""
        return max(self.event_size, sum(map(_SIZE, self.noises)))

    @property
    def table(self) -> int:
        """At how many points what depends on this draw is evaluated, and only that; 1 where `evaluations` counts everything."""
        return self.evaluations if self.estimator.sums_out else 1

    @property
    def random(self) -> bool:
        """Whether the site draws anything."""
        return bool(set(map(type, self.noises)) - {_noise.NoNoise})


@dataclasses.dataclass(frozen=True)
class CostInfo:
    """One cost."""

    name: Any
    draws: ClassVar[bool] = False
    random: ClassVar[bool] = False
    items: "ClassVar[tuple[Info, ...]]" = ()


@dataclasses.dataclass(frozen=True)
class KeyInfo:
    """One key of each sample's own."""

    name: Any
    noise: Any
    size: int = 2
    draws: ClassVar[bool] = True
    random: ClassVar[bool] = True
    branches: ClassVar[bool] = False
    items: "ClassVar[tuple[Info, ...]]" = ()
    table: ClassVar[int] = 1


def key_info(index: int) -> KeyInfo:
    """The key at a position among the sites."""
    return KeyInfo(f"key {index}", KeyPerRun())


@dataclasses.dataclass(frozen=True)
class LoopInfo:
    """One loop over time: the draws and costs of each step, in the order of its statements.

    Attributes:
      remembered: in a loop whose draws are summed out, for each leaf of the carry whether it depends on them; None for
        other loops.
    """

    name: Any
    length: int
    items: "tuple[Info, ...]"
    remembered: tuple[bool, ...] | None = None
    draws: ClassVar[bool] = True

    @property
    def outcomes(self) -> int:
        """How many outcomes a step has, in a loop whose draws are summed out."""
        return math.prod(item.table for item in self.items if isinstance(item, SiteInfo))

    @property
    def branches(self) -> bool:
        """Whether the rest of the program is evaluated at several points: the outcomes of the last step."""
        return self.remembered is not None

    @property
    def table(self) -> int:
        """As `SiteInfo.table`: each outcome of the step before with each of the step."""
        return 1 if self.remembered is None else self.outcomes**2

    @property
    def noise(self) -> list[Any]:
        """The noise of all steps, for each item that draws."""
        return [] if self.remembered is not None else repeated(self.items, self.length)

    @property
    def size(self) -> int:
        return self.length * sizes(self.items)

    @property
    def random(self) -> bool:
        return any(item.random for item in self.items)


@dataclasses.dataclass(frozen=True)
class PlateInfo:
    """One plate of independent elements.

    Attributes:
      length: how many elements there are.
      used: how many of them each sample uses.
      element: the structure of one element.
      branches: the rest of the program is evaluated once more for each element, with what stands in for its reply.
    """

    name: Any
    length: int
    used: int
    element: "Structure"
    branches: bool = False
    table: ClassVar[int] = 1
    draws: ClassVar[bool] = True

    @property
    def items(self) -> "tuple[Info, ...]":
        return self.element.items

    @property
    def noise(self) -> list[Any]:
        """Uniforms that choose the elements, where not all are used, and the noise of each item that draws."""
        chooser = [_noise.Uniform((self.length,))] if self.used < self.length else []
        return [chooser, repeated(self.element.items, self.used)]

    @property
    def size(self) -> int:
        return self.used * sizes(self.items)

    @property
    def random(self) -> bool:
        return self.used < self.length or self.element.random


Info = SiteInfo | CostInfo | KeyInfo | LoopInfo | PlateInfo


def sizes(items: Sequence[Any]) -> int:
    """How many numbers the items draw in a sample."""
    return sum(item.size for item in items if item.draws)


def repeated(items: Sequence[Any], count: int) -> list[Any]:
    """The noise of `count` repeats of the items that draw."""
    specs = [item.noise for item in items if item.draws]
    as_steps = lambda noise: Steps(noise, count)
    return [jax.tree.map(as_steps, spec, is_leaf=_noise.is_noise) for spec in specs]


@dataclasses.dataclass(frozen=True)
class Structure:
    """A program's statements, and which sites each cost is credited to.

    Attributes:
      items: what each statement is, in their order.
      credit: what the abstract run found; None for a single site, which is credited with every
        cost.
      nests: whether expectations are nested in the steps of loops.
    """

    items: tuple[Info, ...]
    credit: Credit | None = None
    nests: bool = False

    @functools.cached_property
    def sites(self) -> list[Any]:
        """The items that draw, in order: a loop, a plate and a key are one site each. Credit refers to these positions."""
        return [item for item in self.items if item.draws]

    @property
    def cost_names(self) -> list[Any]:
        """The names of the costs outside of loops and plates."""
        return [item.name for item in self.items if not item.draws]

    def credited(self, cost: int) -> Path:
        """The sites that are credited with a cost."""
        if self.credit is None:
            return (0,)
        if cost >= len(self.credit.costs):
            raise changed("costs")
        return self.credit.costs[cost]

    def ancestors(self, site: int) -> Path:
        """A site, and those whose draws its distribution depends on: all are credited with costs that depend on its draw."""
        return (0,) if self.credit is None else self.credit.sites[site]

    def largest_table(self) -> int:
        """The evaluations that draws that are summed out take: of what depends on the largest table of them."""
        scopes = [frozenset({0})] if self.credit is None else self.credit.scopes
        tables = [site.table for site in self.sites]
        return max(1, *(math.prod(tables[site] for site in scope) for scope in scopes))

    def reply_depends_on(self, site: int) -> bool:
        """Whether what the program returns depends on the draw of a site."""
        return self.credit is None or site in self.credit.reply

    @functools.cached_property
    def all_sites(self) -> list[tuple[Any, SiteInfo]]:
        """Every site by its full name, those of loops and plates as "loop.site"."""
        found = list(leaves_of(self.items, SiteInfo))
        unique("lt.sample", [name for name, _ in found])
        return found

    @functools.cached_property
    def blocks(self) -> list[tuple[Any, int | None]]:
        """For each site, how many consecutive samples depend on each other; None for all of them."""
        return [(name, leaf.block) for name, site in self.all_sites for leaf in site.noises]

    @functools.cached_property
    def random(self) -> bool:
        """Whether anything is drawn."""
        return any(map(_RANDOM, self.items))

    def check_end(self, sites: int, costs: int) -> None:
        """A sample has as many sites and costs as the abstract run had."""
        if sites != len(self.sites):
            raise changed("sites")
        if self.credit is not None and costs != len(self.credit.costs):
            raise changed(f"costs ({costs} and {len(self.credit.costs)})")


def by_item(items: Sequence[Any], sites: dict[int, Any], costs: dict[int, Any]) -> list[Any]:
    """Merge values by the position of each site and of each cost into one list, in the order of the items."""
    site, cost, found = 0, 0, []
    for item in items:
        if item.draws:
            found.append(sites.get(site))
            site += 1
        else:
            found.append(costs.get(cost))
            cost += 1
    return found


def leaves_of(
    items: Sequence[Any], kind: type, values: Any = None, prefix: str = ""
) -> Iterator[tuple[Any, Any]]:
    """Items of one `kind`, those of loops and plates included, by their full names; with `values`, the values instead."""
    values = items if values is None else values
    for item, value in zip(items, values):
        name = f"{prefix}{item.name}" if prefix else item.name
        if isinstance(item, kind):
            yield name, value
        elif item.items:
            inner = item.items if value is item else value or [None] * len(item.items)
            yield from leaves_of(item.items, kind, inner, f"{name}.")


def unique(where: str, names: list[Any]) -> list[Any]:
    """The names, none of them twice."""
    if len(set(names)) < len(names):
        twice = sorted({str(n) for n in names if names.count(n) > 1})
        raise ValueError(
            f"{where}(name=…) must be unique in a program; got {twice} more than once."
        )
    return names

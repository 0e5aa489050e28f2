"""Descriptions of a program's statements, as the abstract run finds them, and the credit between its sites and costs.

Each description says of itself by which function of `lt` it was `called`, whether it `draws` (everything but a cost takes
noise), whether that is `random`, whether it `branches` (the rest of the program is evaluated at several points, or
differentiated), by which `method`, and which `items` are inside of it.
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

Group = tuple[int, ...]  # the sites that are credited with a cost, in order
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
    called: ClassVar[str] = "sample"
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
    def sums_out(self) -> bool:
        """Whether the draw is summed out one at a time (`VariableElimination`)."""
        return self.estimator.sums_out

    @property
    def table(self) -> int:
        """The number of outcomes of a draw that is summed out: what depends on it, and only that, is evaluated at each.

        1 for other draws, for which everything later is evaluated as often as `evaluations` says.
        """
        return self.evaluations if self.estimator.sums_out else 1

    @property
    def random(self) -> bool:
        """Whether the site draws anything."""
        return bool(set(map(type, self.noises)) - {_noise.NoNoise})

    @property
    def method(self) -> str:
        return type(self.estimator).__name__


@dataclasses.dataclass(frozen=True)
class CostInfo:
    """One cost."""

    name: Any
    called: ClassVar[str] = "cost"
    draws: ClassVar[bool] = False
    random: ClassVar[bool] = False
    sums_out: ClassVar[bool] = False
    method: ClassVar[str] = "lt.cost"
    table: ClassVar[int] = 1
    items: "ClassVar[tuple[Info, ...]]" = ()


@dataclasses.dataclass(frozen=True)
class KeyInfo:
    """A key that `lt.fresh_key` gives, another one in each sample."""

    name: Any
    noise: Any
    size: int = 2
    called: ClassVar[str] = "fresh_key"
    draws: ClassVar[bool] = True
    random: ClassVar[bool] = True
    branches: ClassVar[bool] = False
    sums_out: ClassVar[bool] = False
    method: ClassVar[str] = "lt.fresh_key"
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
    called: ClassVar[str] = "scan"
    draws: ClassVar[bool] = True
    sums_out: ClassVar[bool] = False

    @property
    def outcomes(self) -> int:
        """How many outcomes a step has, in a loop whose draws are summed out."""
        return math.prod(item.table for item in self.items)

    @property
    def branches(self) -> bool:
        """Whether the rest of the program is evaluated at several points: the outcomes of the last step."""
        return self.remembered is not None

    @property
    def method(self) -> str:
        return "VariableElimination" if self.branches else "lt.scan"

    @property
    def table(self) -> int:
        """As `SiteInfo.table`: each outcome of the step before, with each outcome of the step."""
        return self.outcomes**2 if self.branches else 1

    @property
    def noise(self) -> list[Any]:
        """The noise of all steps, for each item that draws."""
        return [] if self.branches else repeated(self.items, self.length)

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
    called: ClassVar[str] = "plate"
    table: ClassVar[int] = 1
    draws: ClassVar[bool] = True
    sums_out: ClassVar[bool] = False

    @property
    def items(self) -> "tuple[Info, ...]":
        return self.element.items

    @property
    def noise(self) -> list[Any]:
        """Uniforms that choose the elements, where not all are used, and the noise of each item that draws."""
        chooser = [_noise.Uniform((self.length,))] if self.used < self.length else []
        return [chooser, repeated(self.items, self.used)]

    @property
    def size(self) -> int:
        return self.used * sizes(self.items)

    @property
    def random(self) -> bool:
        return self.used < self.length or self.element.random

    @property
    def method(self) -> str:
        return "lt.plate(stand_in=…)" if self.branches else "lt.plate"


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

    A statement has a position among all items. An item that draws is also a site: it has a number among the sites, as a
    cost has one among the costs. Credit refers to these numbers.

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
        """The items that draw, in order: a loop, a plate and a key are one site each."""
        return [item for item in self.items if item.draws]

    @functools.cached_property
    def numbers(self) -> list[int]:
        """For each item its number, among the sites or among the costs."""
        found, sites = [], 0
        for position, item in enumerate(self.items):
            found.append(sites if item.draws else position - sites)
            sites += item.draws
        return found

    @property
    def cost_names(self) -> list[Any]:
        """The names of the costs outside of loops and plates."""
        return [item.name for item in self.items if not item.draws]

    @functools.cached_property
    def groups(self) -> list[Group]:
        """For each item the sites that are credited with its costs.

        For a cost these are the sites that it depends on, directly or through the distributions of others; for the costs
        inside of a loop or plate, the site itself and those that its distribution depends on.
        """
        if self.credit is None:
            return [(0,)] * len(self.items)
        of_sites, of_costs = self.credit.sites, self.credit.costs
        numbered = zip(self.items, self.numbers)
        return [of_sites[n] if item.draws else of_costs[n] for item, n in numbered]

    def largest_table(self) -> int:
        """How often the cost or distribution that depends on the most outcomes of summed-out draws is evaluated."""
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
        check_unique("lt.sample", [name for name, _ in found])
        return found

    @functools.cached_property
    def blocks(self) -> list[tuple[Any, int | None]]:
        """For each site, how many consecutive samples depend on each other; None for all of them."""
        return [(name, leaf.block) for name, site in self.all_sites for leaf in site.noises]

    @functools.cached_property
    def random(self) -> bool:
        """Whether anything is drawn."""
        return any(map(_RANDOM, self.items))


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


def check_unique(where: str, names: list[Any]) -> None:
    """No name is given twice."""
    if len(set(names)) < len(names):
        twice = sorted({str(n) for n in names if names.count(n) > 1})
        raise ValueError(
            f"{where}(name=…) must be unique in a program; got {twice} more than once."
        )

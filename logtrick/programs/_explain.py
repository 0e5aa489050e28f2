"""`lt.explain`: what a program does with its gradient, and what looks wrong."""

import dataclasses
import html
import math
from typing import Any

import jax
import numpy as np

from logtrick._core.calls import in_words
from logtrick.estimators import DifferentiableCost
from logtrick.programs._arguments import check_program_arguments
from logtrick.programs._credit import Sites, dependencies, marked
from logtrick.programs._infos import (
    CostInfo,
    LoopInfo,
    PlateInfo,
    SiteInfo,
    Structure,
    leaves_of,
)
from logtrick.programs._separable import separable_sites
from logtrick.programs._statements import Program
from logtrick.programs._structure import structure_of
from logtrick.programs._walk import start

_COMPARE = frozenset({"gt", "lt", "ge", "le", "eq", "ne"})
_STEPS = frozenset({"round", "floor", "ceil", "sign", "argmax", "argmin"})


@dataclasses.dataclass(frozen=True)
class SiteRow:
    """One site of an explained program."""

    name: Any
    distribution: str
    estimator: str
    baseline: str
    costs: tuple[Any, ...]
    biased: bool
    max_order: float
    evaluations: int


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """What `lt.explain` found; prints as a table.

    Attributes:
      sites: a row for each site, in the order of their yields; those in loops as "loop.site".
      warnings: what looks wrong, in words.

    Example:
      >>> import logtrick as lt
      >>> lt.programs.Explanation((), ("nothing is random",)).warnings
      ('nothing is random',)
    """

    sites: tuple[SiteRow, ...]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        counts = [(len(self.sites), "site"), (len(self.warnings), "warning")]
        told = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts)
        return f"Explanation of {told}: print it for the table"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        head = (
            "site",
            "distribution",
            "estimator",
            "baseline",
            "credited with",
            "biased",
            "order",
            "evaluations",
        )
        rows = [head]
        for s in self.sites:
            order = "any" if s.max_order == math.inf else str(int(s.max_order))
            costs, biased = (
                ", ".join(map(str, s.costs)) or "nothing",
                "BIASED" if s.biased else "no",
            )
            rows.append(
                (
                    str(s.name),
                    s.distribution,
                    s.estimator,
                    s.baseline,
                    costs,
                    biased,
                    order,
                    str(s.evaluations),
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])


@in_words("lt.explain")
def explain(program: Program, *args: Any, num_samples: int = 16) -> Explanation:
    """Print and return, for each site of a program: its estimator, baseline, the costs credited to it, bias, order, cost.

    Warns of a discontinuity (a comparison, round, floor, argmax, sign) between the draw of an
    estimator that differentiates f and a cost, inside the steps of an `lt.scan` too, which makes
    the pathwise gradient wrong; of a site that no cost depends on; of a cost that no site
    reaches; and of a site of independent factors whose cost is a sum over them, which `lt.plate`
    estimates with a fraction of the variance. Nothing is drawn.

    Args:
      program: a generator function, as for `lt.expect_program`.
      args: its arguments.
      num_samples: the samples that it is meant for; legality may depend on it.
    Returns:
      An `Explanation`.
    Raises:
      TypeError, ValueError: as `lt.expect_program` would.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> def program(mu):
      ...     z = yield lt.sample(lt.Normal(mu, 1.0), lt.Pathwise(), name="z")
      ...     yield lt.cost(jnp.where(z > 0, 1.0, 0.0), name="step")
      >>> found = lt.explain(program, 0.0)
      site  distribution  estimator  baseline  credited with  biased  order  evaluations
      z     Normal        Pathwise   -         step           no      any    1
      warning: cost 'step' depends on the draw of 'z' through a discontinuity (gt), which Pathwise cannot see. Use
      ScoreFunction().
    """
    check_program_arguments("lt.explain", program, args)
    structure = structure_of(start(program, args), num_samples)
    found = Explanation(tuple(_rows(structure)), tuple(_warnings(structure)))
    print(found)
    return found


def _rows(structure: Structure) -> list[SiteRow]:
    credited = _credited_costs(structure)
    rows = []
    for name, site in structure.all_sites():
        estimator = site.estimator
        baseline = getattr(estimator, "baseline", None)
        rows.append(
            SiteRow(
                name,
                site.family,
                type(estimator).__name__,
                "-" if baseline is None else type(baseline).__name__,
                tuple(credited[name]),
                not estimator.unbiased,
                estimator.max_order,
                site.evaluations,
            )
        )
    return rows


def _credited_costs(structure: Structure, prefix: str = "") -> dict[Any, list[Any]]:
    """For each site, in loops and plates too, the full names of the costs that are credited to it."""
    assert structure.credit is not None
    found, result = structure.credit, dict[Any, list[Any]]()
    full = lambda name: f"{prefix}{name}" if prefix else name
    for index, site in enumerate(structure.sites):
        after = [full(n) for n, s in zip(structure.cost_names, found.costs) if index in s]
        # the costs of a loop or plate are credited to everything that its draws depend on
        for i, other in enumerate(structure.sites):
            if (
                other.items
                and index in found.sites[i]
                and (i != index or isinstance(other, LoopInfo))
            ):
                after += [full(name) for name, _ in leaves_of([other], CostInfo)]
        if isinstance(site, PlateInfo):
            own = _credited_costs(site.element, f"{full(site.name)}.")
            replies = {n for n, s in _element_sites(site, full) if site.element.reply_depends_on(s)}
            for name, costs in own.items():
                result[name] = costs + (after if name in replies else [])
            continue
        for name, _ in leaves_of([site], SiteInfo):
            result[full(name)] = (
                after  # by time: a step's later costs, later steps', and those after the loop
            )
    return result


def _element_sites(plate: PlateInfo, full: Any) -> list[tuple[Any, int]]:
    """The full names of the sites of a plate's element, and which of the element's statements they belong to."""
    return [
        (f"{full(plate.name)}.{name}", position)
        for position, item in enumerate(plate.element.sites)
        for name, _ in leaves_of([item], SiteInfo)
    ]


def _warnings(structure: Structure) -> list[str]:
    assert structure.credit is not None
    found, rows = structure.credit, _credited_costs(structure)
    warnings = [
        f"no cost depends on the draw of {name!r}: it adds nothing. Leave it out."
        for name, costs in rows.items()
        if not costs
    ]
    for name, sites in zip(structure.cost_names, found.costs):
        if not sites:
            warnings.append(
                f"cost {name!r} depends on no draw: no site reaches it, and it needs no expectation."
            )
    return warnings + separable_sites(structure) + _discontinuities(structure)


def _discontinuities(structure: Structure) -> list[str]:
    """Costs that depend on the draw of an estimator that differentiates f through a discontinuity."""
    assert structure.credit is not None
    sites = structure.all_sites()
    smooth = frozenset(
        i for i, (_, site) in enumerate(sites) if DifferentiableCost in site.estimator.needs
    )
    if not smooth:
        return []
    walk = _Jumps(smooth, _paths(structure.sites))
    found = dependencies(structure.credit.jaxpr, [], walk.refine)
    outside, made_of, *_ = jax.tree.unflatten(structure.credit.tree, found)
    parts = [part[1] if site.items else part for site, part in zip(structure.sites, made_of)]
    laws = leaves_of(structure.sites, SiteInfo, parts)
    through = [frozenset[int]().union(*law) for _, (law, _) in laws]
    warnings = []
    for name, part in [
        *zip(structure.cost_names, outside),
        *leaves_of(structure.sites, CostInfo, parts),
    ]:
        for s in sorted(_jumps(_with_ancestors(part, through))):
            named, site = sites[s]
            warnings.append(
                f"cost {name!r} depends on the draw of {named!r} through a discontinuity ({walk.seen[s]}), which "
                f"{type(site.estimator).__name__} cannot see. Use ScoreFunction()."
            )
    return warnings


def _paths(items: Any, prefix: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """The path of each site through loops and plates, in the order of `leaves_of`."""
    paths: list[tuple[int, ...]] = []
    sites = [item for item in items if not isinstance(item, CostInfo)]
    for i, item in enumerate(sites):
        if isinstance(item, SiteInfo):
            paths.append((*prefix, i))
        else:
            paths += _paths(item.items, (*prefix, i))
    return paths


def _with_ancestors(labels: Sites, through: list[Sites]) -> Sites:
    """The labels, and those of the distributions of the draws among them, transitively."""
    while (more := labels.union(*(through[s] for s in labels if s >= 0))) != labels:
        labels = more
    return labels


def _jumps(labels: Sites) -> Sites:
    return frozenset(-label // 2 - 1 for label in labels if label < 0 and label % 2 == 0)


class _Jumps:
    """Labels beside the sites s ≥ 0: −2s − 1 for a truth value that depends on s, −2s − 2 for a number that jumps with s."""

    def __init__(self, sites: Sites, paths: list[tuple[int, ...]]) -> None:
        self.sites, self.seen = sites, dict[int, str]()
        self.number = {path: i for i, path in enumerate(paths)}

    def _jump(self, sites: Any, name: str) -> Sites:
        for s in sites:
            self.seen.setdefault(s, name)
        return frozenset(-2 * s - 2 for s in sites)

    def refine(self, eqn: Any, ins: list[Sites], outs: list[Sites]) -> list[Sites]:
        every, path = frozenset().union(*ins), marked(eqn)
        if path is not None:  # what a loop replies is what its steps made
            return [frozenset([self.number[path]])] if path in self.number else ins
        if any(
            _is_nan(v) for v in eqn.invars
        ):  # a `where` between a number and nan is a check of legality, not a jump of f
            new, outs = frozenset[int](), [o & every for o in outs]
        else:
            new = self._new(eqn, ins, every)
        # only a truth value is decided; a number made with one has jumped, or not
        return [o | new if _bits(v) else _numeric(o | new) for v, o in zip(eqn.outvars, outs)]

    def _new(self, eqn: Any, ins: list[Sites], every: Sites) -> Sites:
        """The labels that an equation adds."""
        name, smooth = eqn.primitive.name, every & self.sites
        if name in _COMPARE and _floating(eqn.invars[0]):
            for s in smooth:
                self.seen.setdefault(s, name)
            return frozenset(-2 * s - 1 for s in smooth)
        decided = {(-label - 1) // 2 for label in every if label < 0 and label % 2}
        if name in _STEPS:
            return self._jump(smooth, name)
        if name == "convert_element_type":
            turned = (
                smooth
                if _floating(eqn.invars[0]) and not _floating(eqn.outvars[0])
                else frozenset(decided)
            )
            return self._jump(turned, name)
        if name == "select_n":
            chosen = frozenset().union(*ins[1:])
            return self._jump({s for s in decided if s not in chosen}, name)
        if name in ("cond", "while"):
            return self._jump(
                {(-label - 1) // 2 for label in ins[0] if label < 0 and label % 2}, name
            )
        return frozenset()


def _numeric(labels: Sites) -> Sites:
    return frozenset(label for label in labels if label >= 0 or label % 2 == 0)


def _bits(v: Any) -> bool:
    return bool(jax.numpy.issubdtype(getattr(v.aval, "dtype", np.bool_), np.bool_))


def _is_nan(v: Any) -> bool:
    value = getattr(v, "val", None)
    return value is not None and np.ndim(value) == 0 and _floating(v) and bool(np.isnan(value))


def _floating(v: Any) -> bool:
    return bool(jax.numpy.issubdtype(v.aval.dtype, np.floating))

"""`lt.explain`: what a program does with its gradient, and what looks wrong."""

import dataclasses
import html
import math
from typing import Any

from logtrick._core.calls import in_words
from logtrick.programs._arguments import check_program_arguments
from logtrick.programs._discontinuities import discontinuities
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
    for name, site in structure.all_sites:
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
    return warnings + separable_sites(structure) + discontinuities(structure)

"""`lt.explain`: what a program does with its gradient, and what looks wrong."""

import dataclasses
import html
import math
from typing import Any

from logtrick._core.calls import in_words
from logtrick.programs._begin import check_program_arguments, start
from logtrick.programs._discontinuities import discontinuities
from logtrick.programs._infos import CostInfo, KeyInfo, PlateInfo, SiteInfo, Structure, leaves_of
from logtrick.programs._separable import separable_sites
from logtrick.programs._statements import Program
from logtrick.programs._structure import structure_of

_HEAD = ("site", "distribution", "estimator", "baseline", "credited with", "biased", "order", "evaluations")  # fmt: skip


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

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        costs = ", ".join(map(str, self.costs)) or "nothing"
        biased = "BIASED" if self.biased else "no"
        order = "any" if self.max_order == math.inf else str(int(self.max_order))
        how = (self.distribution, self.estimator, self.baseline)
        return (str(self.name), *how, costs, biased, order, str(self.evaluations))


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
        rows = [_HEAD, *(site.cells() for site in self.sites)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
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
    credited = credited_costs(structure)
    rows = [_row(name, site, credited[name]) for name, site in structure.all_sites]
    found = Explanation(tuple(rows), tuple(_warnings(structure, credited)))
    print(found)
    return found


def _row(name: Any, site: SiteInfo, costs: list[Any]) -> SiteRow:
    estimator = site.estimator
    baseline = getattr(estimator, "baseline", None)
    return SiteRow(
        name,
        site.family,
        site.method,
        "-" if baseline is None else type(baseline).__name__,
        tuple(costs),
        not estimator.unbiased,
        estimator.max_order,
        site.evaluations,
    )


def credited_costs(structure: Structure, prefix: str = "") -> dict[Any, list[Any]]:
    """For each site, in loops and plates too, the full names of the costs that are credited to it."""
    assert structure.credit is not None
    credit, found = structure.credit, dict[Any, list[Any]]()
    for number, site in enumerate(structure.sites):
        is_plate = isinstance(site, PlateInfo)
        costs = [
            f"{prefix}{name}" if prefix else name
            for name, group in zip(structure.cost_names, credit.costs)
            if number in group
        ]
        # Costs inside of loops and plates are credited to all that their draws depend on. In a loop also to its own draws,
        # by time: the later costs of the step, and those of later steps.
        for other, item in enumerate(structure.sites):
            if number in credit.sites[other] and not (is_plate and other == number):
                costs += [name for name, _ in leaves_of([item], CostInfo, prefix=prefix)]
        if is_plate:
            found |= _credited_in_elements(site, costs, prefix)
        else:
            found |= {name: costs for name, _ in leaves_of([site], SiteInfo, prefix=prefix)}
    return found


def _credited_in_elements(plate: PlateInfo, after: list[Any], prefix: str) -> dict[Any, list[Any]]:
    """The same for the sites of a plate's element; those that its reply depends on are credited with the costs after it."""
    prefix = f"{prefix}{plate.name}."
    found = credited_costs(plate.element, prefix)
    for number, item in enumerate(plate.element.sites):
        if plate.element.reply_depends_on(number):
            for name, _ in leaves_of([item], SiteInfo, prefix=prefix):
                found[name] = found[name] + after
    return found


def _warnings(structure: Structure, credited: dict[Any, list[Any]]) -> list[str]:
    assert structure.credit is not None
    warnings = [
        f"no cost depends on the draw of {name!r}: it adds nothing. Leave it out."
        for name, costs in credited.items()
        if not costs
    ]
    has_keys = bool(list(leaves_of(structure.items, KeyInfo)))  # a cost may be random by a key
    for name, group in zip(structure.cost_names, structure.credit.costs):
        if not group and not has_keys:
            warnings.append(
                f"cost {name!r} depends on no draw: no site reaches it, and it needs no expectation."
            )
    return warnings + separable_sites(structure) + discontinuities(structure)

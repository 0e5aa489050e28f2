"""Find costs that jump with a draw under an estimator that differentiates f: it cannot see the jump.

One pass over the jaxpr of the abstract run, by `dependencies`, gives every value labels: which draws it depends on; for a
truth value, which draws it was decided by; for a number, with which draws it jumps. A comparison of a number that depends
on a draw gives a truth value decided by it; a `where` on that truth value, or a conversion of it to a number, jumps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from logtrick.estimators import DifferentiableCost
from logtrick.programs._credit import dependencies, marked
from logtrick.programs._infos import CostInfo, SiteInfo, Structure, leaves_of

_COMPARE = frozenset({"gt", "lt", "ge", "le", "eq", "ne"})
_STEPS = frozenset({"round", "floor", "ceil", "sign", "argmax", "argmin"})
DRAW, DECIDED, JUMP = "draw", "decided", "jump"


class Label(NamedTuple):
    """What a value says of a site's draw.

    Attributes:
      kind: DRAW, the value depends on the draw; DECIDED, it is a truth value that a comparison of the draw decided; JUMP,
        it is a number that jumps with the draw.
      site: the site's number among all sites, those of loops and plates included.
    """

    kind: str
    site: int


Labels = frozenset[Label]


def _sites(labels: Labels, kind: str) -> frozenset[int]:
    """The sites that labels of one kind name."""
    return frozenset(label.site for label in labels if label.kind == kind)


def _labels(sites: frozenset[int], kind: str) -> Labels:
    return frozenset(Label(kind, site) for site in sites)


def discontinuities(structure: Structure) -> list[str]:
    """Warnings of costs that depend on the draw of an estimator that differentiates f through a discontinuity."""
    assert structure.credit is not None
    sites = structure.all_sites
    smooth = frozenset(
        i for i, (_, site) in enumerate(sites) if DifferentiableCost in site.estimator.needs
    )
    if not smooth:
        return []
    jumps = _Jumps(smooth, _paths(structure.sites))
    found: Any = dependencies(structure.credit.jaxpr, [], jumps.refine)
    outside, made_of, *_ = jax.tree.unflatten(structure.credit.tree, found)
    parts = [part[1] if site.items else part for site, part in zip(structure.sites, made_of)]
    laws = leaves_of(structure.sites, SiteInfo, parts)
    through = [Labels().union(*law) for _, (law, _) in laws]
    costs = [
        *zip(structure.cost_names, outside),
        *leaves_of(structure.sites, CostInfo, parts),
    ]
    warnings = []
    for cost, part in costs:
        for s in sorted(_sites(_with_ancestors(part, through), JUMP)):
            name, site = sites[s]
            warnings.append(
                f"cost {cost!r} depends on the draw of {name!r} through a discontinuity ({jumps.seen[s]}), which "
                f"{site.method} cannot see. Use ScoreFunction()."
            )
    return warnings


def _paths(items: Sequence[Any], prefix: tuple[int, ...] = ()) -> list[Any]:
    """The paths of the sites through loops and plates, in the order of `leaves_of`. Keys are no sites here."""
    paths: list[Any] = []
    for i, item in enumerate(item for item in items if item.draws):
        path = (*prefix, i)
        if item.items:
            paths += _paths(item.items, path)
        elif isinstance(item, SiteInfo):
            paths.append(path)
    return paths


def _with_ancestors(labels: Labels, through: list[Labels]) -> Labels:
    """The labels, and those of the distributions of the draws among them, transitively."""
    while (more := labels.union(*(through[s] for s in _sites(labels, DRAW)))) != labels:
        labels = more
    return labels


class _Jumps:
    """The labels of one equation after the other.

    Attributes:
      sites: the sites whose estimators differentiate f.
      number: for the path of each site, its number.
      seen: for a site, the first operation that jumps with its draw.
    """

    def __init__(self, sites: frozenset[int], paths: list[Any]) -> None:
        self.sites, self.seen = sites, dict[int, str]()
        self.number = {path: i for i, path in enumerate(paths)}

    def refine(self, eqn: Any, ins: Any, outs: Any) -> Any:
        """The labels of an equation's outputs, from those of its inputs; a `refine` of `dependencies`."""
        every, path = Labels().union(*ins), marked(eqn)
        if path is not None:  # what a loop replies is what its steps made
            return [Labels([Label(DRAW, self.number[path])])] if path in self.number else ins
        if any(_is_nan(v) for v in eqn.invars):
            # a `where` between a number and nan is a check of legality, not a jump of f
            new, outs = Labels(), [o & every for o in outs]
        else:
            new = self._new(eqn, ins, every)
        # only a truth value is decided; a number made with one has jumped, or not
        return [o | new if _bits(v) else _undecided(o | new) for v, o in zip(eqn.outvars, outs)]

    def _new(self, eqn: Any, ins: list[Labels], every: Labels) -> Labels:
        """The labels that an equation adds to those of its inputs."""
        name, smooth = eqn.primitive.name, _sites(every, DRAW) & self.sites
        if name in _COMPARE and _floating(eqn.invars[0]):
            self._see(smooth, name)
            return _labels(smooth, DECIDED)
        if name in _STEPS:
            return self._jump(smooth, name)
        decided = _sites(every, DECIDED)
        if name == "convert_element_type":
            to_whole = _floating(eqn.invars[0]) and not _floating(eqn.outvars[0])
            return self._jump(smooth if to_whole else decided, name)
        if name == "select_n":
            # a choice between numbers that depend on the draw may be continuous, as where(z > 0, z, 0) is
            chosen = _sites(Labels().union(*ins[1:]), DRAW)
            return self._jump(decided - chosen, name)
        if name in ("cond", "while"):
            return self._jump(_sites(ins[0], DECIDED), name)
        return Labels()

    def _jump(self, sites: frozenset[int], name: str) -> Labels:
        self._see(sites, name)
        return _labels(sites, JUMP)

    def _see(self, sites: frozenset[int], name: str) -> None:
        for site in sites:
            self.seen.setdefault(site, name)


def _undecided(labels: Labels) -> Labels:
    return frozenset(label for label in labels if label.kind != DECIDED)


def _bits(v: Any) -> bool:
    return bool(jax.numpy.issubdtype(getattr(v.aval, "dtype", np.bool_), np.bool_))


def _is_nan(v: Any) -> bool:
    value = getattr(v, "val", None)
    return value is not None and np.ndim(value) == 0 and _floating(v) and bool(np.isnan(value))


def _floating(v: Any) -> bool:
    return bool(jax.numpy.issubdtype(v.aval.dtype, np.floating))

"""Find a site of N independent factors whose cost is a sum of N terms, one for each factor.

The score of every factor is then multiplied with the terms of all others, which are noise to it: the variance is about N
times what it need be. `lt.plate`, or `jax.vmap` of `lt.expect`, gives each factor its own term.

One pass over the jaxpr, by `dependencies`, gives each value that depends on the draw one of three kinds: LOCAL, a vector
whose entry i depends on entry i of the draw alone; SUM, a number that is linear in such entries; MIXED, everything else.
Unknown equations mix.
"""

import functools
from typing import Any

from logtrick.estimators import ARM, ARMS, DisARM, ScoreFunction
from logtrick.programs._credit import called, dependencies, marked
from logtrick.programs._infos import SiteInfo, Structure

_OF_WHOLE_COSTS = (ScoreFunction, ARM, DisARM, ARMS)
_MANY_FACTORS = 4

LOCAL, SUM, MIXED = "local", "sum", "mixed"

_ENTRYWISE = frozenset(
    {
        "abs", "acos", "acosh", "add", "and", "asin", "asinh", "atan",
        "atan2", "atanh", "cbrt", "ceil", "clamp", "convert_element_type", "copy", "copy_p",
        "cos", "cosh", "digamma", "div", "eq", "erf", "erf_inv", "erfc",
        "exp", "exp2", "expm1", "floor", "ge", "gt", "integer_pow", "is_finite",
        "le", "lgamma", "log", "log1p", "logistic", "lt", "max", "min",
        "mul", "ne", "neg", "nextafter", "not", "or", "pow", "rem",
        "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square",
        "stop_gradient", "sub", "tan", "tanh", "xor",
    }
)  # fmt: skip
_LINEAR = frozenset(
    {"add", "sub", "neg", "convert_element_type", "copy", "copy_p", "stop_gradient"}
)
_SCALED = frozenset({"mul", "div"})


def separable_sites(structure: Structure) -> list[str]:
    """A sentence for each site of independent factors whose costs are sums over them, where its estimator uses whole costs.

    Args:
      structure: of a program, with its credit.
    """
    assert structure.credit is not None
    found = []
    for index, site in enumerate(structure.sites):
        if not isinstance(site, SiteInfo) or not site.factorized:
            continue
        if not isinstance(site.estimator, _OF_WHOLE_COSTS):
            continue
        costs = [i for i, sites in enumerate(structure.credit.costs) if index in sites]
        count = separable(structure.credit.jaxpr, costs, index)
        if count >= _MANY_FACTORS:
            found.append(
                f"site {site.name!r} has {count} independent factors and its costs are sums over them, so every factor's score "
                f"is multiplied with the terms of all {count}: about {count} times the needed variance. Take one expectation "
                "for each factor, jax.vmap of lt.expect, or lt.plate(step, xs) in the program."
            )
    return found


def kinds(jaxpr: Any, site: int) -> list[str | None]:
    """For each output of a jaxpr, how it depends on the draw of a site; None where it does not.

    Args:
      jaxpr: an abstract run, its draws marked.
      site: the site's number.
    """
    found: Any = dependencies(jaxpr, [], functools.partial(_labels, site))
    return [_kind(labels) for labels in found]


def _labels(site: int, eqn: Any, ins: Any, outs: Any) -> Any:
    """The kinds of an equation's outputs, each a set of one or none; a `refine` of `dependencies`."""
    draw = marked(eqn)
    if draw == (site,):
        return [frozenset({LOCAL if eqn.outvars[0].aval.ndim == 1 else MIXED})]
    if draw is None and called(eqn) is not None:
        return outs
    if any(ins):
        return [frozenset({_rule(eqn, [_kind(labels) for labels in ins])})] * len(outs)
    if draw is not None:
        return [frozenset()]
    return [frozenset({MIXED}) if labels else labels for labels in outs]  # by hidden state


def _kind(labels: frozenset[str]) -> str | None:
    """The kind that a set of them comes to."""
    return MIXED if len(labels) > 1 else next(iter(labels), None)


def _rule(eqn: Any, ins: list[str | None]) -> str:
    """The kind of the outputs of an equation some of whose inputs depend on the draw."""
    if not eqn.outvars:  # a print of the draw returns nothing
        return MIXED
    name, out = eqn.primitive.name, eqn.outvars[0].aval
    used = [kind for kind in ins if kind is not None]
    if MIXED in used:
        return MIXED
    local = next((v.aval for v, kind in zip(eqn.invars, ins) if kind == LOCAL), None)
    if local is None:  # sums alone
        scaled = name in _SCALED and len(used) == 1 and ins[0] == SUM
        scaled = scaled or (name == "mul" and len(used) == 1)
        return SUM if name in _LINEAR or scaled else MIXED
    if SUM in used:
        return MIXED
    if name in _ENTRYWISE and out.shape == local.shape:
        return LOCAL
    if name == "reduce_sum" and out.ndim == 0:
        return SUM
    if name == "dot_general" and out.ndim == 0 and len(used) == 1:
        return SUM
    return MIXED


def separable(jaxpr: Any, costs: list[int], site: int) -> int:
    """The number of factors of a site whose every cost is a sum over them; 0 where some cost is not.

    Args:
      jaxpr: an abstract run, its draws marked.
      costs: the positions of the costs credited to the site, among the outputs.
      site: the site's number.
    """
    found = kinds(jaxpr, site)
    if not costs or any(found[i] != SUM for i in costs):
        return 0
    draws = [eqn.outvars[0].aval for eqn in jaxpr.eqns if marked(eqn) == (site,)]
    return draws[0].size if len(draws) == 1 else 0

"""Find a site of N independent factors whose cost is a sum of N terms, one for each factor.

The score of every factor is then multiplied with the terms of all others, which are noise to it: the variance is about N
times what it need be. `lt.plate`, or `jax.vmap` of `lt.expect`, gives each factor its own term.

One pass over the jaxpr gives each value one of three kinds: LOCAL, a vector whose entry i depends on entry i of the draw
alone; SUM, a number that is linear in such entries; MIXED, everything else that depends on the draw. What is not in the
table does not depend on it. Unknown equations mix.
"""

from typing import Any

from jax.extend import core

from logtrick.estimators import ARM, ARMS, DisARM, ScoreFunction
from logtrick.programs._credit import marked
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


def kinds(jaxpr: Any, site: int, inputs: tuple[str | None, ...] = ()) -> list[str | None]:
    """For each output of a jaxpr, how it depends on the draw of a site; None where it does not.

    Args:
      jaxpr: an abstract run, its draws marked.
      site: the site's number.
      inputs: the kinds of the jaxpr's inputs.
    """
    env: dict[Any, str] = {v: k for v, k in zip(jaxpr.invars, inputs) if k is not None}
    read = lambda v: None if isinstance(v, core.Literal) else env.get(v)
    for eqn in jaxpr.eqns:
        ins = [read(v) for v in eqn.invars]
        outs = zip(eqn.outvars, _through(eqn, ins, site))
        env.update({v: kind for v, kind in outs if kind is not None})
    return [read(v) for v in jaxpr.outvars]


def _through(eqn: Any, ins: list[str | None], site: int) -> list[str | None]:
    """The kinds of an equation's outputs."""
    if marked(eqn) == (site,):
        return [LOCAL if eqn.outvars[0].aval.ndim == 1 else MIXED]
    inner = _inside(eqn)
    if inner is not None:
        return kinds(inner, site, tuple(ins))
    if not eqn.outvars or all(kind is None for kind in ins):  # a print of the draw returns nothing
        return [None] * len(eqn.outvars)
    return [_rule(eqn, ins)] * len(eqn.outvars)


def _inside(eqn: Any) -> Any:
    """The jaxpr that an equation calls once with its own inputs; None where there is none."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(key)
        found = getattr(found, "jaxpr", found)
        if hasattr(found, "eqns") and len(found.invars) == len(eqn.invars):
            return found if eqn.primitive.name not in ("scan", "while") else None
    return None


def _rule(eqn: Any, ins: list[str | None]) -> str:
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

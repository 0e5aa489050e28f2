"""Which sites a cost is credited to, from the jaxpr of one abstract run.

A site is credited with a cost that depends on its draw directly, or through the *distribution* of a
later site that the cost (transitively) depends on. Without the second half `a ~ Bern(t0);
b ~ Bern(t1 + 2a); cost(b)` silently loses d/dt0. The jaxpr is walked here and not by `dce_jaxpr`,
which credits all to all through custom_jvp, while and debug.print. Unknown equations credit all of
their inputs to all of their outputs; those with state that the jaxpr does not show (mutable
references, ordered host callbacks) also everything that such state has seen before.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import ad, batching

from logtrick._core.compat import scan_sizes

Sites = frozenset[int]
Refine = Callable[[Any, list[Sites], list[Sites]], list[Sites]]
_NONE: Sites = frozenset()
# Effects that carry no values: what is printed, and the names of mesh axes.
_HARMLESS = frozenset({"DebugEffect", "OrderedDebugEffect", "NamedAxisEffect"})


def _identity(name: str) -> core.Primitive:
    """The identity, with a `site`."""
    primitive = core.Primitive(name)
    primitive.def_impl(lambda x, *, site: x)
    primitive.def_abstract_eval(lambda x, *, site: x)
    batching.primitive_batchers[primitive] = lambda xs, dims, *, site: (
        primitive.bind(xs[0], site=site),
        dims[0],
    )
    ad.primitive_jvps[primitive] = lambda xs, ts, *, site: (primitive.bind(xs[0], site=site), ts[0])
    return primitive


_mark_p = _identity("logtrick_mark")  # in the walk its output depends on its site alone
_inside_p = _identity("logtrick_mark_inside")


def mark(x: Any, site: int) -> Any:
    """Mark `x` as the draw of `site`, so that `credit` finds it in the jaxpr."""
    return jax.tree.map(lambda leaf: _mark_p.bind(jax.numpy.asarray(leaf), site=site), x)


def mark_inside(x: Any, path: tuple[int, ...]) -> Any:
    """Mark a draw inside a loop; `credit`, for which a loop is one site, ignores the mark, `refine` may use it."""
    return jax.tree.map(lambda leaf: _inside_p.bind(jax.numpy.asarray(leaf), site=path), x)


def marked(eqn: Any) -> tuple[int, ...] | None:
    """Whose draw an equation marks: (site,), or the path of a site inside a loop; None where it marks nothing."""
    if eqn.primitive is _mark_p:
        return (eqn.params["site"],)
    return eqn.params["site"] if eqn.primitive is _inside_p else None


def _union(sets: Any) -> Sites:
    return _NONE.union(*sets)


def dependencies(jaxpr: Any, inputs: list[Sites], refine: Refine | None = None) -> list[Sites]:
    """For each output of a jaxpr, the sites that it can depend on, given those of its inputs.

    `refine(eqn, ins, outs) -> outs`, called for every equation at every level, may give the outputs other labels.
    """
    env = dict(zip(jaxpr.invars, inputs))
    hidden = _NONE  # what state outside of the jaxpr has seen so far
    for eqn in jaxpr.eqns:
        # A loop and no comprehension: that would be a Python call for every equation of every eager call.
        ins = []
        for v in eqn.invars:
            ins.append(_NONE if isinstance(v, core.Literal) else env.get(v, _NONE))  # noqa: PERF401  # see above
        if eqn.effects and any(type(e).__name__ not in _HARMLESS for e in eqn.effects):
            hidden = hidden.union(*ins)
            outs = [hidden] * len(eqn.outvars)
        elif eqn.primitive.name in _RULES:
            outs = _RULES[eqn.primitive.name](eqn.params, ins, refine)
        elif not _INNER.isdisjoint(eqn.params) and (inner := called(eqn)) is not None:
            outs = dependencies(inner, ins, refine)
        else:
            outs = [_NONE.union(*ins)] * len(eqn.outvars)
        env.update(zip(eqn.outvars, outs if refine is None else refine(eqn, ins, outs)))
    found = []
    for v in jaxpr.outvars:
        found.append(_NONE if isinstance(v, core.Literal) else env.get(v, _NONE))  # noqa: PERF401  # as above
    return found


def _fixed_point(step: Callable[[list[Sites]], list[Sites]], carry: list[Sites]) -> list[Sites]:
    while (new := [old | out for old, out in zip(carry, step(carry))]) != carry:
        carry = new
    return carry


def called(eqn: Any) -> Any:
    """The jaxpr that an equation calls once with its own inputs, as jit does; None where there is none."""
    if eqn.primitive.name in _RULES:
        return None
    for key in sorted(_INNER & eqn.params.keys()):
        inner = eqn.params[key]
        inner = getattr(inner, "jaxpr", inner)
        if len(inner.invars) == len(eqn.invars) and len(inner.outvars) == len(eqn.outvars):
            return inner
    return None


def _mark(params: Any, ins: list[Sites], refine: Refine | None) -> list[Sites]:
    return [frozenset([params["site"]])]


def _open(jaxpr: Any) -> Any:
    return getattr(jaxpr, "jaxpr", jaxpr)


def _scan(params: Any, ins: list[Sites], refine: Refine | None) -> list[Sites]:
    (consts, carries), body = scan_sizes(params), _open(params["jaxpr"])

    def run(carry: list[Sites]) -> list[Sites]:
        return dependencies(body, ins[:consts] + carry + ins[consts + carries :], refine)

    carry = _fixed_point(lambda c: run(c)[:carries], ins[consts : consts + carries])
    return carry + run(carry)[carries:]


def _while(params: Any, ins: list[Sites], refine: Refine | None) -> list[Sites]:
    c, b = params["cond_nconsts"], params["body_nconsts"]
    cond, body = _open(params["cond_jaxpr"]), _open(params["body_jaxpr"])

    def step(carry: list[Sites]) -> list[Sites]:
        test = dependencies(cond, ins[:c] + carry, refine)[0]
        return [s | test for s in dependencies(body, ins[c : c + b] + carry, refine)]

    return _fixed_point(step, ins[c + b :])


def _cond(params: Any, ins: list[Sites], refine: Refine | None) -> list[Sites]:
    branches = [dependencies(_open(branch), ins[1:], refine) for branch in params["branches"]]
    return [ins[0] | _union(outs) for outs in zip(*branches)]


# The parameters under which an equation holds a jaxpr that it calls with its own inputs.
_INNER = frozenset({"jaxpr", "call_jaxpr", "fun_jaxpr"})
_RULES = {"scan": _scan, "while": _while, "cond": _cond, _mark_p.name: _mark}


@dataclasses.dataclass(frozen=True)
class Credit:
    """Which sites are credited with which costs. A site is a number; of several, a sorted tuple.

    Attributes:
      costs: for each cost.
      sites: for each site, itself and those whose draws its distribution depends on, transitively:
        all of these are credited with costs that depend on its draw.
      unknown: for each site, whether its estimator was made inside the program, from traced
        values.
      reply: the sites that what the program returns depends on.
      scopes: for each cost, and each site together with its distribution, the draws that it depends on directly.
      jaxpr: the abstract run; its outputs are of the structure `tree`.
    """

    costs: list[tuple[int, ...]]
    sites: list[tuple[int, ...]]
    unknown: list[bool]
    reply: tuple[int, ...]
    scopes: list[Sites]
    jaxpr: Any
    tree: Any


def _from_outside(jaxpr: Any, var: Any, known: set[Any]) -> bool:
    """Whether `var` is a constant of the trace, as it is or handed through the bodies of loops."""
    if isinstance(var, core.Literal) or var in known:
        return True
    made_by = next((eqn for eqn in jaxpr.eqns if var in eqn.outvars), None)
    if made_by is None or made_by.primitive.name != "scan":
        return False
    body = _open(made_by.params["jaxpr"])
    consts = zip(body.invars[: scan_sizes(made_by.params)[0]], made_by.invars)
    constant = {inner for inner, outer in consts if _from_outside(jaxpr, outer, known)}
    return _from_outside(
        body, body.outvars[made_by.outvars.index(var)], {*body.constvars, *constant}
    )


def credit(run: Callable[[], tuple[Any, ...]]) -> Credit:
    """Find which sites are credited with which costs.

    Args:
      run: an abstract run: `run() -> (costs, what each site's distribution is made of, the
        estimators' leaves, what the program returns)`, its draws marked; of a loop or plate (what
        it replies, what each of its items is made of).
    """
    closed, out = jax.make_jaxpr(run, return_shape=True)()
    found = dependencies(closed.jaxpr, [])
    tree = jax.tree.structure(out)
    costs, made_of, _, reply = jax.tree.unflatten(tree, found)
    known = {*closed.jaxpr.constvars}
    inside = [not _from_outside(closed.jaxpr, v, known) for v in closed.jaxpr.outvars]
    unknown = [any(jax.tree.leaves(leaves)) for leaves in jax.tree.unflatten(tree, inside)[2]]
    ancestors: list[Sites] = []
    scopes: list[Sites] = list(costs)
    for site, parts in enumerate(made_of):
        parents = _union(jax.tree.leaves(parts)) - {site}
        scopes.append(parents | {site})
        ancestors.append(_union([frozenset([site]), *(ancestors[j] for j in parents)]))
    return Credit(
        [tuple(sorted(_union(ancestors[j] for j in c))) for c in costs],
        [tuple(sorted(a)) for a in ancestors],
        unknown,
        tuple(sorted(_union(ancestors[j] for j in _union(reply)))),
        scopes,
        closed.jaxpr,
        tree,
    )

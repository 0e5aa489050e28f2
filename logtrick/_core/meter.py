"""Count what expectations do while they are traced: evaluations of f, estimators that are declared biased, and hints.

An expectation inside a user's `vmap` or `scan` is traced once and computed many times. So while
somebody counts, each expectation leaves a marker in the traced program: an equation that carries
the number of evaluations and takes a value that the expectation computed. Under `vmap` the marker's
batching rule multiplies the number by the size of the axis, where that value is batched; the walk
over the finished program multiplies it by the lengths of the scans around it. Nothing is left in
programs that are traced while nobody counts.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from logtrick._core.jaxprs import inner_jaxprs
from logtrick._core.samples import SampleAxis, under_name


class Counts(list[int]):
    """The evaluations of every expectation traced, one entry for each time it was traced.

    Attributes:
      unmarked: the evaluations among them that left no marker.
      biased: the names of the estimators that are declared biased.
      hints: what would make the variance smaller, in words.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unmarked = 0
        self.biased: list[str] = []
        self.hints: list[str] = []


class Seen(NamedTuple):
    """What the expectations in a function do.

    Attributes:
      evaluations: of f in one call: None where no expectation is computed, or where one is in a loop of unknown length. Of
        the branches of a `cond`, the one with the most counts.
      biased: the names of its estimators that are declared biased.
      hints: what would make the variance smaller, in words.
    """

    evaluations: int | None
    biased: tuple[str, ...]
    hints: tuple[str, ...]


_COUNTS: contextvars.ContextVar[Counts | None] = contextvars.ContextVar(
    "logtrick_evaluations", default=None
)


@contextlib.contextmanager
def evaluations_counted() -> Iterator[Counts]:
    """Collect what the expectations traced inside report.

    What is traced inside is for counting only and is not to be run. A jitted function that was traced before is found in
    JAX's caches, without markers: `seen_in` traces it anew.
    """
    counts = Counts()
    token = _COUNTS.set(counts)
    try:
        yield counts
    finally:
        _COUNTS.reset(token)


def seen_in(function: Callable[..., Any], *args: Any) -> Seen:
    """What the expectations in a function do.

    Args:
      function: a function of `args` that returns arrays; it is traced, not run, under a name of its own, so that JAX keeps
        no trace with markers for later.
      args: its arguments, arrays or their shapes.
    """
    with evaluations_counted() as counts:
        anew = lambda *args: under_name(SampleAxis(), lambda: function(*args))
        jaxpr = jax.make_jaxpr(anew)(*args)
    marked = _marked(jaxpr.jaxpr)
    total = None if marked is None else marked + counts.unmarked
    return Seen(total or None, tuple(counts.biased), tuple(counts.hints))


def report(evaluations: int, value: Any = None) -> None:
    """Called by an expectation while it is traced, when it is known how often f was evaluated.

    Args:
      evaluations: points × samples.
      value: an array that the expectation computed from all of these evaluations. Without one,
        evaluations under `vmap` and `scan` count once.
    """
    counts = _COUNTS.get()
    if counts is None:
        return
    counts.append(evaluations)
    if value is None:
        counts.unmarked += evaluations
    else:
        _evaluated_p.bind(value, evaluations=evaluations)


def report_biased(names: Iterable[str]) -> None:
    """Called by `expect` with its estimators that are declared biased."""
    counts = _COUNTS.get()
    if counts is not None:
        counts.biased += [name for name in names if name not in counts.biased]


def report_hints(hints: Callable[[], Iterable[str]]) -> None:
    """Called by an expectation; `hints` is called only while somebody counts, since it takes an abstract run.

    Args:
      hints: gives what would make the variance smaller, in words.
    """
    counts = _COUNTS.get()
    if counts is None:
        return
    token = _COUNTS.set(None)
    try:
        found = list(hints())
    finally:
        _COUNTS.reset(token)
    counts.hints += [hint for hint in found if hint not in counts.hints]


# --- the marker

_evaluated_p = Primitive("logtrick_evaluated")
_evaluated_p.def_impl(lambda x, **_: x)
_evaluated_p.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(_evaluated_p, lambda ctx, x, **_: [x])


def _batch(xs: Any, dims: Any, *, evaluations: int) -> tuple[Any, Any]:
    (x,), (axis,) = xs, dims
    return _evaluated_p.bind(x, evaluations=evaluations * x.shape[axis]), axis


def _jvp(primals: Any, tangents: Any, *, evaluations: int) -> tuple[Any, Any]:
    return _evaluated_p.bind(*primals, evaluations=evaluations), tangents[0]


batching.primitive_batchers[_evaluated_p] = _batch
ad.primitive_jvps[_evaluated_p] = _jvp


def _marked(jaxpr: Any) -> int | None:
    """The evaluations marked in a program; None where a loop of unknown length holds some."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive is _evaluated_p:
            total += eqn.params["evaluations"]
            continue
        inside = [_marked(inner) for inner in inner_jaxprs(eqn)]
        known = [count for count in inside if count is not None]
        if len(known) < len(inside):
            return None
        if eqn.primitive.name == "cond":
            total += max(known, default=0)
        elif eqn.primitive.name == "scan":
            total += sum(known) * eqn.params["length"]
        elif eqn.primitive.name == "shard_map":
            total += sum(known) * _devices(eqn.params)
        elif eqn.primitive.name == "while" and sum(known):
            return None
        else:
            total += sum(known)
    return total


def _devices(params: Any) -> int:
    """How many devices run the body of a `shard_map`, from the equation's parameters."""
    mesh = params["mesh"]
    axes = params.get("manual_axes", mesh.axis_names)
    return math.prod(size for name, size in mesh.shape.items() if name in axes)

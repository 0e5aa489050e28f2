"""A short race between the estimators that the table allows."""

from typing import Any

import numpy as np

from logtrick.diagnostics import compare_estimators
from logtrick.distributions import Bernoulli
from logtrick.estimators import DisARM, ScoreFunction
from logtrick.vi._guide import Guide
from logtrick.vi._loss import estimator_name, loss
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._objectives._base import Objective

_REPLICATES = 64
_BETTER = 0.5  # variance × cost below which another estimator than the table's takes its place


def race(
    key: Any,
    log_density: Any,
    q: Guide,
    objective: Objective,
    first: Any,
    num_samples: int,
    traced: bool,
) -> tuple[Any, str]:
    """The estimator to use, and why.

    The table's choice runs against its legal rivals on 64 gradients at q: another takes its place where its variance ×
    evaluations is below half. Sticking the landing is kept without a race, since its variance vanishes where the fit ends.
    """
    others = rivals(q, first)
    if not others or traced or isinstance(log_density, Minibatch):
        return first, f"{estimator_name(first)} by the legality table; no rival to race"
    names = {estimator_name(e): e for e in (first, *others)}

    def objective_with(e: Any) -> Any:
        return lambda q, key: loss(
            key, log_density, q, objective=objective, estimator=e, num_samples=num_samples
        )

    found = compare_estimators(
        key,
        {n: objective_with(e) for n, e in names.items()},
        q,
        num_replicates=_REPLICATES,
        num_timings=0,
    )
    scores = {n: _score(found[n]) for n in names}
    best, table = min(scores, key=lambda n: scores[n]), estimator_name(first)
    chosen = best if scores[best] < _BETTER * scores[table] else table
    told = ", ".join(f"{n} {s:.3g}" for n, s in scores.items())
    return names[chosen], f"{chosen}: variance × evaluations at the start: {told}"


def _score(racer: Any) -> float:
    score = racer.variance_x_evaluations
    return np.inf if score is None or not np.isfinite(score) else float(score)


def rivals(q: Guide, first: Any) -> list[Any]:
    """What else is legal and worth a race."""
    if isinstance(first, DisARM):
        return [ScoreFunction()]
    if isinstance(first, ScoreFunction) and isinstance(q.base, Bernoulli):
        return [DisARM()]
    return []

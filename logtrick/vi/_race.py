"""A short race between two estimators for bits."""

from typing import Any

import numpy as np

from logtrick.diagnostics import compare_estimators
from logtrick.estimators import DisARM, ScoreFunction
from logtrick.vi._guide import Guide
from logtrick.vi._loss import estimator_name, loss
from logtrick.vi._objectives._base import Objective

_REPLICATES = 64
_BETTER = 0.5  # variance × cost below which another estimator than the table's takes its place


def race(
    key: Any, log_density: Any, q: Guide, objective: Objective, first: Any, num_samples: int
) -> tuple[Any, str]:
    """The estimator to use, and why.

    `DisARM`, the table's choice for bits, runs against the score function on 64 gradients at q, which takes its place where
    its variance × evaluations is below half. Other choices have no rival: that of `STL`, say, vanishes where the fit ends.
    """
    if not isinstance(first, DisARM):
        return first, f"{estimator_name(first)} by the legality table; no rival to race"

    def objective_with(estimator: Any) -> Any:
        options = {"objective": objective, "estimator": estimator, "num_samples": num_samples}
        return lambda q, key: loss(key, log_density, q, **options)

    racers = {estimator_name(e): e for e in (first, ScoreFunction())}
    found = compare_estimators(
        key,
        {name: objective_with(e) for name, e in racers.items()},
        q,
        num_replicates=_REPLICATES,
        num_timings=0,
    )
    scores = {name: _score(found[name]) for name in racers}
    table, rival = racers
    chosen = rival if scores[rival] < _BETTER * scores[table] else table
    told = ", ".join(f"{name} {score:.3g}" for name, score in scores.items())
    return racers[chosen], f"{chosen}: variance × evaluations at the start: {told}"


def _score(racer: Any) -> float:
    score = racer.variance_x_evaluations
    return np.inf if score is None or not np.isfinite(score) else float(score)

"""The stochastic engine: what is trained how, by default."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from logtrick._core import checks
from logtrick._core.calls import described
from logtrick._core.compat import is_tracer
from logtrick.vi._amortized import Amortized, PerRow
from logtrick.vi._conditioned import Conditioned
from logtrick.vi._estimators._base import WeightEstimator
from logtrick.vi._families._coupling_flow import CouplingFlow
from logtrick.vi._families._framed import Framed, FramedNormal
from logtrick.vi._guide import Guide
from logtrick.vi._loss import estimator_name, grouping
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._objectives._base import Objective
from logtrick.vi._race import race
from logtrick.vi._result import Findings, Fit, History
from logtrick.vi._starts import best_start, shrunk
from logtrick.vi._stop import StopRule, normal_decrement
from logtrick.vi._target import Target
from logtrick.vi._train import Plan, train

TRAIN, RACE, START = 1, 2, 3  # purposes of the key
_CLIP = 1e4  # of gradients' norms: one huge gradient freezes Adam


class Wanted(NamedTuple):
    """What a caller of `vi.fit` asks of the stochastic engine, None for the default.

    Attributes:
      objective: what is estimated.
      estimator: of its gradient.
      optimizer: of optax.
      num_samples: values of φ a step.
      max_steps: the steps at most.
      budget: evaluations of the log density at most.
      stop: "auto", None or a `StopRule`.
      progress: whether a bar is shown.
      race: whether the estimator is the table's, which rivals may replace.
    """

    objective: Objective
    estimator: Any
    optimizer: Any
    num_samples: int | None
    max_steps: int | None
    budget: int | None
    stop: Any
    progress: Any
    race: bool


def fit_stochastic(key: Any, log_density: Any, q: Guide, wanted: Wanted) -> Fit:
    """A guide fitted by stochastic gradients."""
    count = default_samples(q) if wanted.num_samples is None else wanted.num_samples
    checks.positive_int("vi.fit", "num_samples", count)
    groups, size = grouping("vi.fit", wanted.objective, count)
    estimator, reason, traced = wanted.estimator, "given", is_traced(key, q)
    if wanted.race:
        still = traced or isinstance(log_density, Minibatch | Conditioned)
        run_key = jax.random.fold_in(key, RACE)
        estimator, reason = race(run_key, log_density, q, wanted.objective, estimator, count, still)
    each = groups * size * evaluations_of(estimator, q)
    steps = default_steps(wanted.max_steps, wanted.budget, each)
    checks.positive_int("vi.fit", "max_steps", steps)
    optimizer = (
        default_optimizer(rate_of(q), steps) if wanted.optimizer is None else wanted.optimizer
    )
    rule = rule_of(key, log_density, q, wanted, traced)
    plan = Plan(wanted.objective, estimator, optimizer, count, steps, rule, wanted.progress)
    spent = 0
    whole = not traced and not isinstance(log_density, Minibatch | Conditioned)
    if whole and q.normal() is not None:
        q = shrunk(jax.random.fold_in(key, START), log_density, q)
    if wanted.optimizer is None and has_discrete(q) and not traced:
        q, tried = best_start(jax.random.fold_in(key, START), log_density, q, plan)
        spent = tried * each
    trained = train(jax.random.fold_in(key, TRAIN), log_density, q, plan)
    report = {
        "engine": "stochastic",
        "estimator": estimator_name(estimator),
        "reason": reason,
        "skipped": trained.skipped,
    }
    if rule is not None and not traced:
        report["stop"] = rule.told(trained.accepted)
    taken = np.shape(trained.values)[0]
    history = History(trained.values, spent + each * np.arange(1, taken + 1))
    evaluations = spent + each * taken
    return Fit(trained.q, trained.status, history, evaluations, Findings(report), log_density)


def fit_amortized(key: Any, density: Any, q: Amortized, wanted: Wanted) -> Fit:
    """An amortized guide fitted by stochastic gradients of the sum over rows."""
    if not isinstance(density, PerRow):
        raise TypeError(
            f"vi.fit: an amortized guide needs a log density of rows; got {type(density).__name__}. Pass "
            "vi.per_row(log_joint, data)."
        )
    count = 1 if wanted.num_samples is None else wanted.num_samples
    if wanted.objective.num_draws is None:
        count = max(count, 2)
    steps = default_steps(wanted.max_steps, None, 1)
    optimizer = default_optimizer(0.01, steps) if wanted.optimizer is None else wanted.optimizer
    plan = Plan(wanted.objective, wanted.estimator, optimizer, count, steps, None, wanted.progress)
    trained = train(jax.random.fold_in(key, TRAIN), density, q, plan)
    groups, size = grouping("vi.fit", wanted.objective, count)
    each = groups * size * (density.batch_size or density.num_rows)
    taken = np.shape(trained.values)[0]
    history = History(trained.values, each * np.arange(1, taken + 1))
    report = {
        "engine": "stochastic",
        "estimator": estimator_name(wanted.estimator),
        "reason": "given",
    }
    return Fit(trained.q, trained.status, history, each * taken, Findings(report), density)


def is_traced(key: Any, q: Guide) -> bool:
    """Whether numbers cannot be looked at."""
    return any(is_tracer(x) for x in jax.tree.leaves((key, q)))


def has_discrete(q: Guide) -> bool:
    """Whether any variable is discrete."""
    return any(v.discrete for v in q.layout.variables)


def default_samples(q: Guide) -> int:
    """Draws a step."""
    return 32 if q.discrete or isinstance(q, CouplingFlow) else 16


def evaluations_of(estimator: Any, q: Guide) -> int:
    """Evaluations of the log density for each draw."""
    if isinstance(estimator, Mapping):
        count = 1
        for name, part in estimator.items():
            count *= evaluations_of(part, q.parts[name])  # type: ignore[attr-defined]  # blocks
        return count
    own = 1 if isinstance(estimator, WeightEstimator) else estimator.count_evaluations(q.base)
    return own * q.strata


def rate_of(q: Guide) -> float:
    """The first learning rate: gentle for flows, bold for logits."""
    if isinstance(q, CouplingFlow):
        return 0.01
    if all(v.discrete for v in q.layout.variables):
        return 0.1
    return 0.02 if isinstance(q, Framed) else 0.05


@functools.lru_cache(maxsize=32)
def default_optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with a cosine decay and clipped gradients; one object for equal settings, so that nothing compiles twice."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(schedule))


def rule_of(key: Any, log_density: Any, q: Guide, wanted: Wanted, traced: bool) -> StopRule | None:
    """The stop rule that is meant."""
    if wanted.stop is None or isinstance(wanted.stop, StopRule):
        return wanted.stop
    if not wanted.objective.linear or isinstance(log_density, Minibatch) or traced:
        return None
    if q.normal() is None or (isinstance(q, Framed) and not isinstance(q, FramedNormal)):
        return StopRule(None)
    target = Target(log_density, q)
    if not target.differentiable:
        return StopRule(None)
    return StopRule(normal_decrement(target, jax.random.key_data(key), lambda q: q.normal()))


def check_rule(stop: Any) -> None:
    """ "auto", None or a rule."""
    if not (
        stop is None or isinstance(stop, StopRule) or (isinstance(stop, str) and stop == "auto")
    ):
        raise TypeError(
            f'vi.fit(stop=…) needs "auto", None or a vi.StopRule; got {described(stop)}.'
        )


def default_steps(max_steps: int | None, budget: int | None, evaluations: int) -> int:
    """The steps within a budget of evaluations of the log density."""
    steps = 3000 if max_steps is None else max_steps
    return steps if budget is None else max(1, min(steps, math.floor(budget / evaluations)))

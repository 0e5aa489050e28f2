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
from logtrick._core.errors import NonFiniteError
from logtrick.vi._amortized import Amortized, PerRow
from logtrick.vi._auto import automatic, resolve
from logtrick.vi._checks import check_no_learning
from logtrick.vi._edges import Floored, floored
from logtrick.vi._estimators._base import WeightEstimator
from logtrick.vi._families._coupling_flow import CouplingFlow
from logtrick.vi._families._framed import Framed, FramedNormal
from logtrick.vi._guide import Guide
from logtrick.vi._loss import estimator_name, grouping
from logtrick.vi._minibatch import Minibatch
from logtrick.vi._objectives._base import Objective
from logtrick.vi._objectives._log_variance import LogVariance
from logtrick.vi._program import OverData
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
    """A guide fitted by stochastic gradients.

    Where draws of the guide, at the start or where the training met too many of them, have a log density of −inf, the
    training sees a floor instead.
    """
    whole = not isinstance(log_density, Minibatch) and not is_traced(key, q, log_density)
    start_key = jax.random.fold_in(key, START)
    if whole and q.normal() is not None:
        q = shrunk(start_key, log_density, q)
    if not whole or not _needs_floor(wanted.objective):
        return _fitted(key, log_density, log_density, q, wanted, 0)
    density, impossible = floored(start_key, log_density, q)
    try:
        return _fitted(key, log_density, density, q, wanted, impossible)
    except NonFiniteError as error:
        density, impossible = floored(start_key, log_density, _guide_of(error))
        if not isinstance(density, Floored):
            raise
    return _fitted(key, log_density, density, q, wanted, impossible)


def _needs_floor(objective: Objective) -> bool:
    """Weights of 0 are no trouble to objectives that normalize them among the draws."""
    return objective.maximize or isinstance(objective, LogVariance)


def _guide_of(error: NonFiniteError) -> Guide:
    """The guide of the last step before a training broke off."""
    params = error.result.params
    return params["q"] if isinstance(params, Mapping) else params


def _fitted(key: Any, given: Any, density: Any, q: Guide, wanted: Wanted, impossible: int) -> Fit:
    """One stochastic fit.

    Args:
      key: a typed key.
      given: the caller's log density.
      density: what is trained on: `given`, or with a floor.
      q: the guide to start from.
      wanted: the caller's wishes.
      impossible: how many of 256 draws have a log density of −inf.
    """
    count = default_samples(q) if wanted.num_samples is None else wanted.num_samples
    checks.positive_int("vi.fit", "num_samples", count)
    groups, size = grouping("vi.fit", wanted.objective, count)
    traced = is_traced(key, q, given)
    estimator, reason = _estimator(key, density, q, wanted, count, impossible)
    each = groups * size * evaluations_of(estimator, q)
    steps = default_steps(wanted.max_steps, wanted.budget, each)
    checks.positive_int("vi.fit", "max_steps", steps)
    optimizer = (
        default_optimizer(rate_of(q), steps) if wanted.optimizer is None else wanted.optimizer
    )
    rule = rule_of(key, density, q, wanted, traced)
    plan = Plan(wanted.objective, estimator, optimizer, count, steps, rule, wanted.progress)
    spent = 0
    if wanted.optimizer is None and has_discrete(q) and not traced:
        q, tried = best_start(jax.random.fold_in(key, START), density, q, plan)
        spent = tried * each
    trained = train(jax.random.fold_in(key, TRAIN), density, q, plan)
    report = {
        "engine": "stochastic",
        "estimator": estimator_name(estimator),
        "reason": reason,
        "skipped": trained.skipped,
    }
    if rule is not None and not traced:
        report["stop"] = rule.told(trained.accepted)
    if isinstance(density, Floored):
        report["floor"] = float(density.data[0])
    taken = np.shape(trained.values)[0]
    history = History(trained.values, spent + each * np.arange(1, taken + 1))
    return Fit(trained.q, trained.status, history, spent + each * taken, Findings(report), given)


def _estimator(
    key: Any, density: Any, q: Guide, wanted: Wanted, count: int, impossible: int
) -> tuple[Any, str]:
    """The estimator to use, and why."""
    first = wanted.estimator
    if not wanted.race:
        return first, "given"
    if isinstance(density, Floored) and not q.discrete:
        step = automatic(wanted.objective, q, smooth=False)
        return step, f"log p is −inf at {impossible} of 256 draws: a step, which has no derivative"
    still = is_traced(key, q, density) or isinstance(density, Minibatch)
    return race(jax.random.fold_in(key, RACE), density, q, wanted.objective, first, count, still)


def fit_amortized(key: Any, density: PerRow, q: Amortized, wanted: Wanted) -> Fit:
    """An amortized guide, and the model's own parameters, fitted by stochastic gradients of the sum over rows."""
    first = jax.tree.map(lambda a: a[0], density.data)
    guide, joint = q(first), density.of_row(first, density.model)
    estimator = resolve(
        "vi.fit", wanted.objective, guide, wanted.estimator, lambda x: joint(guide.constrain(x))
    )
    check_no_learning(estimator)
    count = 1 if wanted.num_samples is None else wanted.num_samples
    if wanted.objective.num_draws is None:
        count = max(count, 2)
    checks.positive_int("vi.fit", "num_samples", count)
    groups, size = grouping("vi.fit", wanted.objective, count)
    rows = density.batch_size or density.num_rows
    each = groups * size * rows * evaluations_of(estimator, guide)
    steps = default_steps(wanted.max_steps, wanted.budget, each)
    checks.positive_int("vi.fit", "max_steps", steps)
    optimizer = default_optimizer(0.01, steps) if wanted.optimizer is None else wanted.optimizer
    rule = wanted.stop if isinstance(wanted.stop, StopRule) else None
    plan = Plan(wanted.objective, estimator, optimizer, count, steps, rule, wanted.progress)
    trained = train(jax.random.fold_in(key, TRAIN), density, q, plan)
    taken = np.shape(trained.values)[0]
    history = History(trained.values, each * np.arange(1, taken + 1))
    automatic = isinstance(wanted.estimator, str)
    report = {
        "engine": "stochastic",
        "estimator": estimator_name(estimator),
        "reason": "by the legality table, for each row" if automatic else "given",
        "skipped": trained.skipped,
    }
    findings = Findings(report)
    return Fit(trained.q, trained.status, history, each * taken, findings, density, trained.model)


def is_traced(key: Any, q: Guide, log_density: Any) -> bool:
    """Whether numbers cannot be looked at: those of the key, of the guide, or of a log density's data."""
    data = log_density.data if isinstance(log_density, OverData) else None
    return any(is_tracer(x) for x in jax.tree.leaves((key, q, data)))


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

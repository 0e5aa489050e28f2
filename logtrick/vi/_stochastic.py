"""The stochastic engine: what is trained how, by default."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import optax

from logtrick._core import checks
from logtrick._core.calls import described
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
from logtrick.vi._race import race
from logtrick.vi._result import Findings, Fit, History
from logtrick.vi._starts import best_start, shrunk, trial_steps
from logtrick.vi._stop import StopRule, normal_decrement
from logtrick.vi._target import Target
from logtrick.vi._train import Settings, train

TRAIN, RACE, START = 1, 2, 3  # purposes of the key
_CLIP = 1e4  # of gradients' norms: one huge gradient freezes Adam
_STEPS = 3000


def fit_stochastic(key: Any, log_density: Any, q: Guide, settings: Settings) -> Fit:
    """A guide fitted by stochastic gradients.

    Where draws of the guide, at the start or where the training met too many of them, have a log density of −inf, the
    training sees a floor instead.
    """
    whole = not isinstance(log_density, Minibatch) and not settings.traced
    start_key = jax.random.fold_in(key, START)
    if whole and q.normal() is not None:
        q = shrunk(start_key, log_density, q)
    if not whole or not _needs_floor(settings.objective):
        return _fitted(key, log_density, log_density, q, settings, 0)
    density, impossible = floored(start_key, log_density, q)
    try:
        return _fitted(key, log_density, density, q, settings, impossible)
    except NonFiniteError as error:
        last = error.result.params["q"]
        density, impossible = floored(start_key, log_density, last)
        if not isinstance(density, Floored):
            raise
    return _fitted(key, log_density, density, q, settings, impossible)


def _needs_floor(objective: Objective) -> bool:
    """Weights of 0 are no trouble to objectives that normalize them among the draws."""
    return objective.maximize or isinstance(objective, LogVariance)


def _fitted(
    key: Any, given: Any, density: Any, q: Guide, settings: Settings, impossible: int
) -> Fit:
    """One stochastic fit on `density`: the caller's own (`given`), or with a floor, since `impossible` draws have none."""
    count = default_samples(q) if settings.num_samples is None else settings.num_samples
    count = checks.positive_int("vi.fit", "num_samples", count)
    groups, size = grouping("vi.fit", settings.objective, count)
    estimator, reason = _estimator(key, density, q, settings, count, impossible)
    each = groups * size * evaluations_of(estimator, q)
    steps = steps_of(settings, each)
    tried = 0
    if settings.optimizer is None and q.discrete and not settings.traced:
        steps, tried = trial_steps(steps, limited=settings.budget is not None)
    resolved = settings._replace(
        estimator=estimator,
        optimizer=settings.optimizer or default_optimizer(rate_of(q), steps),
        num_samples=count,
        max_steps=steps,
        stop=rule_of(key, density, q, settings),
    )
    spent = 0
    if tried:
        q, spent = best_start(jax.random.fold_in(key, START), density, q, resolved, tried)
    further = {"floor": float(density.data[0])} if isinstance(density, Floored) else {}
    return _trained(key, given, density, q, resolved, each, spent * each, reason, **further)


def _trained(
    key: Any,
    given: Any,
    density: Any,
    q: Any,
    settings: Settings,
    each: int,
    spent: int,
    reason: str,
    **further: Any,
) -> Fit:
    """The fit by a training whose settings have no defaults left.

    A step takes `each` evaluations of the log density; `spent` were made before. The report has the `reason` for the
    estimator, and what is `further` to be said.
    """
    trained = train(jax.random.fold_in(key, TRAIN), density, q, settings)
    report: dict[str, Any] = {"engine": "stochastic"}
    report["estimator"] = estimator_name(settings.estimator)
    report |= {"reason": reason, **further}
    if not settings.traced:
        report["skipped"] = int(np.sum(trained.skipped))
        if settings.stop is not None:
            report["stop"] = settings.stop.told(trained.accepted)
    taken = np.shape(trained.values)[0]
    history = History(trained.values, spent + each * np.arange(1, taken + 1))
    evaluations, findings = spent + each * taken, Findings(report)
    return Fit(trained.q, trained.status, history, evaluations, findings, given, trained.model)


def _estimator(
    key: Any, density: Any, q: Guide, settings: Settings, count: int, impossible: int
) -> tuple[Any, str]:
    """The estimator to use, and why."""
    first, objective = settings.estimator, settings.objective
    if not settings.race:
        return first, "given"
    if isinstance(density, Floored) and not q.discrete:
        step = automatic(objective, q, smooth=False)
        return step, f"log p is −inf at {impossible} of 256 draws: a step, which has no derivative"
    if settings.traced or isinstance(density, Minibatch):
        return first, f"{estimator_name(first)} by the legality table"
    return race(jax.random.fold_in(key, RACE), density, q, objective, first, count)


def fit_amortized(key: Any, density: PerRow, q: Amortized, settings: Settings) -> Fit:
    """An amortized guide, and the model's own parameters, fitted by stochastic gradients of the sum over rows."""
    first = jax.tree.map(lambda a: a[0], density.data)
    guide, joint = q(first), density.of_row(first, density.model)
    objective = settings.objective
    estimator = resolve(
        "vi.fit", objective, guide, settings.estimator, lambda x: joint(guide.constrain(x))
    )
    check_no_learning(estimator)
    count = settings.num_samples
    if count is None:
        count = 2 if objective.num_draws is None else 1
    count = checks.positive_int("vi.fit", "num_samples", count)
    groups, size = grouping("vi.fit", objective, count)
    rows = density.batch_size or density.num_rows
    each = groups * size * rows * evaluations_of(estimator, guide)
    steps = steps_of(settings, each)
    resolved = settings._replace(
        estimator=estimator,
        optimizer=settings.optimizer or default_optimizer(0.01, steps),
        num_samples=count,
        max_steps=steps,
        stop=settings.stop if isinstance(settings.stop, StopRule) else None,
    )
    by_table = isinstance(settings.estimator, str)
    reason = "by the legality table, for each row" if by_table else "given"
    return _trained(key, density, density, q, resolved, each, 0, reason)


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


def default_optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    """Adam with a cosine decay and clipped gradients."""
    schedule = optax.cosine_decay_schedule(rate, steps)
    return optax.chain(optax.clip_by_global_norm(_CLIP), optax.adam(schedule))


def rule_of(key: Any, log_density: Any, q: Guide, settings: Settings) -> StopRule | None:
    """The stop rule that is meant."""
    if settings.traced:
        return None
    if settings.stop is None or isinstance(settings.stop, StopRule):
        return settings.stop
    if not settings.objective.linear or isinstance(log_density, Minibatch):
        return None
    if q.normal() is None or (isinstance(q, Framed) and not isinstance(q, FramedNormal)):
        return StopRule(None)
    target = Target(log_density, q)
    return StopRule(normal_decrement(target, key) if target.differentiable else None)


def check_rule(stop: Any) -> None:
    """ "auto", None or a rule."""
    named = isinstance(stop, str) and stop == "auto"
    if not (stop is None or named or isinstance(stop, StopRule)):
        raise TypeError(
            f'vi.fit(stop=…) needs "auto", None or a vi.StopRule; got {described(stop)}.'
        )


def steps_of(settings: Settings, evaluations: int) -> int:
    """The steps at most, within the budget of evaluations of the log density, of which a step takes `evaluations`."""
    steps = _STEPS if settings.max_steps is None else settings.max_steps
    steps = checks.positive_int("vi.fit", "max_steps", steps)
    if settings.budget is None:
        return steps
    return max(1, min(steps, settings.budget // evaluations))

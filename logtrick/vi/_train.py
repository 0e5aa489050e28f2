"""Training a guide: any optax optimizer on `vi.loss`, by `lt.minimize` and `lt.maximize`."""

import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from logtrick._core.compat import is_tracer
from logtrick.estimators import Estimator
from logtrick.training import maximize, minimize
from logtrick.vi._amortized import PerRow, amortized_loss
from logtrick.vi._loss import loss
from logtrick.vi._objectives._base import Objective
from logtrick.vi._program import OverData, Program, kept, program_of
from logtrick.vi._stop import StopRule

CHECK = 50  # steps between looks of the stop rule


class Plan(NamedTuple):
    """How a stochastic fit is to run.

    Attributes:
      objective: what is estimated.
      estimator: of its gradient, resolved.
      optimizer: of optax.
      num_samples: values of φ a step.
      max_steps: the steps at most.
      stop: the rule that ends it earlier; None for none.
      progress: whether a bar is shown.
    """

    objective: Objective
    estimator: Any
    optimizer: optax.GradientTransformation
    num_samples: int
    max_steps: int
    stop: StopRule | None
    progress: Any = False


class Trained(NamedTuple):
    """What a stochastic fit found.

    Attributes:
      q: the guide.
      status: why it ended.
      values: the objective at every step.
      accepted: the objective at the steps that were not skipped; None where numbers cannot be looked at.
      skipped: how many were.
      model: the model's own parameters, None where it has none.
    """

    q: Any
    status: str
    values: Any
    accepted: Any
    skipped: int
    model: Any = None


def train(key: Any, log_density: Any, q: Any, plan: Plan) -> Trained:
    """Train a guide by stochastic gradients."""
    batches = isinstance(log_density, OverData)
    learns = _learning(plan.estimator)
    # What is trained beside the guide: estimators that learn, and an amortized model's own parameters.
    beside = dict(learns)
    if isinstance(log_density, PerRow) and log_density.model is not None:
        beside["model"] = log_density.model
    params: Any = {"q": q, **beside} if beside else q
    objective = kept(
        _objective,
        program_of(log_density),
        _setting(plan.objective),
        _setting(plan.estimator),
        plan.num_samples,
        bool(learns),
    )
    run = maximize if plan.objective.maximize else minimize
    traced = any(is_tracer(x) for x in jax.tree.leaves((key, q)))
    options: dict[str, Any] = {}
    if batches:
        options = {"data": log_density.data, "batch_size": log_density.batch_size}
    watch = None if traced or plan.stop is None else _Watch(plan.stop, unpack=bool(beside))
    if not traced:
        options["progress"] = plan.progress
        options["callback"] = watch
    result = run(
        key,
        objective,
        params,
        plan.optimizer,
        num_steps=plan.max_steps,
        chunk=CHECK if watch else 100,
        **options,
    )
    status = result.status
    if watch is not None and watch.met:
        status = "converged"
    values, skipped = result.history.value, result.history.skipped
    found = result.params if beside else {"q": result.params}
    q, model = found["q"], found.get("model")
    if traced:
        return Trained(q, status, values, None, skipped, model)
    accepted = _accepted(result.history)
    return Trained(q, status, values, accepted, len(values) - len(accepted), model)


def _accepted(history: Any) -> np.ndarray:
    """The objective at the steps that were not skipped."""
    return np.asarray(history.value)[~np.asarray(history.skipped)]


class _Watch:
    """The callback that asks the stop rule."""

    def __init__(self, rule: StopRule, unpack: bool) -> None:
        self.rule, self.unpack, self.met = rule, unpack, False

    def __call__(self, result: Any) -> None:
        values = _accepted(result.history)
        params = result.params["q"] if self.unpack else result.params
        if self.rule.met(values, params):
            self.met = True
            raise KeyboardInterrupt  # what ends a fit from a callback, with what there is


def _learning(estimator: Any) -> dict[str, Any]:
    """Estimators that learn, which sit in the parameters under the names of their sites."""
    if isinstance(estimator, Mapping):
        learning = {n: e for n, e in estimator.items() if isinstance(e, Estimator) and e.adaptive}
        return {"estimators": learning} if learning else {}
    learns = isinstance(estimator, Estimator) and estimator.adaptive
    return {"estimators": estimator} if learns else {}


class _Setting:
    """An objective or an estimator, equal to others that are set alike: what compiled functions are kept by."""

    def __init__(self, value: Any) -> None:
        self.value = value
        leaves, self.tree = jax.tree.flatten(value)
        self.leaves = tuple(
            leaf if isinstance(leaf, Hashable) else (np.shape(leaf), np.asarray(leaf).tobytes())
            for leaf in leaves
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Setting) and (self.tree, self.leaves) == (
            other.tree,
            other.leaves,
        )

    def __hash__(self) -> int:
        return hash((self.tree, self.leaves))


def _setting(value: Any) -> Any:
    try:
        return _Setting(value)
    except TypeError:  # a traced leaf
        return _ById(value)


class _ById:
    """An objective or an estimator, equal to itself only."""

    def __init__(self, value: Any) -> None:
        self.value = value


@functools.lru_cache(maxsize=32)
def _objective(
    program: Any, objective: Any, estimator: Any, num_samples: int, learns: bool
) -> Callable[..., Any]:
    """One function for equal settings, so that a second fit compiles nothing."""
    log_density: Any = program.density if isinstance(program, Program) else program
    sign = -1 if objective.value.maximize else 1
    fixed = {"objective": objective.value, "num_samples": num_samples}
    # The function closes over this and not over its wrapper, which is compared by identity.
    own = estimator.value

    def value(params: Any, key: Any, batch: Any = None) -> Any:
        q, used, density = params, own, log_density
        if isinstance(log_density, PerRow):
            q, model = (q["q"], q["model"]) if isinstance(q, Mapping) else (q, None)
            return sign * amortized_loss(key, log_density, q, model, batch, estimator=used, **fixed)
        if batch is not None:
            density = lambda z: log_density.on(z, batch)
        if learns:
            q, trained = params["q"], params["estimators"]
            used = {**used, **trained} if isinstance(used, Mapping) else trained
        out = loss(key, density, q, estimator=used, has_aux=learns, **fixed)
        return (sign * out[0], out[1]) if learns else sign * out

    return value

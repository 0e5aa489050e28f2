"""Training a guide: any optax optimizer on `vi.loss`, by `lt.minimize` and `lt.maximize`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from logtrick._core.compat import is_tracer
from logtrick._core.fingerprint import fingerprint_and_tracers
from logtrick.estimators import Estimator
from logtrick.training import Listener, Run, maximize, minimize
from logtrick.vi._amortized import PerRow, amortized_loss
from logtrick.vi._loss import loss
from logtrick.vi._objectives._base import Objective
from logtrick.vi._over_data import OverData, apart
from logtrick.vi._stop import LOOKS, StopRule


class Settings(NamedTuple):
    """How a stochastic fit runs: first what the caller of `vi.fit` gave, None for a default, then with the defaults put in.

    Attributes:
      objective: what is estimated.
      estimator: of its gradient.
      optimizer: of optax.
      num_samples: values of φ a step.
      max_steps: the number of steps at most.
      budget: the number of evaluations of the log density at most; None for no limit.
      stop: the rule that ends the fit earlier, None for none; "auto" before the defaults are put in.
      progress: whether a bar is shown.
      race: whether rivals may replace the estimator.
      traced: whether numbers cannot be looked at, under `jax.vmap` or `jax.jit`.
    """

    objective: Objective
    estimator: Any
    optimizer: Any = None
    num_samples: Any = None
    max_steps: Any = None
    budget: int | None = None
    stop: Any = None
    progress: Any = False
    race: bool = False
    traced: bool = False


class Trained(NamedTuple):
    """What a stochastic fit found.

    Attributes:
      q: the guide.
      status: why it ended.
      values: the objective at every step.
      skipped: whether each step was skipped, since something in it was not finite.
      model: the model's own parameters; None where it has none.
    """

    q: Any
    status: str
    values: Any
    skipped: Any
    model: Any

    @property
    def accepted(self) -> np.ndarray:
        """The objective at the steps that were not skipped."""
        return _accepted(self.values, self.skipped)


def _accepted(values: Any, skipped: Any) -> np.ndarray:
    return np.asarray(values)[~np.asarray(skipped)]


def is_traced(key: Any, q: Any, log_density: Any) -> bool:
    """Whether the key, the guide, the data or what the log density closes over have no numbers yet, under a transformation."""
    bare, data = apart(log_density)
    known = any(is_tracer(leaf) for leaf in jax.tree.leaves((key, q, data)))
    return known or fingerprint_and_tracers(bare)[1]


def train(key: Any, log_density: Any, q: Any, settings: Settings) -> Trained:
    """Train a guide by stochastic gradients.

    Args:
      key: a typed key.
      log_density: of one draw; or one over data, whose batches are the steps'.
      q: the guide to start from.
      settings: without anything left to a default.
    """
    # Beside the guide, estimators that learn and an amortized model's own parameters are trained.
    params = {"q": q}
    learning = _learning(settings.estimator)
    if learning is not None:
        params["estimators"] = learning
    if isinstance(log_density, PerRow) and log_density.model is not None:
        params["model"] = log_density.model
    bare, data = apart(log_density)
    options: dict[str, Any] = {}
    if isinstance(log_density, OverData):
        options = {"data": data, "batch_size": log_density.batch_size}
    if not settings.traced:
        options["progress"] = settings.progress
        if settings.stop is not None:
            options["stop"] = _Watch(settings.stop)
    run = maximize if settings.objective.maximize else minimize
    result = run(
        key,
        _objective(bare, settings, learning is not None),
        params,
        settings.optimizer,
        num_steps=settings.max_steps,
        **options,
    )
    found, history = result.params, result.history
    return Trained(found["q"], result.status, history.value, history.skipped, found.get("model"))


class _Watch(Listener):
    """Ends a fit as the stop rule says."""

    every = LOOKS

    def __init__(self, rule: StopRule) -> None:
        self.rule = rule

    def after_chunk(self, run: Run) -> None:
        if run.step % LOOKS:  # where steps are slow, a fit visits its listeners in between as well
            return
        values = _accepted(run.history.value, run.history.skipped)
        params, _ = run.program.shown(run.state)
        if self.rule.met(values, params["q"]):
            run.stop("converged", self.rule.told(values))


def _learning(estimator: Any) -> Any:
    """The estimators that learn, which are trained with the guide: one, a dict of them by block, or None."""
    if isinstance(estimator, Mapping):
        return {name: e for name, e in estimator.items() if _learning(e) is not None} or None
    return estimator if isinstance(estimator, Estimator) and estimator.adaptive else None


def _objective(log_density: Any, settings: Settings, learns: bool) -> Callable[..., Any]:
    """The objective in its own sign.

    `lt.minimize` finds what it compiled for an equal one. So this closes over nothing but what makes two fits differ, and
    over no data, which are an argument.
    """
    objective, given, num_samples = settings.objective, settings.estimator, settings.num_samples
    sign = -1 if objective.maximize else 1

    def value(params: Any, key: Any, batch: Any = None) -> Any:
        q, fixed = params["q"], {"objective": objective, "num_samples": num_samples}
        if isinstance(log_density, PerRow):
            model = params.get("model")
            each = amortized_loss(key, log_density, q, model, batch, estimator=given, **fixed)
            return sign * each
        density = log_density
        if isinstance(log_density, OverData):
            density = lambda z: log_density.on(z, batch)
        if not learns:
            return sign * loss(key, density, q, estimator=given, **fixed)
        used = params["estimators"]
        if isinstance(given, Mapping):
            used = {**given, **used}
        found, aux = loss(key, density, q, estimator=used, has_aux=True, **fixed)
        return sign * found, aux

    return value

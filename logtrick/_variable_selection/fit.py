"""Fitting a guide, and what the fit is worth."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick import vi
from logtrick._variable_selection.guides import Guide
from logtrick._variable_selection.model import Model
from logtrick._variable_selection.progress import Progress
from logtrick._variable_selection.verdict import Verdict, judge

Array = jax.Array
Objective = Callable[[Any, Array], Array]

# Draws that stand for the enumeration where there are too many models.
_DRAWS = 2**16
# ELBOs this close, in nats, are the same to the reader.
_SAME = 5e-4


def elbo(
    model: Model, guide: Guide, estimator: lt.Estimator, constant: float | Array = 0.0
) -> Objective:
    """The ELBO as an objective, `(params, key) -> scalar`, by `vi.loss`, which holds log q constant inside of the expectation.

    Args:
      model: log p(y, γ), relative to the null model.
      guide: q and the number of draws.
      estimator: of the gradient.
      constant: subtracted from log p; the gradient does not depend on it, some estimators' variance does.
    """

    def objective(params: Any, key: Array) -> Array:
        q = guide.family(params)
        log_density = lambda inclusion: model.log_joint(inclusion) - constant
        return -vi.loss(key, log_density, q, estimator=estimator, num_samples=guide.num_samples)

    return objective


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fitted guide.

    Attributes:
      guide: what was fitted.
      params: its parameters.
      history: the ELBO's estimate at every step.
      elbo: by enumeration where the models are enumerated, else by Monte Carlo.
      standard_error: of `elbo`; 0 for the enumeration.
      inclusion: q(γ_j = 1), shape (p,).
      verdict: on the convergence of the fit.
      kept: how far below the fit that it contains the training ended, in nats, where that fit was kept instead; else 0.
    """

    guide: Guide
    params: Any
    history: np.ndarray
    elbo: float
    standard_error: float
    inclusion: np.ndarray
    verdict: Verdict
    kept: float = 0.0


def assess(key: Array, model: Model, guide: Guide, fitted: lt.training.FitResult) -> Fitted:
    """The ELBO and the inclusion probabilities of a guide, and the verdict on its fit."""
    params, history = fitted.params, np.asarray(fitted.history.value)
    if model.enumerable:
        found = _exactly(model, guide, params)
    else:
        found = _by_draws(key, model, guide, params)
    return Fitted(guide, params, history, *found, judge(history, fitted.status))


def _exactly(model: Model, guide: Guide, params: Any) -> tuple[float, float, np.ndarray]:
    posterior = model.posterior
    log_q = jax.jit(jax.vmap(guide.family(params).log_prob))(
        jnp.asarray(posterior.points, jnp.float32)
    )
    log_q = np.asarray(log_q, np.float64)
    q = np.exp(log_q)
    return float(q @ (posterior.log_joint - log_q)), 0.0, q @ posterior.points


def _by_draws(
    key: Array, model: Model, guide: Guide, params: Any
) -> tuple[float, float, np.ndarray]:
    q = guide.family(params)

    @jax.jit
    def estimate(key: Array) -> Any:
        f = lambda inclusion: model.log_joint(inclusion) - q.log_prob(inclusion)
        value, aux = lt.expect(key, f, q, num_samples=_DRAWS, chunk_size=4096, has_aux=True)
        return value, aux.standard_error, jnp.mean(aux.draws, axis=0)

    value, error, inclusion = estimate(key)
    return float(value), float(error), np.asarray(inclusion, np.float64)


def fit(
    key: Array, model: Model, guide: Guide, progress: Progress, poorer: Fitted | None = None
) -> Fitted:
    """Fit a guide by the score function with leave-one-out.

    Args:
      key: of all draws.
      model: the posterior to fit.
      guide: what is fitted.
      progress: where the steps are reported.
      poorer: a fit of a guide that this one contains: the start, and the least that is returned.
    """
    start = guide.initial(model.num_predictors)
    if poorer is not None and guide.containing is not None:
        start = guide.containing(poorer.params)

    def report(so_far: lt.training.FitResult) -> None:
        step, values = int(so_far.state.step), so_far.history.value
        progress.reach(step / guide.num_steps, f"step {step:,}, ELBO {values[-1]:.1f}")

    result = lt.maximize(
        jax.random.fold_in(key, 0),
        elbo(model, guide, lt.ScoreFunction(lt.LeaveOneOut())),
        start,
        guide.optimizer(guide.num_steps),
        num_steps=guide.num_steps,
        callback=report,
    )
    if result.status == "interrupted":
        raise KeyboardInterrupt
    found = assess(jax.random.fold_in(key, 1), model, guide, result)
    return found if poorer is None else _no_worse(found, poorer, start)


def _no_worse(found: Fitted, poorer: Fitted, start: Any) -> Fitted:
    """`found`, or the fit it started from where training ended below that by more than the standard errors."""
    below = poorer.elbo - found.elbo
    if below <= _SAME + 2 * math.hypot(found.standard_error, poorer.standard_error):
        return found
    return dataclasses.replace(
        found,
        params=start,
        elbo=poorer.elbo,
        standard_error=poorer.standard_error,
        inclusion=poorer.inclusion,
        verdict=Verdict("max_steps", f"training ended {below:.3f} nats below its start"),
        kept=below,
    )

"""The race: the estimators' bias, variance and cost on the independent guide's ELBO, at three points of its way."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import logtrick as lt
from logtrick._variable_selection.fit import Fitted, Objective, elbo
from logtrick._variable_selection.guides import Guide
from logtrick._variable_selection.model import Model, Posterior
from logtrick._variable_selection.progress import Progress
from logtrick.diagnostics import Comparison, Measurement

Array = jax.Array

# Who races: an estimator that lands in the library takes one line here.
RACERS: dict[str, lt.Estimator] = {
    "no baseline": lt.ScoreFunction(lt.NoBaseline()),
    "leave-one-out": lt.ScoreFunction(lt.LeaveOneOut()),
    "DisARM": lt.DisARM(),
    "Enumerate": lt.Enumerate(),
    "Pathwise": lt.Pathwise(),
}

# Whose dependence on f's arbitrary constant is shown, by a second row.
SHIFTED = ("no baseline", "leave-one-out")
OTHER = ", other constant"

# Where: the fitted parameters times this.
POINTS = {"at the start": 0.0, "at 0.3 × the fit": 0.3, "at the fit": 1.0}


@dataclasses.dataclass(frozen=True)
class Heat:
    """The race at one point, `where` it is.

    Attributes:
      where: the point, in words.
      rows: the estimators by name; those in `SHIFTED` again, each after its own, with f relative to the full model.
      numbers: the same, as JSON can hold it.
    """

    where: str
    rows: dict[str, Measurement]
    numbers: dict[str, dict[str, Any]]


def run(
    key: Array, model: Model, fitted: Fitted, num_replicates: int, progress: Progress
) -> list[Heat]:
    """The race at every point, against the exact gradient where the models are enumerated."""
    objectives = objectives_of(model, fitted.guide)
    still = [name for name in objectives if RACERS[name].deterministic]
    moving = [name for name in objectives if name not in still]
    heats = []
    for i, (where, scale) in enumerate(POINTS.items()):
        logits = scale * fitted.params
        exact = (exact_gradient(model.posterior, logits), 0.0) if model.enumerable else None

        def compare(
            names: Iterable[str], constant: float, count: int, suffix: str = ""
        ) -> Comparison:
            chosen = {name + suffix: objectives[name] for name in names}
            params = (logits, jnp.float32(constant))
            here = jax.random.fold_in(key, i)
            # untimed: single calls this small would time the dispatch
            return lt.compare_estimators(
                here, chosen, params, num_replicates=count, reference=exact, num_timings=0
            )

        outcomes = [
            compare(moving, 0.0, num_replicates),
            compare(SHIFTED, other_constant(model), num_replicates, OTHER),
            # what draws nothing is the same every time, and dear where there are many models
            *([compare(still, 0.0, 2)] if still else []),
        ]
        heats.append(_heat(where, list(objectives), outcomes))
        progress.reach((i + 1) / len(POINTS), where)
    return heats


def _heat(where: str, names: list[str], outcomes: list[Comparison]) -> Heat:
    racers = {racer.name: racer for outcome in outcomes for racer in outcome.measurements}
    numbers = {name: numbers for outcome in outcomes for name, numbers in outcome.to_dict().items()}
    order = [row for name in names for row in (name, name + OTHER) if row in racers]
    times = ("seconds", "variance_x_seconds")
    untimed = {row: {k: v for k, v in numbers[row].items() if k not in times} for row in order}
    return Heat(where, {row: racers[row] for row in order}, untimed)


def objectives_of(model: Model, guide: Guide) -> dict[str, Objective]:
    """The ELBO of (parameters, f's constant) by every racer; no enumeration where it is too large."""
    return {
        name: _objective(model, guide, estimator)
        for name, estimator in RACERS.items()
        if model.enumerable or not isinstance(estimator, lt.Enumerate)
    }


def _objective(model: Model, guide: Guide, estimator: lt.Estimator) -> Objective:
    # the constant is an argument, so that both constants are one compiled program; its gradient is 0
    def objective(params: tuple[Any, Array], key: Array) -> Array:
        guide_params, constant = params
        return elbo(model, guide, estimator, lax.stop_gradient(constant))(guide_params, key)

    return objective


def exact_gradient(posterior: Posterior, logits: Array) -> np.ndarray:
    """∇ELBO of independent Bernoullis, Σ_γ q(γ) (log p(y, γ) − log q(γ)) (γ − σ(logits)), in float64 by NumPy."""
    theta = np.asarray(logits, np.float64)
    points = posterior.points
    log_q = -np.logaddexp(0.0, np.where(points == 1, -theta, theta)).sum(axis=1)
    probability = np.exp(-np.logaddexp(0.0, -theta))
    return (np.exp(log_q) * (posterior.log_joint - log_q)) @ (points - probability)


def other_constant(model: Model) -> float:
    """What f is less, for every γ, when it is taken relative to the full model instead of the null model."""
    full, null = (model.log_joint(jnp.full(model.num_predictors, bit)) for bit in (1.0, 0.0))
    return float(full - null)

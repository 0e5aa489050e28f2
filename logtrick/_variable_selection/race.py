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
from logtrick.diagnostics import Comparison, Racer

Array = jax.Array

# Who races: an estimator that lands in the library takes one line here.
RACERS: dict[str, lt.Estimator] = {
    "no baseline": lt.ScoreFunction(lt.NoBaseline()),
    "leave-one-out": lt.ScoreFunction(lt.LeaveOneOut()),
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
    """The race at one point, `where` it is: the outcome, and that of `SHIFTED` with f relative to the full model."""

    where: str
    outcome: Comparison
    shifted: Comparison

    @property
    def rows(self) -> dict[str, Racer]:
        """All rows by name, each shifted one after its own."""
        rows = {}
        for racer in self.outcome.racers:
            rows[racer.name] = racer
            if racer.name in SHIFTED:
                rows[racer.name + OTHER] = self.shifted[racer.name]
        return rows


def run(key: Array, model: Model, fitted: Fitted, num_replicates: int, progress: Progress) -> list[Heat]:
    """The race at every point, against the exact gradient where the models are enumerated."""
    objectives = objectives_of(model, fitted.guide)
    heats = []
    for i, (where, scale) in enumerate(POINTS.items()):
        logits = scale * fitted.params
        exact = (exact_gradient(model.posterior, logits), 0.0) if model.enumerable else None

        def compare(names: Iterable[str], constant: float) -> Comparison:
            chosen = {name: objectives[name] for name in names}
            params = (logits, jnp.float32(constant))
            here = jax.random.fold_in(key, i)
            # untimed: single calls this small would time the dispatch
            return lt.compare_estimators(
                here, chosen, params, num_replicates=num_replicates, reference=exact, num_timings=0
            )

        heats.append(Heat(where, compare(objectives, 0.0), compare(SHIFTED, other_constant(model))))
        progress.reach((i + 1) / len(POINTS), where)
    return heats


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

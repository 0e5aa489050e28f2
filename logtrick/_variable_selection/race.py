"""The race: the estimators' bias, variance and cost on the independent guide's ELBO, at three points of its way."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import logtrick as lt
from logtrick import vi
from logtrick._variable_selection.model import Model, Posterior
from logtrick._variable_selection.progress import Progress

Array = jax.Array
Objective = Callable[[Any, Array], Array]

# Who races: an estimator that lands in the library takes one line here.
RACERS: dict[str, lt.Estimator] = {
    "no baseline": lt.ScoreFunction(lt.NoBaseline()),
    "leave-one-out": lt.ScoreFunction(lt.LeaveOneOut()),
    "DisARM": lt.DisARM(),
    "Enumerate": lt.Enumerate(),
    "Pathwise": lt.Pathwise(),
}

# What draws nothing: the same every time, at an evaluation for each of the models, so only where they are enumerated.
EXACT = ("Enumerate",)

# Whose dependence on f's arbitrary constant is shown, by a second row.
SHIFTED = ("no baseline", "leave-one-out")
OTHER = ", other constant"

# Where: the fitted parameters times this.
POINTS = {"at the start": 0.0, "at 0.3 × the fit": 0.3, "at the fit": 1.0}


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured of an estimator at one point.

    Attributes:
      name: of the estimator; with `OTHER` where f is relative to the full model.
      evaluations: of f in one gradient; None where the estimator was refused, like all that follow.
      variance: of one gradient, summed over its coordinates.
      bias_z: the largest |z| of a coordinate of the mean gradient, in standard errors; None without an exact gradient.
      exact: the gradients do not vary and are the exact one, to the rounding of f.
      declared_biased: the names of its estimators that are declared biased.
      error: why it was refused; None where it ran.
    """

    name: str
    evaluations: int | None = None
    variance: float | None = None
    bias_z: float | None = None
    exact: bool = False
    declared_biased: tuple[str, ...] = ()
    error: str | None = None

    @property
    def variance_x_evaluations(self) -> float | None:
        """The evaluations that a given accuracy takes."""
        if self.variance is None or self.evaluations is None:
            return None
        return self.variance * self.evaluations

    def as_json(self) -> dict[str, Any]:
        """The row's numbers, without its name."""
        found = dataclasses.asdict(self)
        del found["name"]
        return {**found, "variance_x_evaluations": self.variance_x_evaluations}


@dataclasses.dataclass(frozen=True)
class RacePoint:
    """The race at one point, `where` it is.

    Attributes:
      where: the point, in words.
      rows: the estimators by name; those in `SHIFTED` again, each after its own, with f relative to the full model.
    """

    where: str
    rows: dict[str, Row]


def run(
    key: Array,
    model: Model,
    fitted: Array,
    num_samples: int,
    num_replicates: int,
    progress: Progress,
) -> list[RacePoint]:
    """The race at every point, against the exact gradient where the models are enumerated.

    Args:
      key: of all draws.
      model: the posterior.
      fitted: the logits of the fitted independent guide.
      num_samples: draws of one gradient.
      num_replicates: gradients of every estimator at every point.
      progress: where the points are reported.
    """
    objectives = objectives_of(model, num_samples)
    still = [name for name in objectives if name in EXACT]
    moving = [name for name in objectives if name not in EXACT]
    rounds = [
        (moving, 0.0, num_replicates, ""),
        (SHIFTED, other_constant(model), num_replicates, OTHER),
    ]
    rounds += [(still, 0.0, 2, "")] if still else []
    points = []
    for i, (where, scale) in enumerate(POINTS.items()):
        logits = scale * fitted
        exact = exact_gradient(model.posterior, logits) if model.enumerable else None
        found: dict[str, Row] = {}
        for names, constant, count, suffix in rounds:
            chosen = {name + suffix: objectives[name] for name in names}
            here = jax.random.fold_in(key, i)
            found |= _measured(here, chosen, (logits, jnp.float32(constant)), count, exact)
        order = [row for name in objectives for row in (name, name + OTHER) if row in found]
        points.append(RacePoint(where, {name: found[name] for name in order}))
        progress.reach((i + 1) / len(POINTS), where)
    return points


def _measured(
    key: Array,
    objectives: dict[str, Objective],
    params: tuple[Array, Array],
    num_replicates: int,
    exact: np.ndarray | None,
) -> dict[str, Row]:
    """A row for each objective; single calls this small are not timed, that would time the dispatch."""
    # there is always a reference, so that none is looked for; without an exact gradient the biases are not used
    reference = (np.zeros(params[0].shape) if exact is None else exact, 0.0)
    comparison = lt.compare_estimators(
        key, objectives, params, num_replicates=num_replicates, reference=reference, num_timings=0
    )
    return {name: _row(name, comparison[name], exact) for name in objectives}


def _row(name: str, measured: Any, exact: np.ndarray | None) -> Row:
    """One row of `lt.compare_estimators`, its bias judged by the rounding of f, whose constant is arbitrary."""
    if measured.error is not None:
        return Row(name, error=measured.error)
    statistics = measured.statistics
    variance = float(np.sum(statistics.variance[0]))
    row = Row(name, measured.evaluations, variance, declared_biased=tuple(measured.biased))
    if exact is None:
        return row
    rounding = 8 * np.finfo(np.float32).eps * max(1.0, abs(statistics.value))
    error = np.abs(statistics.mean[0] - exact)
    z = error / np.hypot(statistics.standard_error[0], rounding)
    same = bool(variance <= rounding**2 and np.all(error <= rounding))
    return dataclasses.replace(row, bias_z=0.0 if same else float(z.max()), exact=same)


def objectives_of(model: Model, num_samples: int) -> dict[str, Objective]:
    """The ELBO of (logits, f's constant) by every estimator; no enumeration where it is too large."""
    return {
        name: elbo(model, estimator, num_samples)
        for name, estimator in RACERS.items()
        if model.enumerable or name not in EXACT
    }


def elbo(model: Model, estimator: lt.Estimator, num_samples: int) -> Objective:
    """The ELBO of the independent guide by `vi.loss`, which holds log q constant inside of the expectation.

    The objective's parameters are the logits and a constant that is subtracted from log p. The gradient in the logits does
    not depend on it, the variance of some estimators does. It is an argument, so that both constants are one compiled
    program; its own gradient is 0.
    """

    def objective(params: tuple[Array, Array], key: Array) -> Array:
        logits, constant = params
        log_density = lambda inclusion: model.log_joint(inclusion) - lax.stop_gradient(constant)
        q = vi.BernoulliProduct(logits=logits)
        return -vi.loss(key, log_density, q, estimator=estimator, num_samples=num_samples)

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

"""The race: the estimators' bias, variance and cost on the independent guide's ELBO, at three points of its way."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick._variable_selection.fit import Fitted, elbo
from logtrick._variable_selection.guides import Guide
from logtrick._variable_selection.model import Model
from logtrick._variable_selection.progress import Progress

Array = jax.Array

# Who races: an estimator that lands in the library takes one line here.
RACERS: dict[str, lt.Estimator] = {
    "no baseline": lt.ScoreFunction(lt.NoBaseline()),
    "leave-one-out": lt.ScoreFunction(lt.LeaveOneOut()),
    "Enumerate": lt.Enumerate(),
}

# Those whose dependence on f's arbitrary constant is shown, by a second row.
SHIFTED = ("no baseline", "leave-one-out")

# Where: the fitted parameters times this.
POINTS = {"at the start": 0.0, "at 0.3 × the fit": 0.3, "at the fit": 1.0}


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator at one point.

    Attributes:
      name: the estimator's.
      bias_z: the largest |z| of a gradient coordinate against the exact gradient; None where it is not known.
      variance: of one gradient, summed over its coordinates.
      evaluations: of f a gradient.
      exact: nothing is random: the gradient is the exact one.
    """

    name: str
    bias_z: float | None
    variance: float
    evaluations: int
    exact: bool

    @property
    def work(self) -> float:
        """Variance × evaluations: the cost of a given accuracy."""
        return self.variance * self.evaluations


@dataclasses.dataclass(frozen=True)
class Heat:
    """The race at one point."""

    where: str
    rows: list[Row]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)

    def as_json(self) -> dict[str, Any]:
        return {
            row.name: {
                "bias_z": row.bias_z,
                "variance": row.variance,
                "evaluations": row.evaluations,
                "variance_x_evaluations": row.work,
                "exact": row.exact,
            }
            for row in self.rows
        }


def constant(model: Model) -> float:
    """f relative to the full model instead of the null model: this much less, for every γ."""
    return float(model.log_joint(jnp.ones(model.num_predictors)) - model.log_joint(jnp.zeros(model.num_predictors)))


def shifted(name: str) -> str:
    return f"{name}, other constant"


def refusal(model: Model, guide: Guide) -> str:
    """The error in which pathwise gradients through the guide end."""
    objective = elbo(model, guide, lt.Pathwise())
    try:
        jax.eval_shape(objective, guide.initial(model.num_predictors), jax.random.key(0))
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("Pathwise() was not refused on a discrete guide.")

"""Which estimator is legal for which objective, as data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from logtrick.estimators import Enumerate, Estimator, Pathwise, ScoreFunction
from logtrick.vi._estimators._base import WeightEstimator
from logtrick.vi._estimators._ovis import OVIS
from logtrick.vi._objectives._base import Objective, has_held_form
from logtrick.vi._objectives._inclusive_kl import InclusiveKL
from logtrick.vi._objectives._log_variance import LogVariance
from logtrick.vi._objectives._renyi import IWELBO, Renyi


class Cell(NamedTuple):
    """One legal cell of the table.

    Attributes:
      unbiased: whether the estimate's mean is the gradient of the objective's stated target.
      why: what makes it biased.
    """

    unbiased: bool
    why: str = ""


_YES = Cell(True)
_STL = Cell(
    False, "for k > 1 the score term that it leaves out does not have mean 0; DReG() is unbiased"
)
_SHORT = Cell(False, "weights are normalized among the draws: a bias of O(1/n)")
_GAMMA = Cell(
    False, "at gamma > 0 the control variate depends on its own draw; OVIS(0.0) is unbiased"
)

_K_DRAWS = {
    "ScoreFunction": _YES,
    "Pathwise": _YES,
    "Enumerate": _YES,
    "STL": _STL,
    "DReG": _YES,
    "VIMCO": _YES,
}

# Rows: kinds of objectives; columns: estimators. What is not here is illegal. What an estimator needs of the guide, it
# declares itself: Pathwise, STL and DReG a reparameterized one, Enumerate a finite one, DisARM bits, and so on.
LEGAL: dict[str, dict[str, Cell]] = {
    "ELBO": {"any lt.Estimator": _YES, "STL": _YES, "DReG": _YES},
    "k-draw bound": _K_DRAWS,
    "IWELBO": {**_K_DRAWS, "OVIS": _YES},
    "one-draw objective": {"any lt.Estimator": _YES, "DReG": _YES},
    "LogVariance": {"HeldDraws": _YES},
    "InclusiveKL": {"HeldDraws": _SHORT},
    "Renyi, alpha < 0": {"HeldDraws": _SHORT},
    "other, with held()": {"HeldDraws": _SHORT},
}


def kind(objective: Objective) -> str:
    """The row of an objective."""
    if objective.linear:
        return "ELBO"
    if isinstance(objective, IWELBO):
        return "IWELBO" if objective.k > 1 else "one-draw objective"
    if isinstance(objective, Renyi):
        return "k-draw bound" if objective.maximize else "Renyi, alpha < 0"
    if isinstance(objective, LogVariance | InclusiveKL):
        return type(objective).__name__
    if has_held_form(objective):
        return "other, with held()"
    return "one-draw objective" if objective.num_draws == 1 else "k-draw bound"


def cell(objective: Objective, estimator: Any, where: str = "vi.loss") -> Cell:
    """The cell of one objective and one estimator; `where` is who asks, for the message.

    Raises:
      ValueError: it is illegal.
    """
    row, name = LEGAL[kind(objective)], type(estimator).__name__
    if name in row and isinstance(
        estimator, WeightEstimator | ScoreFunction | Pathwise | Enumerate
    ):
        if isinstance(estimator, OVIS) and not estimator.unbiased:
            return _GAMMA
        return row[name]
    if "any lt.Estimator" in row and isinstance(estimator, Estimator):
        return _YES if estimator.unbiased else Cell(False, f"{name} is declared biased")
    title = type(objective).__name__
    raise ValueError(
        f"{where}(estimator=…): {title} needs one of {', '.join(_calls(row))} as estimator; got {name}(). "
        f'Pass one of them, or estimator="auto".'
    )


def _calls(row: Mapping[str, Cell]) -> list[str]:
    return [
        name if name.startswith("any") else f"{name}()" + ("" if c.unbiased else " (biased)")
        for name, c in row.items()
    ]

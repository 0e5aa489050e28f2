"""The whole job: fit both guides, run the race. The diabetes table, on which it runs by default, ships with the package."""

import dataclasses
from importlib import resources
from typing import TextIO

import jax

from logtrick._variable_selection import data, race
from logtrick._variable_selection.fit import Fitted, fit
from logtrick._variable_selection.guides import GUIDES, Guide
from logtrick._variable_selection.model import Model, Posterior
from logtrick._variable_selection.progress import Progress
from logtrick._variable_selection.table import Table

# Gradients drawn of every estimator at every point of the race; fewer where each is dear (p³ a draw).
REPLICATES, DEAR = 4000, 16


@dataclasses.dataclass(frozen=True)
class Result:
    """What the job found.

    Attributes:
      table: the data.
      model: the regression model.
      posterior: the exact one; None where there are too many models.
      fits: the fitted guides.
      race: the estimators' variances along the first guide's way.
      num_replicates: gradients drawn of every estimator at every point of it.
    """

    table: Table
    model: Model
    posterior: Posterior | None
    fits: list[Fitted]
    race: list[race.RacePoint]
    num_replicates: int


def diabetes() -> Table:
    """The data of Efron, Hastie, Johnstone & Tibshirani (2004), "Least Angle Regression": 442 patients."""
    about = (
        "Which of 10 measurements of 442 diabetes patients predict the disease a year later "
        "(Efron et al. 2004)?"
    )
    with resources.as_file(resources.files(__package__).joinpath("diabetes.csv")) as path:
        table = data.read(str(path), "target")
    return dataclasses.replace(table, path="diabetes.csv (shipped)", about=about, assumed=())


def run(
    table: Table,
    key: jax.Array,
    stream: TextIO | None,
    guides: tuple[Guide, ...] = GUIDES,
    num_replicates: int | None = None,
) -> Result:
    """Fit `guides` and let the estimators race on the first of them; progress goes to `stream`."""
    # shares in rough seconds, of which most is compilation
    stages = {f"{guide.name} guide": 3 + guide.num_steps / 2000 for guide in guides}
    progress = Progress({"the models": 0.5, **stages, "the race": 8}, stream)
    progress.begin("the models")
    model = Model(table)
    posterior = model.posterior if model.enumerable else None
    fits: list[Fitted] = []
    for i, (stage, guide) in enumerate(zip(stages, guides)):
        progress.begin(stage)
        contained = fits[0] if fits and guide.containing is not None else None
        fits.append(fit(jax.random.fold_in(key, i), model, guide, progress, contained))
    progress.begin("the race")
    num_replicates = num_replicates or max(
        200, int(REPLICATES * min(1.0, DEAR / model.num_predictors) ** 3)
    )
    points = race.run(
        jax.random.fold_in(key, len(guides)),
        model,
        fits[0].q.logits,
        guides[0].num_samples,
        num_replicates,
        progress,
    )
    progress.end()
    return Result(table, model, posterior, fits, points, num_replicates)

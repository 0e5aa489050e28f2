"""One site: its description, and whether its estimator is legal where it stands."""

import math
from typing import Any

import jax

from logtrick import noise as _noise
from logtrick.distributions import Distribution
from logtrick.estimators import Estimator, FiniteSupport, Points
from logtrick.noise import INDEPENDENT
from logtrick.programs._infos import SiteInfo
from logtrick.programs._statements import Sample
from logtrick.programs._walk import changed


def site_info(statement: Sample, index: int, num_samples: int) -> SiteInfo:
    """Describe a site, and check that its estimator is legal for its distribution."""
    estimator, dist = statement.estimator, statement.dist
    estimator.check(dist, num_samples)
    name = index if statement.name is None else statement.name
    family = type(dist).__name__.lstrip("_")
    return SiteInfo(
        name,
        family,
        estimator,
        estimator.noise(dist),
        _event_size(dist),
        evaluations=estimator.count_evaluations(dist) if estimator.sums_out else 0,
        factorized=dist.independent_factors is not None,
    )


def _event_size(dist: Distribution) -> int:
    """How many numbers a draw has; 0 where its shape is not declared."""
    is_shape = lambda s: isinstance(s, tuple) and set(map(type, s)) <= {int}
    # a draw that is a pytree has a pytree of shapes
    shapes = jax.tree.leaves(dist.event_shape, is_leaf=is_shape)
    return sum(map(math.prod, shapes))


def check_site(statement: Sample, planned: SiteInfo) -> SiteInfo:
    """Check that a site of the running program is the one that the abstract run found."""
    noise = statement.estimator.noise(statement.dist)
    same = jax.tree.structure(noise) == jax.tree.structure(planned.noise)
    if not same or type(statement.estimator) is not type(planned.estimator):
        raise changed(f"distributions or estimators at site {planned.name!r}")
    return planned


def branches(estimator: Estimator, points: Points) -> bool:
    """Whether an estimator evaluates the rest of the program at several points, or differentiates it."""
    return points.stacked or bool(points.centers) or estimator.derivatives_of_rest > 0


def check_in_loop(where: str, statement: Sample, points: Any) -> None:
    """Check that a statement is legal inside a loop over time."""
    estimator, name = statement.estimator, type(statement.estimator).__name__
    instead = "Use ScoreFunction() or Pathwise() inside the step, or draw outside of the loop."
    if points.stacked:
        if where == "lt.scan" and FiniteSupport in estimator.needs:
            instead = f"VariableElimination() sums a Markov chain out exactly. Else: {instead[0].lower()}{instead[1:]}"
        raise ValueError(
            f"{where}: {name} evaluates the rest of the program at {points.count} points: in each of T steps that would "
            f"be {points.count}^T in all. {instead}"
        )
    if branches(estimator, points):
        raise ValueError(
            f"{where}: {name} differentiates the rest of the program, which inside of a step is not known yet. {instead}"
        )
    check_independent(where, statement)


def check_independent(where: str, statement: Sample) -> None:
    """Inside a loop or plate the rows of noise are steps or elements as well as samples: they must be independent."""
    specs = jax.tree.leaves(statement.estimator.noise(statement.dist), is_leaf=_noise.is_noise)
    if any(type(spec) not in INDEPENDENT for spec in specs):
        what = "a plate's rows are elements" if where == "lt.plate" else "a loop's rows are steps"
        raise ValueError(
            f"{where}: the noise of {type(statement.estimator).__name__} depends from sample to sample, and {what} as "
            "well. Use the plan IID()."
        )

"""Variational inference: a log density, a guide, one call, and a verdict."""

from logtrick.vi._diagnose import diagnose as diagnose
from logtrick.vi._engines import (
    BatchAndMatch as BatchAndMatch,
    Engine as Engine,
    EngineResult as EngineResult,
    FixedDraws as FixedDraws,
    Gaussian as Gaussian,
    Laplace as Laplace,
    NaturalGradient as NaturalGradient,
    Pathfinder as Pathfinder,
    Pipeline as Pipeline,
    QuadraticRegression as QuadraticRegression,
)
from logtrick.vi._families._normal import (
    FullRankNormal as FullRankNormal,
    MeanFieldNormal as MeanFieldNormal,
)
from logtrick.vi._guide import Guide as Guide
from logtrick.vi._supports import (
    correlation_cholesky as correlation_cholesky,
    interval as interval,
    ordered as ordered,
    positive as positive,
    real as real,
    simplex as simplex,
    unit_interval as unit_interval,
)
from logtrick.vi._target import Target as Target
from logtrick.vi._verdict import Report as Report

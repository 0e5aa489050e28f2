"""Variational inference: a log density, a guide, one call, and a verdict."""

from logtrick.vi._amortized import Amortized as Amortized, PerRow as PerRow, per_row as per_row
from logtrick.vi._beyond import (
    MCMCStart as MCMCStart,
    mcmc_start as mcmc_start,
    predict as predict,
    to_arviz as to_arviz,
)
from logtrick.vi._calibrate import Calibration as Calibration, calibrate as calibrate
from logtrick.vi._conditioned import Conditioned as Conditioned
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
from logtrick.vi._estimators._base import WeightEstimator as WeightEstimator
from logtrick.vi._estimators._dreg import DReG as DReG
from logtrick.vi._estimators._held_draws import HeldDraws as HeldDraws
from logtrick.vi._estimators._ovis import OVIS as OVIS
from logtrick.vi._estimators._stl import STL as STL
from logtrick.vi._estimators._vimco import (
    VIMCO as VIMCO,
    ArithmeticMean as ArithmeticMean,
    GeometricMean as GeometricMean,
)
from logtrick.vi._families._blocks import Blocks as Blocks
from logtrick.vi._families._coupling_flow import CouplingFlow as CouplingFlow
from logtrick.vi._families._low_rank import LowRankNormal as LowRankNormal
from logtrick.vi._families._mixture import MixtureOf as MixtureOf
from logtrick.vi._families._normal import (
    FullRankNormal as FullRankNormal,
    MeanFieldNormal as MeanFieldNormal,
)
from logtrick.vi._families._products import (
    BernoulliProduct as BernoulliProduct,
    CategoricalProduct as CategoricalProduct,
)
from logtrick.vi._families._student_t import StudentT as StudentT
from logtrick.vi._families._wrapped import Wrapped as Wrapped
from logtrick.vi._fit import fit as fit
from logtrick.vi._guide import Guide as Guide
from logtrick.vi._importance import (
    ImportanceSample as ImportanceSample,
    importance_sample as importance_sample,
)
from logtrick.vi._legality import LEGAL as LEGAL
from logtrick.vi._loss import loss as loss
from logtrick.vi._minibatch import Minibatch as Minibatch, minibatch as minibatch
from logtrick.vi._objectives._base import Objective as Objective
from logtrick.vi._objectives._elbo import ELBO as ELBO
from logtrick.vi._objectives._inclusive_kl import InclusiveKL as InclusiveKL
from logtrick.vi._objectives._log_variance import LogVariance as LogVariance
from logtrick.vi._objectives._renyi import IWELBO as IWELBO, Renyi as Renyi
from logtrick.vi._result import Fit as Fit, History as History
from logtrick.vi._shortcuts import laplace as laplace, pathfinder as pathfinder
from logtrick.vi._step import Info as Info, State as State, init as init, step as step
from logtrick.vi._stop import StopRule as StopRule
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

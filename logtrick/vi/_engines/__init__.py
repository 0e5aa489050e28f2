"""Engines of variational inference: each fits a Gaussian to a log density on flat, unconstrained vectors."""

from logtrick.vi._engines._base import Engine as Engine, EngineResult as EngineResult
from logtrick.vi._engines._batch_and_match import BatchAndMatch as BatchAndMatch
from logtrick.vi._engines._fixed_draws import FixedDraws as FixedDraws
from logtrick.vi._engines._gaussian import Gaussian as Gaussian
from logtrick.vi._engines._laplace import Laplace as Laplace
from logtrick.vi._engines._natural_gradient import NaturalGradient as NaturalGradient
from logtrick.vi._engines._pathfinder import Pathfinder as Pathfinder
from logtrick.vi._engines._pipeline import Pipeline as Pipeline
from logtrick.vi._engines._quadratic_regression import QuadraticRegression as QuadraticRegression

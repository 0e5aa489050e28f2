"""Engines of variational inference: each fits a Gaussian to a log density on flat, unconstrained vectors."""

from logtrick.vi._engines._base import Engine as Engine, EngineResult as EngineResult
from logtrick.vi._engines._gaussian import Gaussian as Gaussian

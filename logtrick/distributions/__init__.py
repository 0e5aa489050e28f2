"""Distributions: one draw, a scalar log-prob, declared capabilities."""

from logtrick.distributions._base import Distribution as Distribution
from logtrick.distributions._bernoulli import Bernoulli as Bernoulli
from logtrick.distributions._family import Family as Family, distribution as distribution
from logtrick.distributions._normal import MultivariateNormal as MultivariateNormal, Normal as Normal

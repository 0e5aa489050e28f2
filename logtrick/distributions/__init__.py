"""Distributions: one draw, a scalar log-prob, declared capabilities."""

from logtrick.distributions._base import Distribution as Distribution
from logtrick.distributions._bernoulli import Bernoulli as Bernoulli
from logtrick.distributions._beta import Beta as Beta
from logtrick.distributions._categorical import Categorical as Categorical, OneHotCategorical as OneHotCategorical
from logtrick.distributions._family import Family as Family, distribution as distribution
from logtrick.distributions._gamma import Exponential as Exponential, Gamma as Gamma
from logtrick.distributions._normal import MultivariateNormal as MultivariateNormal, Normal as Normal
from logtrick.distributions._poisson import Poisson as Poisson

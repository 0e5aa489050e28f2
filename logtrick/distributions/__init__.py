"""Distributions: one draw, a scalar log-prob, declared capabilities."""

from logtrick.distributions._base import (
    Distribution as Distribution,
    Factorized as Factorized,
)
from logtrick.distributions._bernoulli import Bernoulli as Bernoulli
from logtrick.distributions._beta import Beta as Beta
from logtrick.distributions._categorical import (
    Categorical as Categorical,
    OneHotCategorical as OneHotCategorical,
)
from logtrick.distributions._counts import (
    Binomial as Binomial,
    Geometric as Geometric,
    NegativeBinomial as NegativeBinomial,
)
from logtrick.distributions._dirichlet import Dirichlet as Dirichlet
from logtrick.distributions._draw import Draw as Draw, value_of as value_of
from logtrick.distributions._family import Family as Family, distribution as distribution
from logtrick.distributions._gamma import Exponential as Exponential, Gamma as Gamma
from logtrick.distributions._joint import Joint as Joint
from logtrick.distributions._location_scale import (
    Cauchy as Cauchy,
    Gumbel as Gumbel,
    Laplace as Laplace,
    LocationScale as LocationScale,
    StudentT as StudentT,
)
from logtrick.distributions._log_normal import LogNormal as LogNormal
from logtrick.distributions._mixture import Mixture as Mixture
from logtrick.distributions._normal import (
    MultivariateNormal as MultivariateNormal,
    Normal as Normal,
)
from logtrick.distributions._plackett_luce import PlackettLuce as PlackettLuce
from logtrick.distributions._poisson import Poisson as Poisson
from logtrick.distributions._transformed import Transformed as Transformed
from logtrick.distributions._uniform import Uniform as Uniform
from logtrick.distributions._weak import WeakDerivative as WeakDerivative

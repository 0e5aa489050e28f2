"""The names of `logtrick.distributions` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick.distributions._base import Distribution as Distribution
from logtrick.distributions._bernoulli import Bernoulli as Bernoulli
from logtrick.distributions._beta import Beta as Beta
from logtrick.distributions._capabilities import (
    ClosedForms as ClosedForms,
    Enumeration as Enumeration,
    Factors as Factors,
    Quantiles as Quantiles,
)
from logtrick.distributions._categorical import (
    Categorical as Categorical,
    OneHotCategorical as OneHotCategorical,
)
from logtrick.distributions._counts import (
    Binomial as Binomial,
    Geometric as Geometric,
)
from logtrick.distributions._dirichlet import Dirichlet as Dirichlet
from logtrick.distributions._draw import Draw as Draw, is_draw as is_draw, value_of as value_of
from logtrick.distributions._factorized import Factorized as Factorized
from logtrick.distributions._family import Family as Family, distribution as distribution
from logtrick.distributions._gamma import Exponential as Exponential, Gamma as Gamma
from logtrick.distributions._joint import Joint as Joint
from logtrick.distributions._location_scale import (
    Cauchy as Cauchy,
    Gumbel as Gumbel,
    Laplace as Laplace,
    LocationScale as LocationScale,
)
from logtrick.distributions._log_normal import LogNormal as LogNormal
from logtrick.distributions._mass import probability as probability
from logtrick.distributions._mixture import Mixture as Mixture
from logtrick.distributions._negative_binomial import NegativeBinomial as NegativeBinomial
from logtrick.distributions._noisy_logits import (
    NoisyBits as NoisyBits,
    NoisyLogits as NoisyLogits,
    NoisyRows as NoisyRows,
)
from logtrick.distributions._normal import (
    MultivariateNormal as MultivariateNormal,
    Normal as Normal,
)
from logtrick.distributions._parameters import widened as widened
from logtrick.distributions._plackett_luce import PlackettLuce as PlackettLuce
from logtrick.distributions._poisson import Poisson as Poisson
from logtrick.distributions._student_t import StudentT as StudentT
from logtrick.distributions._transformed import Transformed as Transformed
from logtrick.distributions._uniform import Uniform as Uniform
from logtrick.distributions._weak import (
    WeakDerivative as WeakDerivative,
    WeakDerivatives as WeakDerivatives,
    weak_noise_spec as weak_noise_spec,
    weak_terms as weak_terms,
)

"""logtrick: gradients of expectations in JAX by the log-derivative trick, ∇p = p ∇log p."""

import importlib
from typing import TYPE_CHECKING, Any

from logtrick import training as training
from logtrick._core.errors import (
    BlackBoxError as BlackBoxError,
    DerivativeOrderError as DerivativeOrderError,
    NonFiniteError as NonFiniteError,
    UnaccountedRandomnessError as UnaccountedRandomnessError,
)
from logtrick._core.kernel import magic_box as magic_box
from logtrick._core.keys import key as key
from logtrick._core.trick import density_and_grad as density_and_grad, score as score
from logtrick._version import __version__ as __version__
from logtrick.baselines import (
    IID as IID,
    Antithetic as Antithetic,
    Baseline as Baseline,
    ConstantBaseline as ConstantBaseline,
    ControlVariate as ControlVariate,
    DeltaMethod as DeltaMethod,
    LearnedBaseline as LearnedBaseline,
    LeaveOneOut as LeaveOneOut,
    MovingAverage as MovingAverage,
    MuProp as MuProp,
    NoBaseline as NoBaseline,
    OptimalBaseline as OptimalBaseline,
    Plan as Plan,
    Sobol as Sobol,
    Stratified as Stratified,
)
from logtrick.diagnostics import (
    Comparison as Comparison,
    GradientStatistics as GradientStatistics,
    compare_estimators as compare_estimators,
    gradient_statistics as gradient_statistics,
)
from logtrick.distributions import (
    Bernoulli as Bernoulli,
    Beta as Beta,
    Binomial as Binomial,
    Categorical as Categorical,
    Cauchy as Cauchy,
    Dirichlet as Dirichlet,
    Distribution as Distribution,
    Exponential as Exponential,
    Family as Family,
    Gamma as Gamma,
    Geometric as Geometric,
    Joint as Joint,
    Laplace as Laplace,
    LogNormal as LogNormal,
    Mixture as Mixture,
    MultivariateNormal as MultivariateNormal,
    NegativeBinomial as NegativeBinomial,
    Normal as Normal,
    OneHotCategorical as OneHotCategorical,
    PlackettLuce as PlackettLuce,
    Poisson as Poisson,
    StudentT as StudentT,
    Transformed as Transformed,
    Uniform as Uniform,
    WeakDerivative as WeakDerivative,
    distribution as distribution,
)
from logtrick.estimators import (
    ARM as ARM,
    ARMS as ARMS,
    LAX as LAX,
    REBAR as REBAR,
    RELAX as RELAX,
    RODEO as RODEO,
    Combination as Combination,
    Costs as Costs,
    DisARM as DisARM,
    DoubleCV as DoubleCV,
    Enumerate as Enumerate,
    Estimator as Estimator,
    GeneralizedReparameterization as GeneralizedReparameterization,
    GumbelRao as GumbelRao,
    GumbelSoftmax as GumbelSoftmax,
    LocalExpectation as LocalExpectation,
    MeasureValued as MeasureValued,
    Pathwise as Pathwise,
    ReinMax as ReinMax,
    ScoreFunction as ScoreFunction,
    StraightThrough as StraightThrough,
    StraightThroughGumbelSoftmax as StraightThroughGumbelSoftmax,
    SumAndSample as SumAndSample,
    UnorderedSet as UnorderedSet,
    cite as cite,
)
from logtrick.programs import (
    Aux as Aux,
    Explanation as Explanation,
    Fisher as Fisher,
    GivenAux as GivenAux,
    Scores as Scores,
    TraceAux as TraceAux,
    black_box as black_box,
    cost as cost,
    eligibility_trace as eligibility_trace,
    expect as expect,
    expect_given as expect_given,
    expect_program as expect_program,
    explain as explain,
    fisher as fisher,
    sample as sample,
    scan as scan,
    scores as scores,
)
from logtrick.training import (
    FitResult as FitResult,
    maximize as maximize,
    minimize as minimize,
)

if TYPE_CHECKING:
    from logtrick import adapters as adapters, testing as testing


def __getattr__(name: str) -> Any:
    """`lt.adapters` and `lt.testing`, imported where they are first used: most programs use neither."""
    if name in ("adapters", "testing"):
        return importlib.import_module(f"logtrick.{name}")
    raise AttributeError(f"module 'logtrick' has no attribute {name!r}")

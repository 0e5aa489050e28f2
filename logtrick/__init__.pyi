"""The public names and where each lives: read by type checkers, and by `__init__.py`, which imports them on first use."""

from logtrick import (
    adapters as adapters,
    baselines as baselines,
    bijectors as bijectors,
    diagnostics as diagnostics,
    distributions as distributions,
    eligibility as eligibility,
    estimators as estimators,
    expectations as expectations,
    noise as noise,
    plans as plans,
    programs as programs,
    rl as rl,
    scoring as scoring,
    supports as supports,
    testing as testing,
    training as training,
    vi as vi,
)
from logtrick._core.errors import (
    BlackBoxError as BlackBoxError,
    CheckpointError as CheckpointError,
    DerivativeOrderError as DerivativeOrderError,
    NonFiniteError as NonFiniteError,
    UnaccountedRandomnessError as UnaccountedRandomnessError,
)
from logtrick._core.kernel import first_order as first_order, magic_box as magic_box
from logtrick._core.keys import key as key
from logtrick._core.module import (
    Module as Module,
    assign as assign,
    replace as replace,
    static as static,
)
from logtrick._core.samples import Runs as Runs
from logtrick._version import __version__ as __version__
from logtrick.baselines import (
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
)
from logtrick.diagnostics import (
    autoselect as autoselect,
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
    Gamma as Gamma,
    Geometric as Geometric,
    Gumbel as Gumbel,
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
    distribution as distribution,
)
from logtrick.eligibility import eligibility_trace as eligibility_trace
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
    Points as Points,
    ReinMax as ReinMax,
    ScoreFunction as ScoreFunction,
    StraightThrough as StraightThrough,
    StraightThroughGumbelSoftmax as StraightThroughGumbelSoftmax,
    SumAndSample as SumAndSample,
    UnorderedSet as UnorderedSet,
    VariableElimination as VariableElimination,
    WithControlVariate as WithControlVariate,
    cite as cite,
)
from logtrick.expectations import (
    expect as expect,
    expect_given as expect_given,
    expect_program as expect_program,
    expect_tree as expect_tree,
)
from logtrick.plans import (
    IID as IID,
    Antithetic as Antithetic,
    Plan as Plan,
    Sobol as Sobol,
    Stratified as Stratified,
)
from logtrick.programs import (
    black_box as black_box,
    cost as cost,
    explain as explain,
    fresh_key as fresh_key,
    plate as plate,
    sample as sample,
    scan as scan,
)
from logtrick.scoring import (
    density_and_grad as density_and_grad,
    fisher as fisher,
    score as score,
    scores as scores,
)
from logtrick.training import (
    FitResult as FitResult,
    maximize as maximize,
    minimize as minimize,
)

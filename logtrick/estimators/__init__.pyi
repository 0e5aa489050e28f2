"""The names of `logtrick.estimators` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick._core.checks import number as number, scalar_cost as scalar_cost
from logtrick._core.mesh import local as local
from logtrick.estimators._arm import ARM as ARM
from logtrick.estimators._arms import ARMS as ARMS
from logtrick.estimators._base import Estimator as Estimator, Rest as Rest
from logtrick.estimators._cite import cite as cite
from logtrick.estimators._combination import Combination as Combination
from logtrick.estimators._costs import Costs as Costs
from logtrick.estimators._derivatives import Derivatives as Derivatives
from logtrick.estimators._disarm import DisARM as DisARM
from logtrick.estimators._double_cv import DoubleCV as DoubleCV
from logtrick.estimators._enumerate import Enumerate as Enumerate
from logtrick.estimators._evaluate import (
    close as close,
    close_limited as close_limited,
    draw as draw,
    evaluate as evaluate,
)
from logtrick.estimators._generalized_reparameterization import (
    GeneralizedReparameterization as GeneralizedReparameterization,
    HasStandardization as HasStandardization,
)
from logtrick.estimators._gumbel_rao import GumbelRao as GumbelRao
from logtrick.estimators._gumbel_softmax import (
    GumbelSoftmax as GumbelSoftmax,
    StraightThroughGumbelSoftmax as StraightThroughGumbelSoftmax,
)
from logtrick.estimators._lax import LAX as LAX
from logtrick.estimators._local_expectation import LocalExpectation as LocalExpectation
from logtrick.estimators._logits import (
    as_draw as as_draw,
    hard_draw as hard_draw,
    logits_of as logits_of,
    noisy_logits_of as noisy_logits_of,
    score as score,
    uniforms as uniforms,
)
from logtrick.estimators._measure_valued import (
    HasWeakDerivatives as HasWeakDerivatives,
    MeasureValued as MeasureValued,
)
from logtrick.estimators._needs import (
    Bits as Bits,
    BitsOrOneHot as BitsOrOneHot,
    DifferentiableCost as DifferentiableCost,
    FiniteSupport as FiniteSupport,
    Need as Need,
    Reparameterized as Reparameterized,
    alternative as alternative,
    check_needs as check_needs,
    require_needs as require_needs,
)
from logtrick.estimators._pathwise import Pathwise as Pathwise
from logtrick.estimators._points import Points as Points
from logtrick.estimators._rebar import REBAR as REBAR
from logtrick.estimators._reinmax import ReinMax as ReinMax
from logtrick.estimators._relax import RELAX as RELAX
from logtrick.estimators._relaxed import positive_scalar as positive_scalar
from logtrick.estimators._rodeo import RODEO as RODEO
from logtrick.estimators._score_function import (
    ScoreFunction as ScoreFunction,
    nan_unless_finite as nan_unless_finite,
)
from logtrick.estimators._straight_through import StraightThrough as StraightThrough
from logtrick.estimators._sum_and_sample import SumAndSample as SumAndSample
from logtrick.estimators._surrogate import surrogate as surrogate
from logtrick.estimators._unordered_set import UnorderedSet as UnorderedSet
from logtrick.estimators._variable_elimination import VariableElimination as VariableElimination
from logtrick.estimators._with_control_variate import WithControlVariate as WithControlVariate

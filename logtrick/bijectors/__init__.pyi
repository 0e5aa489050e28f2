"""The names of `logtrick.bijectors` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick.bijectors._base import Bijector as Bijector, is_bijector as is_bijector
from logtrick.bijectors._cholesky import (
    CholeskyCorrelation as CholeskyCorrelation,
    CholeskyCovariance as CholeskyCovariance,
)
from logtrick.bijectors._compose import (
    Chain as Chain,
    Invert as Invert,
    chained as chained,
    steps_of as steps_of,
)
from logtrick.bijectors._elementwise import (
    Affine as Affine,
    Exp as Exp,
    Identity as Identity,
    Interval as Interval,
    Sigmoid as Sigmoid,
    Softplus as Softplus,
)
from logtrick.bijectors._to import bijector_to as bijector_to
from logtrick.bijectors._vectors import (
    Ordered as Ordered,
    Permute as Permute,
    StickBreaking as StickBreaking,
)

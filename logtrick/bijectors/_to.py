"""The bijector from Rⁿ to a support."""

from collections.abc import Callable
from typing import Any

from logtrick import supports
from logtrick.bijectors._base import Bijector
from logtrick.bijectors._cholesky import CholeskyCorrelation, CholeskyCovariance
from logtrick.bijectors._elementwise import Exp, Identity, Interval, Sigmoid
from logtrick.bijectors._vectors import Ordered, StickBreaking
from logtrick.supports import Support

_TO: dict[type, Callable[[Any], Bijector]] = {
    supports.Real: lambda _: Identity(),
    supports.Positive: lambda _: Exp(),
    supports.UnitInterval: lambda _: Sigmoid(),
    supports.Interval: lambda support: Interval(support.low, support.high),
    supports.Simplex: lambda _: StickBreaking(),
    supports.Ordered: lambda _: Ordered(),
    supports.CovarianceCholesky: lambda _: CholeskyCovariance(),
    supports.CorrelationCholesky: lambda _: CholeskyCorrelation(),
}


def bijector_to(support: Support) -> Bijector:
    """The bijector from Rⁿ to `support`: what unconstrained variational inference and HMC go through.

    Args:
      support: a continuous support, `dist.support` say.
    Returns:
      A bijector T; `T.inverse_shape(event_shape)` is the shape of the unconstrained vector.
    Raises:
      ValueError: the support is discrete, or not declared.
    Example:
      >>> import logtrick as lt
      >>> from logtrick.bijectors import bijector_to
      >>> bijector_to(lt.Gamma(2.0, 1.0).support)
      Exp()
    """
    if type(support) not in _TO:
        kind = "discrete" if support.discrete else "not declared as one of the continuous ones"
        names = ", ".join(sorted(cls.__name__ for cls in _TO))
        raise ValueError(
            f"bijector_to(support=…) needs one of {names}; got {support!r}, which is {kind}."
        )
    return _TO[type(support)](support)

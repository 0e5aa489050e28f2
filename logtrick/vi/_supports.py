"""The supports of named variables, by the names that `support=` takes."""

from typing import Any

import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick.supports import (
    CorrelationCholesky,
    Interval,
    Ordered,
    Positive,
    Real,
    Simplex,
    UnitInterval,
)

real = Real()
positive = Positive()
unit_interval = UnitInterval()
simplex = Simplex()
ordered = Ordered()
correlation_cholesky = CorrelationCholesky()


@in_words("vi.interval")
def interval(low: Any, high: Any) -> Interval:
    """The support (low, high), in every coordinate of a variable.

    Args:
      low: lower ends, numbers or an array that broadcasts with the variable.
      high: upper ends, above `low`.
    Returns:
      A support for `support=`.
    Raises:
      ValueError: an end is not above its beginning, or is not finite.
    Example:
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like={"p": 0.5}, support={"p": vi.interval(0.0, 2.0)})
      >>> round(float(q.mean()["p"]), 3)                        # started at the value in `like`, scale 1
      0.572
    """
    low, high = (
        np.asarray(checks.numbers("vi.interval", name, end))
        for name, end in (("low", low), ("high", high))
    )
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low < high)):
        raise ValueError(
            f"vi.interval(low=…, high=…) needs finite ends, high above low; got {low}, {high}. "
            "Use vi.positive for a half-line."
        )
    return Interval(low, high)

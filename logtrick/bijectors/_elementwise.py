"""Bijectors that act on every coordinate by itself."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick._core.smooth import log_sigmoid, softplus
from logtrick.bijectors._base import Array, Bijector
from logtrick.supports import Interval as IntervalSupport, Positive, Support, UnitInterval, Unknown


class Identity(Bijector):
    """y = x.

    Example:
      >>> from logtrick.bijectors import Identity
      >>> Identity().forward(2.0)
      2.0
    """

    def forward(self, x: Array) -> Array:
        return x

    def inverse(self, y: Array) -> Array:
        return y

    def log_det(self, x: Array) -> Array:
        return jnp.zeros((), jnp.result_type(x, 0.0))

    def image(self, support: Support) -> Support:
        return support


class Exp(Bijector):
    """y = eˣ, to (0, ∞); log det = Σ x.

    Example:
      >>> from logtrick.bijectors import Exp
      >>> Exp().inverse(1.0).item()
      0.0
    """

    def forward(self, x: Array) -> Array:
        return jnp.exp(x)

    def inverse(self, y: Array) -> Array:
        return jnp.log(y)

    def log_det(self, x: Array) -> Array:
        return jnp.sum(x)

    def inside(self, y: Array) -> Array:
        return jnp.all(_between(y, 0, jnp.inf))

    def image(self, support: Support) -> Support:
        return Positive() if support.whole_space else Unknown()


class Softplus(Bijector):
    """y = log(1 + eˣ), to (0, ∞); log det = Σ log σ(x). Linear for large x, where Exp overflows.

    Example:
      >>> from logtrick.bijectors import Softplus
      >>> round(Softplus().forward(0.0).item(), 4)                  # log 2
      0.6931
    """

    def forward(self, x: Array) -> Array:
        return softplus(x)

    def inverse(self, y: Array) -> Array:
        return y + jnp.log(-jnp.expm1(-y))

    def log_det(self, x: Array) -> Array:
        return jnp.sum(log_sigmoid(x))

    def inside(self, y: Array) -> Array:
        return jnp.all(_between(y, 0, jnp.inf))

    def image(self, support: Support) -> Support:
        return Positive() if support.whole_space else Unknown()


class Sigmoid(Bijector):
    """y = 1 / (1 + e⁻ˣ), to (0, 1); log det = Σ log σ(x) + log σ(−x).

    Example:
      >>> from logtrick.bijectors import Sigmoid
      >>> Sigmoid().forward(0.0).item(), round(Sigmoid().log_det(0.0).item(), 4)        # log ¼
      (0.5, -1.3863)
    """

    def forward(self, x: Array) -> Array:
        return jax.nn.sigmoid(x)

    def inverse(self, y: Array) -> Array:
        return jnp.log(y) - jnp.log1p(-y)

    def log_det(self, x: Array) -> Array:
        return jnp.sum(_log_slope(x))

    def inside(self, y: Array) -> Array:
        return jnp.all(_between(y, 0, 1))

    def image(self, support: Support) -> Support:
        return UnitInterval() if support.whole_space else Unknown()


class Interval(Bijector):
    """y = low + (high − low) σ(x), to (low, high); near either end by its distance from that end.

    Args:
      low: lower ends, in the units of y.
      high: upper ends > low; both broadcast with x.
    Raises:
      ValueError: a concrete `high` is not above `low`, or one of them is infinite. (Traced ones give nan.)
    Example:
      >>> from logtrick.bijectors import Interval
      >>> Interval(-1.0, 3.0).forward(0.0).item()
      1.0
    """

    low: Any
    high: Any

    def __post_init__(self) -> None:
        low = checks.numbers("Interval", "low", self.low)
        high = checks.numbers("Interval", "high", self.high)
        legal = lambda w: (w > 0) & (w < jnp.inf)
        need = "high above low, by a finite number"
        width = checks.require("Interval", "high - low", high - low, legal, need)
        # by a divisor, since the derivative of a `where` would be 0 and not nan
        divisor = jnp.where(jnp.isnan(width), jnp.nan, jnp.ones((), width.dtype))
        assign(self, low=low, high=high / divisor)

    def forward(self, x: Array) -> Array:
        width = self.high - self.low
        step = width * jax.nn.sigmoid(-jnp.abs(x))
        return jnp.where(x < 0, self.low + step, self.high - step)

    def inverse(self, y: Array) -> Array:
        return jnp.log(y - self.low) - jnp.log(self.high - y)

    def log_det(self, x: Array) -> Array:
        return jnp.sum(_log_slope(x) + jnp.log(self.high - self.low))

    def inside(self, y: Array) -> Array:
        # illegal traced ends are nan, and nothing is outside of them: the log-prob becomes nan and not -inf
        return jnp.all(_between(y, self.low, self.high) | jnp.isnan(self.high))

    def image(self, support: Support) -> Support:
        return IntervalSupport(self.low, self.high) if support.whole_space else Unknown()

    def moves(self, support: Support) -> bool:
        return True


class Affine(Bijector):
    """y = loc + scale x; log det = Σ log |scale|.

    Args:
      loc: shifts, in the units of y.
      scale: factors, not 0; both broadcast to the shape of x.
    Raises:
      ValueError: a concrete scale is 0 or not finite. (Traced ones give nan.)
    Example:
      >>> from logtrick.bijectors import Affine
      >>> Affine(1.0, -2.0).forward(3.0).item(), round(Affine(1.0, -2.0).log_det(3.0).item(), 4)
      (-5.0, 0.6931)
    """

    loc: Any
    scale: Any

    def __post_init__(self) -> None:
        legal = lambda s: (abs(s) > 0) & (abs(s) < jnp.inf)
        scale = checks.numbers("Affine", "scale", self.scale)
        scale = checks.require("Affine", "scale", scale, legal, "finite numbers that are not 0")
        assign(self, loc=checks.numbers("Affine", "loc", self.loc), scale=scale)

    def forward(self, x: Array) -> Array:
        return self.loc + self.scale * x

    def inverse(self, y: Array) -> Array:
        return (y - self.loc) / self.scale

    def log_det(self, x: Array) -> Array:
        return jnp.sum(jnp.broadcast_to(jnp.log(jnp.abs(self.scale)), jnp.shape(x)))

    def moves(self, support: Support) -> bool:
        return not support.whole_space


def _between(y: Array, low: Any, high: Any) -> Array:
    y = jnp.asarray(y)
    return (y > low) & (y < high)


def _log_slope(x: Array) -> Array:
    return log_sigmoid(x) + log_sigmoid(-x)

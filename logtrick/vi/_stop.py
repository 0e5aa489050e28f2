"""When a stochastic fit has converged."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import constructor_in_words
from logtrick._core.show import show_arguments
from logtrick.vi._engines._density import generator
from logtrick.vi._engines._gaussian import Gaussian
from logtrick.vi._engines._natural_newton import antithetic, decrement_of

LOOKS = 50  # steps between two looks
_GAIN, _DECREMENT, _FIRST, _Z = 0.02, 0.01, 200, 1.64
_IN_A_ROW = 3
_DRAWS = 1024


@constructor_in_words
class StopRule:
    """Two conditions, both of which must hold: the ELBO has stopped rising, and its gradient is zero but for noise.

    (i) The mean gain between two consecutive windows of max(100, t/4) steps, plus 1.64 von Neumann standard errors, is
    below `gain` nats. (ii) The decrement, |mean b|²/2 + ‖mean H‖²_F/4 of the whitened score differences, is below 0.01 nats:
    it is computed where the guide is normal, and only once (i) holds. Without (ii), (i) must hold at three looks in a row.
    Looks are 50 steps apart, from step `first` on. Measured on 70 traces: the ELBO alone stops too early in 14 to 29 % of fits,
    the decrement alone in 13 %, both in 4 %.

    Args:
      decrement: `decrement(q) -> nats`, or None where the guide is not normal.
      gain: nats.
      first: steps before the first look, at least 200. A fit that starts on a plateau (a guide that begins at the fit of
        a poorer one) takes a larger number.
    Example:
      >>> import numpy as np
      >>> from logtrick import vi
      >>> rule = vi.StopRule(lambda q: 0.0)                 # a decrement of 0: only the gain matters
      >>> rule.met(np.arange(500.0), None), rule.met(np.zeros(500), None)
      (False, True)
    """

    __repr__ = show_arguments

    def __init__(
        self,
        decrement: Callable[[Any], float] | None,
        gain: float = _GAIN,
        first: int = _FIRST,
    ) -> None:
        self.decrement, self.gain = decrement, gain
        self.first = checks.positive_int("vi.StopRule", "first", first, _FIRST)

    def met(self, values: np.ndarray, q: Any) -> bool:
        """Whether a fit with these values of the ELBO so far, and now at q, has converged."""
        looks = 1 if self.decrement is not None else _IN_A_ROW
        lengths = [len(values) - LOOKS * i for i in range(looks)]
        if lengths[-1] < self.first or not all(self._flat(values[:n]) for n in lengths):
            return False
        return self.decrement is None or self.decrement(q) < _DECREMENT

    def told(self, values: np.ndarray) -> str:
        """What the rule sees in these values of the ELBO, in words."""
        if len(values) < _FIRST:
            return f"fewer than {_FIRST} steps"
        gained, margin, size = _change(values)
        return f"the last {size:,} steps gained {gained:+.3f} ± {margin:.3f} nats"

    def _flat(self, values: np.ndarray) -> bool:
        gained, margin, _ = _change(values)
        return gained + margin < self.gain


def _change(values: np.ndarray) -> tuple[float, float, int]:
    """The gain between the last two windows, its one-sided 95 % margin, and how many steps a window has."""
    values = np.asarray(values, np.float64)  # means of float32 are as coarse as the ELBO is large
    size = min(max(100, len(values) // 4), len(values) // 2)
    before, after = values[-2 * size : -size], values[-size:]
    error = np.hypot(von_neumann_error(before), von_neumann_error(after))
    return float(after.mean() - before.mean()), float(_Z * error), size


def von_neumann_error(values: np.ndarray) -> float:
    """The standard error of a mean from successive differences, which a slow drift does not inflate."""
    return float(np.sqrt(0.5 * np.mean(np.diff(values) ** 2) / len(values)))


def normal_decrement(target: Any, key: Any) -> Callable[[Any], float]:
    """The decrement of a normal guide on 1,024 antithetic draws, the same at every look.

    With z = m + C e and r = Cᵀ ∇log p + e: b = mean r, H = sym(mean r eᵀ), in nats |b|²/2 + ‖H‖²_F/4; for independent
    coordinates H is its diagonal. Statistics of r have no noise where q is p.
    """
    noise = antithetic(generator(key), _DRAWS, target.dim)

    def decrement(q: Any) -> float:
        gaussian = Gaussian(*q.normal()).host()
        points = jnp.asarray(gaussian.push(noise), target.dtype)
        gradients = np.asarray(target.value_and_grad(points)[1], np.float64)
        r = gaussian.pull(gradients) + noise
        if not np.isfinite(r).all():
            return np.inf
        if gaussian.mean_field:
            tilt = (r * noise).mean(0)
        else:
            tilt = r.T @ noise / len(noise)
            tilt = 0.5 * (tilt + tilt.T)
        return decrement_of(r.mean(0), tilt)

    return decrement

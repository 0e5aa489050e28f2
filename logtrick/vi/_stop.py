"""When a stochastic fit has converged."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import constructor_in_words
from logtrick._core.show import show_arguments

_GAIN, _DECREMENT, _FIRST, _Z = 0.02, 0.01, 200, 1.64
_DRAWS = 1024


@constructor_in_words
class StopRule:
    """Two conditions, both of which must hold: the ELBO gains nothing more, and the gradient has no mean left.

    (i) The mean gain between two consecutive windows of max(100, t/4) steps, plus 1.64 von Neumann standard errors, is
    below `gain` nats. (ii) The decrement, |mean b|²/2 + ‖mean H‖²_F/4 of the whitened score differences on 1,024 fresh draws,
    is below `decrement` nats: asked where the guide is normal, and only once (i) holds. Without (ii), (i) must hold at
    three looks in a row. Looked at every 50 steps from step `first` on. Measured on 70 traces: the ELBO alone stops too early in
    14 to 29 % of fits, the decrement alone in 13 %, both in 4 %.

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
        self.decrement, self.gain, self.looks = decrement, gain, 0
        self.first = checks.positive_int("vi.StopRule", "first", first, _FIRST)

    def met(self, values: np.ndarray, q: Any) -> bool:
        """Whether a fit with these values of the ELBO so far, and now at q, has converged."""
        if len(values) < self.first or not self._flat(values):
            self.looks = 0
            return False
        if self.decrement is not None:
            return self.decrement(q) < _DECREMENT
        self.looks += 1
        return self.looks >= 3

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
    size = min(max(100, len(values) // 4), len(values) // 2)
    before, after = values[-2 * size : -size], values[-size:]
    error = np.hypot(von_neumann_error(before), von_neumann_error(after))
    return float(after.mean() - before.mean()), float(_Z * error), size


def von_neumann_error(values: np.ndarray) -> float:
    """The standard error of a mean from successive differences, which a slow drift does not inflate."""
    return float(np.sqrt(0.5 * np.mean(np.diff(values) ** 2) / len(values)))


def normal_decrement(target: Any, key: Any, normal: Callable[[Any], Any]) -> Callable[[Any], float]:
    """The decrement of a normal guide, by `target.value_and_grad` on antithetic draws that are the same at every look.

    With z = m + C e and r = Cᵀ ∇log p + e: b = mean r, H = sym(mean r eᵀ), in nats |b|²/2 + ‖H‖²_F/4; for independent
    coordinates H is its diagonal.
    """
    rng = np.random.default_rng(np.asarray(key).tolist())
    half = rng.standard_normal((_DRAWS // 2, target.dim))
    noise = np.concatenate([half, -half])

    def decrement(q: Any) -> float:
        mean, scale = (np.asarray(x, np.float64) for x in normal(q))
        diagonal = scale.ndim == 1
        points = mean + (noise * scale if diagonal else noise @ scale.T)
        _, gradients = target.value_and_grad(jnp.asarray(points, target.dtype))
        gradients = np.asarray(gradients, np.float64)
        r = (gradients * scale if diagonal else gradients @ scale) + noise
        if not np.isfinite(r).all():
            return np.inf
        bend = np.diag((r * noise).mean(0)) if diagonal else r.T @ noise / len(noise)
        bend = (bend + bend.T) / 2
        return float(0.5 * np.sum(r.mean(0) ** 2) + 0.25 * np.sum(bend**2))

    return decrement

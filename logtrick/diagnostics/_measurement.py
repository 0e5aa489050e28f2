"""One row of a comparison: the bias, the variance and the cost of one gradient estimator."""

import math
from statistics import NormalDist
from typing import Any

import jax
import numpy as np

from logtrick._core.module import Module, static
from logtrick.diagnostics._statistics import GradientStatistics

_FALSE_ALARM = 1e-4  # of the word "biased", in one row


class Measurement(Module):
    """What was measured of one objective.

    Attributes:
      name: as the user named it; with its number of samples where that was swept.
      evaluations: of f in one gradient; None where the objective uses no expectation, or where the number depends on data.
      seconds: of one value and gradient, median; None where nothing was timed.
      compile_seconds: what tracing and compiling took when the objective was first called; None where nothing was timed.
        JAX's compilation cache on disk shortens it.
      bytes: of the largest intermediate array of one gradient, before XLA fuses; None where refused.
      biased: the names of its estimators that are declared biased.
      hints: what would make its variance smaller, in words.
      num_samples: where it was swept.
      error: why there are no numbers; None where there are.
      statistics: the `GradientStatistics`; None where there are no numbers.
    """

    name: str = static()
    evaluations: int | None = static(default=None)
    seconds: float | None = static(default=None)
    compile_seconds: float | None = static(default=None)
    bytes: int | None = static(default=None)
    biased: tuple[str, ...] = static(default=())
    hints: tuple[str, ...] = static(default=())
    num_samples: int | None = static(default=None)
    error: str | None = static(default=None)
    statistics: GradientStatistics | None = None

    @property
    def base_name(self) -> str:
        """The objective's own name, without its number of samples."""
        if self.num_samples is None:
            return self.name
        return self.name.removesuffix(f", n = {self.num_samples}")

    @property
    def bias_z(self) -> float | None:
        """The largest |z| of a coordinate of the mean gradient; None without a reference."""
        return None if self.statistics is None else self.statistics.largest_z

    @property
    def exact(self) -> bool:
        """Whether variance and error are zero to the rounding of each coordinate."""
        return self.statistics is not None and self.statistics.exact

    @property
    def constant(self) -> bool:
        """Whether no coordinate varies, to rounding."""
        return self.statistics is not None and self.statistics.constant

    @property
    def zero(self) -> bool:
        """Whether every gradient is exactly 0 in every coordinate."""
        return self.statistics is not None and self.statistics.zero

    @property
    def variance(self) -> float | None:
        """Of one gradient, summed over its coordinates."""
        return None if self.statistics is None else self.statistics.total_variance

    @property
    def variance_interval(self) -> tuple[float, float] | None:
        """The interval of `variance`, by the range of eight groups of replicates."""
        return None if self.statistics is None else self.statistics.total_interval

    @property
    def signal_to_noise(self) -> float | None:
        """‖E g‖ / √variance of one gradient."""
        return None if self.statistics is None else self.statistics.total_signal_to_noise

    @property
    def variance_x_evaluations(self) -> float | None:
        """The evaluations that a given accuracy takes; None where either is not known."""
        return _product(self.variance, self.evaluations)

    @property
    def variance_x_seconds(self) -> float | None:
        """The time that a given accuracy takes; None where either is not known."""
        return _product(self.variance, self.seconds)

    @property
    def verdict(self) -> str:
        """In a word or two: refused, not finite, zero gradient, exact, biased, unclear, no bias seen, or a dash.

        "unclear": where the largest z is, one gradient makes so much of the variance that z says nothing.
        """
        if self.statistics is None:
            return "refused"
        if not all(np.all(np.isfinite(m)) for m in jax.tree.leaves(self.statistics.mean)):
            return "not finite"
        if self.zero:
            return "zero gradient"
        if self.exact:
            return "exact"
        if self.bias_z is None:
            return "–"
        bound = self._bound()
        if self.bias_z <= bound:
            return "no bias seen"
        clear = self.statistics.largest_clear_z
        assert clear is not None
        return "biased" if clear > bound else "unclear"

    def _bound(self) -> float:
        """The |z| beyond which a row says "biased": by chance in 1 of 10,000 rows, whatever the coordinates.

        By Student's law, whose quantile t follows from the normal one by z ≈ (8ν + 1) / (8ν + 3) √(ν log(1 + t² / ν))
        (Wallace 1959); an error that is no sampling error is judged by the normal one.
        """
        assert self.statistics is not None
        coordinates = sum(np.size(m) for m in jax.tree.leaves(self.statistics.mean))
        z = NormalDist().inv_cdf(1 - _FALSE_ALARM / (2 * max(coordinates, 1)))
        freedom = self.statistics.num_replicates - 1
        if not self.statistics.sampled:
            return z
        unscaled = z * (8 * freedom + 3) / (8 * freedom + 1)
        return math.sqrt(freedom * math.expm1(unscaled**2 / freedom))

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: numbers (None for what is not known, or not finite), words, and the error."""
        low, high = self.variance_interval or (None, None)
        found = self.statistics
        return {
            "bias_z": _finite(self.bias_z),
            "verdict": self.verdict,
            "exact": self.exact,
            "constant": self.constant,
            "variance": _finite(self.variance),
            "variance_low": _finite(low),
            "variance_high": _finite(high),
            "heavy_tails": found is not None and found.heavy_tails,
            "unseen": 0 if found is None else found.unseen,
            "signal_to_noise": _finite(self.signal_to_noise),
            "num_samples": self.num_samples,
            "evaluations": self.evaluations,
            "bytes": self.bytes,
            "declared_biased": list(self.biased),
            "hints": list(self.hints),
            "seconds": self.seconds,
            "compile_seconds": self.compile_seconds,
            "variance_x_evaluations": _finite(self.variance_x_evaluations),
            "variance_x_seconds": _finite(self.variance_x_seconds),
            "error": self.error,
        }


def _product(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b


def _finite(x: float | None) -> float | None:
    return None if x is None or not math.isfinite(x) else x

"""Counts of trials: binomial, geometric and negative binomial, by logits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.module import assign, static
from logtrick._core.smooth import log_sigmoid
from logtrick.distributions._base import Factorized
from logtrick.distributions._parameters import (
    Array,
    broadcasting,
    finite,
    is_count,
    positive,
    where_inside,
    wide,
)
from logtrick.distributions._special import log_beta, log_choose
from logtrick.noise import KeyPerRun, Uniform, interior
from logtrick.supports import IntegerBelow, NonNegativeInteger, Support, grid


class Binomial(Factorized):
    """Independent binomials, P(x) = C(n, x) pˣ (1 − p)ⁿ⁻ˣ, n = total_count, p = σ(logits), in every coordinate.

    Draws are whole numbers in the dtype of the logits. With one static n the support is finite and can be enumerated.

    Args:
      total_count: n ≥ 1 trials: a Python int, or an array of whole numbers, which is never differentiated.
      logits: log odds of success, finite; broadcasts with `total_count` to the event.
    Raises:
      ValueError: a concrete n is no positive whole number, or a concrete logit is not finite. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Binomial(3, 0.0).log_prob(1.0).item(), 4)        # log 3/8
      -0.9808
    """

    total_count: Any
    logits: Any
    static_count: int | None = static(default=None)
    provides = frozenset({"mean", "variance", "kl_divergence"})

    def __post_init__(self) -> None:
        if isinstance(self.total_count, int | np.integer):
            assign(self, static_count=int(self.total_count))
        broadcasting(self, total_count=self.total_count, logits=self.logits)
        finite(self, "logits")
        whole = lambda n: (
            (n >= 1) & (n / 2.0**15 < 2.0**15) & (n == n // 1)
        )  # a float16 holds 2**15, not 2**30
        count = checks.require(
            "Binomial", "total_count", self.total_count, whole, "whole numbers of at least 1"
        )
        assign(self, total_count=lax.stop_gradient(count))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.total_count.shape, self.logits.shape)

    @property
    def support(self) -> Support:
        return (
            NonNegativeInteger()
            if self.static_count is None
            else IntegerBelow(self.static_count + 1)
        )

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    def _transform(self, noise: Array) -> Array:
        p, shape = jax.nn.sigmoid(self.logits), self.event_shape
        return jax.random.binomial(noise, self.total_count, p, shape=shape, dtype=self.logits.dtype)

    def _log_kernel(self, x: Any) -> Array:
        x, n = jnp.asarray(x, self.logits.dtype), self.total_count
        inside = is_count(x) & ~(x > n)  # a count that is nan is for log p to tell
        x = jnp.where(inside, x, 0.0)
        log_p = x * log_sigmoid(self.logits) + (n - x) * log_sigmoid(-self.logits)
        return where_inside(inside, log_choose(n, x) + log_p)

    def _points(self) -> np.ndarray:
        assert self.static_count is not None
        return grid(np.arange(self.static_count + 1.0), self.event_shape, self.logits.dtype)

    def _mean(self) -> Array:
        return self.total_count * jax.nn.sigmoid(self.logits)

    def _variance(self) -> Array:
        return self._mean() * jax.nn.sigmoid(-self.logits)

    def _kl_divergence(self, other: Any) -> Array:
        """Of equal counts; infinite where this one can exceed the other, nan where the other is the larger."""
        l, m = self.logits, other.logits
        one = jax.nn.sigmoid(l) * (log_sigmoid(l) - log_sigmoid(m))
        per = one + jax.nn.sigmoid(-l) * (log_sigmoid(-l) - log_sigmoid(-m))
        otherwise = jnp.where(self.total_count > other.total_count, jnp.inf, jnp.nan)
        return jnp.sum(
            jnp.where(self.total_count == other.total_count, self.total_count * per, otherwise)
        )


class Geometric(Factorized):
    """Independent geometrics, P(x) = (1 − p)ˣ p, x = 0, 1, …: failures before the first success, p = σ(logits).

    Draws are whole numbers in the dtype of the logits, by the inverse CDF of one uniform each.

    Args:
      logits: log odds of success, finite, any shape.
    Raises:
      ValueError: a concrete logit is not finite. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Geometric(0.0).log_prob(2.0).item(), 4)          # log ⅛
      -2.0794
    """

    logits: Any
    provides = frozenset({"mean", "variance", "entropy", "kl_divergence", "cdf", "inverse_cdf"})

    def __post_init__(self) -> None:
        broadcasting(self, logits=self.logits)
        finite(self, "logits")

    @property
    def support(self) -> Support:
        return NonNegativeInteger()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.event_shape, wide(self.logits.dtype))

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(interior(noise))

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x, self.logits.dtype)
        inside = is_count(x)
        failures = jnp.where(inside, x, 0.0) * log_sigmoid(-self.logits)
        return where_inside(inside, failures + log_sigmoid(self.logits))

    def _mean(self) -> Array:
        return jnp.exp(-self.logits)

    def _variance(self) -> Array:
        return jnp.exp(-self.logits) * (1 + jnp.exp(-self.logits))

    def _entropy(self) -> Array:
        return -jnp.sum(self._mean() * log_sigmoid(-self.logits) + log_sigmoid(self.logits))

    def _kl_divergence(self, other: Any) -> Array:
        l, m = self.logits, other.logits
        failures = self._mean() * (log_sigmoid(-l) - log_sigmoid(-m))
        return jnp.sum(failures + log_sigmoid(l) - log_sigmoid(m))

    def _cdf(self, x: Any) -> Array:
        trials = jnp.floor(jnp.maximum(x, -1.0)) + 1
        return -jnp.expm1(trials * log_sigmoid(-self.logits))

    def _inverse_cdf(self, u: Array) -> Array:
        return jnp.maximum(jnp.ceil(jnp.log1p(-u) / log_sigmoid(-self.logits)) - 1, 0.0)


class NegativeBinomial(Factorized):
    """Independent negative binomials, P(x) = Γ(x + r) / (x! Γ(r)) pˣ (1 − p)ʳ, r = total_count, p = σ(logits).

    Successes before the r-th failure; r need not be whole: a Poisson whose rate is Gamma(r, e^(−logits)). Draws are
    whole numbers in the dtype of the logits; a mixing rate of 2³⁰ or more gives nan.

    Args:
      total_count: r > 0 failures.
      logits: log odds of success, finite; broadcasts with `total_count` to the event. The mean is r e^logits.
    Raises:
      ValueError: a concrete r is not positive, or a concrete logit is not finite. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.NegativeBinomial(2.0, 0.0).log_prob(1.0).item(), 4)        # log 2/8
      -1.3863
    """

    total_count: Any
    logits: Any
    provides = frozenset({"mean", "variance"})

    def __post_init__(self) -> None:
        broadcasting(self, total_count=self.total_count, logits=self.logits)
        finite(self, "logits")
        positive(self, "total_count")

    @property
    def support(self) -> Support:
        return NonNegativeInteger()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    def _transform(self, noise: Array) -> Array:
        key_rate, key_count = jax.random.split(noise)
        total = jnp.broadcast_to(self.total_count, self.event_shape)
        rate = jnp.exp(jax.random.loggamma(key_rate, total, dtype=total.dtype) + self.logits)
        legal = rate < 2.0**30
        counts = jax.random.poisson(key_count, jnp.where(legal, rate, 1.0)).astype(total.dtype)
        return jnp.where(legal, counts, jnp.nan)

    def _log_kernel(self, x: Any) -> Array:
        x, r = jnp.asarray(x, self.logits.dtype), self.total_count
        inside = is_count(x)
        x = jnp.where(inside, x, 0.0)
        log_choose = -log_beta(x + 1, r) - jnp.log(x + r)
        log_p = x * log_sigmoid(self.logits) + r * log_sigmoid(-self.logits)
        return where_inside(inside, log_choose + log_p)

    def _mean(self) -> Array:
        return self.total_count * jnp.exp(self.logits)

    def _variance(self) -> Array:
        return self._mean() * (1 + jnp.exp(self.logits))

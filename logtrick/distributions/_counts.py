"""Counts of trials: binomial and geometric, by logits or by probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.module import assign, static
from logtrick.distributions import _probabilities as probabilities
from logtrick.distributions._bernoulli import two_outcomes_divergence
from logtrick.distributions._capabilities import ClosedForms, Enumeration, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._log_densities import binomial_log_density
from logtrick.distributions._parameters import Array, is_count, where_inside
from logtrick.distributions._special import log_beta
from logtrick.noise import KeyPerRun, Uniform, interior, wide
from logtrick.supports import IntegerBelow, NonNegativeInteger, Support, grid


class Binomial(Factorized):
    """Independent binomials, P(x) = C(n, x) pˣ (1 − p)ⁿ⁻ˣ, n = total_count, p = σ(logits), in every coordinate.

    Draws are whole numbers in the dtype of the parameter. With one static n the support is finite and can be enumerated.
    n = 0 is the point mass at 0, p = 0 and p = 1 those at 0 and n.

    Args:
      total_count: 0 ≤ n < 2³⁰ trials: a Python int, or an array of whole numbers, which is never differentiated.
      logits: log odds of success; broadcasts with `total_count` to the event.
      probs: p in [0, 1], instead of logits.
    Raises:
      TypeError: neither logits nor probs, or both.
      ValueError: a concrete n is no whole number, a concrete logit is nan, or a concrete probability is outside of [0, 1].
        (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Binomial(3, 0.0).log_prob(1.0).item(), 4)        # log 3/8
      -0.9808
    """

    total_count: Any
    parameter: Any
    by_probs: bool = static(default=False)
    static_count: int | None = static(default=None)
    draws_nan = True
    __repr__ = probabilities.shown

    def __init__(self, total_count: Any, logits: Any = None, *, probs: Any = None) -> None:
        if isinstance(total_count, int | np.integer):
            assign(self, static_count=int(total_count))
        else:
            assign(self, static_count=None)
        probabilities.given(self, logits, probs, {"total_count": total_count})
        probabilities.check_two_outcomes(self, never=True, always=True)
        # a float16 holds 2**15, not 2**30
        whole = lambda n: (n >= 0) & (n / 2.0**15 < 2.0**15) & (n == n // 1)
        need = "whole numbers between 0 and 2**30"
        count = checks.require("Binomial", "total_count", self.total_count, whole, need)
        assign(self, total_count=lax.stop_gradient(count))

    @property
    def logits(self) -> Array:
        """The log odds of success."""
        return probabilities.logits_of_two(self)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(self.total_count.shape, self.parameter.shape)

    @property
    def support(self) -> Support:
        if self.static_count is None:
            return NonNegativeInteger()
        return IntegerBelow(self.static_count + 1)

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, kl_divergence=self._kl_divergence)

    @property
    def enumeration(self) -> Enumeration | None:
        return None if self.static_count is None else Enumeration(self._points)

    def _transform(self, noise: Array) -> Array:
        p, n = jnp.broadcast_arrays(probabilities.success(self), self.total_count)
        fixed = (p == 0) | (p == 1) | (n == 0)
        within = jnp.where(fixed, 0.5, p)
        trials = jnp.where(fixed, 1.0, n)
        x = jax.random.binomial(noise, trials, within, shape=p.shape, dtype=p.dtype)
        return jnp.where(fixed, n * p, x)

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x, self.parameter.dtype)
        n = self.total_count
        inside = is_count(x) & ~(x > n)  # where n is nan, log p is to be nan
        x = jnp.where(inside, x, 0.0)
        # Not stats.binom.logpmf, which subtracts log-gammas.
        log_p = binomial_log_density(
            x, n, probabilities.log_success(self), probabilities.log_failure(self)
        )
        return where_inside(inside, probabilities.log_of_outcome(log_p))

    @property
    def slopes_at_zero(self) -> bool:
        return self.by_probs and self.static_count is not None

    def _prob(self, x: Any) -> Array:
        x = jnp.asarray(x, self.parameter.dtype)
        n = self.total_count
        p = self.parameter
        inside = is_count(x) & ~(x > n)
        x = jnp.where(inside, x, 0.0)
        at_end = (p == 0) | (p == 1)
        within = jnp.where(at_end, 0.5, p)
        log_p = binomial_log_density(x, n, jnp.log(within), jnp.log1p(-within))
        # At an end by powers, with whole exponents: the derivative of 0.0**0.0 in its base is nan. Binomial coefficients
        # beyond e⁸⁰, which may not be numbers, are factors of powers of 0 that are too high for a derivative to show them.
        end = jnp.where(at_end, p, 0.0)
        on = x.astype(jnp.int32)
        off = (n - x).astype(jnp.int32)
        fewer = jnp.minimum(x, n - x)
        log_choose = -log_beta(x + 1, n - x + 1) - jnp.log(n + 1)
        choose = jnp.exp(jnp.minimum(log_choose, 80.0))
        choose = jnp.where(fewer == 0, 1.0, jnp.where(fewer == 1, n, choose))  # exactly
        powers = choose * end**on * (1 - end) ** off
        return jnp.prod(jnp.where(inside, jnp.where(at_end, powers, jnp.exp(log_p)), 0.0))

    def _points(self) -> np.ndarray:
        assert self.static_count is not None
        return grid(np.arange(self.static_count + 1.0), self.event_shape, self.parameter.dtype)

    def _mean(self) -> Array:
        return self.total_count * probabilities.success(self)

    def _variance(self) -> Array:
        return self._mean() * probabilities.failure(self)

    def _kl_divergence(self, other: Any) -> Array:
        """Of equal counts; infinite where this one can exceed the other, nan where the other is the larger."""
        n = self.total_count
        per_trial = two_outcomes_divergence(self, other)
        otherwise = jnp.where(n > other.total_count, jnp.inf, jnp.nan)
        equal = jnp.where(n > 0, n * jnp.where(n > 0, per_trial, 0.0), 0.0)
        return jnp.sum(jnp.where(n == other.total_count, equal, otherwise))


class Geometric(Factorized):
    """Independent geometrics, P(x) = (1 − p)ˣ p, x = 0, 1, …: failures before the first success, p = σ(logits) or probs.

    Draws are whole numbers in the dtype of the parameter, by the inverse CDF of one uniform each. p = 1 is the point mass
    at 0.

    Args:
      logits: log odds of success above −inf, any shape.
      probs: p in (0, 1], instead of logits.
    Raises:
      TypeError: neither logits nor probs, or both.
      ValueError: a concrete logit is nan or −inf, or a concrete probability is outside of (0, 1]. (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.Geometric(0.0).log_prob(2.0).item(), 4)          # log ⅛
      -2.0794
    """

    parameter: Any
    by_probs: bool = static(default=False)
    draws_nan = True
    __repr__ = probabilities.shown

    def __init__(self, logits: Any = None, *, probs: Any = None) -> None:
        probabilities.given(self, logits, probs)
        probabilities.check_two_outcomes(self, never=False, always=True)

    @property
    def logits(self) -> Array:
        """The log odds of success."""
        return probabilities.logits_of_two(self)

    @property
    def support(self) -> Support:
        return NonNegativeInteger()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.event_shape, wide(self.parameter.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, inverse=self._inverse_cdf)

    def _transform(self, noise: Array) -> Array:
        return self._inverse_cdf(interior(noise))

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x, self.parameter.dtype)
        inside = is_count(x)
        failures = jnp.where(inside, x, 0.0) * probabilities.log_failure(self)
        log_p = failures + probabilities.log_success(self)
        return where_inside(inside, probabilities.log_of_outcome(log_p))

    def _mean(self) -> Array:
        if self.by_probs:
            return (1 - self.parameter) / self.parameter
        return jnp.exp(-self.parameter)

    def _variance(self) -> Array:
        return self._mean() * (1 + self._mean())

    def _entropy(self) -> Array:
        failures = self._mean() * probabilities.log_failure(self)
        return -jnp.sum(failures + probabilities.log_success(self))

    def _kl_divergence(self, other: Any) -> Array:
        # of one trial, times the mean number of trials
        return jnp.sum(two_outcomes_divergence(self, other) / probabilities.success(self))

    def _cdf(self, x: Any) -> Array:
        trials = jnp.floor(jnp.maximum(x, -1.0)) + 1
        return -jnp.expm1(trials * probabilities.log_failure(self))

    def _inverse_cdf(self, u: Array) -> Array:
        trials = jnp.ceil(jnp.log1p(-u) / probabilities.log_failure(self))
        return jnp.maximum(trials - 1, 0.0)

"""Independent Bernoullis, by logits or by probabilities."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from logtrick._core.module import static
from logtrick.distributions import _probabilities as probabilities
from logtrick.distributions._capabilities import ClosedForms, Enumeration, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._noisy_logits import NoisyBits
from logtrick.distributions._parameters import Array, where_inside
from logtrick.distributions._weak import WeakDerivatives
from logtrick.noise import Uniform, wide
from logtrick.supports import Boolean, Support, grid


class Bernoulli(Factorized):
    """Independent Bernoullis, P(x = 1) = p in every coordinate, p = σ(logits) or p = probs.

    Draws are 0. and 1. in the dtype of the parameter. An outcome that is impossible (p exactly 0 or 1, an infinite logit)
    is never drawn, and has log-prob −inf and score 0; the certain outcome has log-prob 0 and its finite derivative.

    Args:
      logits: log odds, any shape; no overflow at |logit| = 1e3.
      probs: p in [0, 1], instead of logits.
    Raises:
      TypeError: neither logits nor probs, or both.
      ValueError: a concrete logit is nan, or a concrete probability is outside of [0, 1]. (Traced ones give nan.)
    Example:
      >>> import jax, logtrick as lt
      >>> round(lt.Bernoulli(0.0).log_prob(1.0).item(), 4)          # log ½
      -0.6931
      >>> never = lambda p: lt.Bernoulli(probs=p).log_prob(0.0)     # log(1 − p)
      >>> jax.grad(never)(0.0).item()
      -1.0
    """

    parameter: Any
    by_probs: bool = static(default=False)
    draws_nan = True
    noisy_logits = NoisyBits()
    __repr__ = probabilities.shown

    def __init__(self, logits: Any = None, *, probs: Any = None) -> None:
        probabilities.given(self, logits, probs)
        probabilities.check_two_outcomes(self, never=True, always=True)

    @property
    def logits(self) -> Array:
        """The log odds of 1."""
        return probabilities.logits_of_two(self)

    @property
    def support(self) -> Support:
        return Boolean()

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.parameter.shape, wide(self.parameter.dtype))

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, inverse=self._inverse_cdf)

    @property
    def enumeration(self) -> Enumeration:
        return Enumeration(self._points)

    @property
    def weak_derivatives(self) -> WeakDerivatives:
        return WeakDerivatives(("parameter",), self._weak_noise, self._weak_parts)

    def _transform(self, noise: Array) -> Array:
        p = probabilities.success(self)
        return jnp.where(noise < p, 1.0, 0.0 * p).astype(p.dtype)  # nan where p is

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x)
        log_p = probabilities.log_of_trial(self, x)
        return where_inside((x == 0) | (x == 1), probabilities.log_of_outcome(log_p))

    @property
    def slopes_at_zero(self) -> bool:
        return self.by_probs

    def _prob(self, x: Any) -> Array:
        p = self.parameter
        return jnp.prod(jnp.where(x == 1, p, jnp.where(x == 0, 1 - p, 0.0)))

    def _mean(self) -> Array:
        return probabilities.success(self)

    def _variance(self) -> Array:
        return probabilities.success(self) * probabilities.failure(self)

    def _entropy(self) -> Array:
        on = probabilities.success(self) * probabilities.log_success(self)
        return -jnp.sum(on + probabilities.failure(self) * probabilities.log_failure(self))

    def _kl_divergence(self, other: Any) -> Array:
        return jnp.sum(two_outcomes_divergence(self, other))

    def _cdf(self, x: Any) -> Array:
        return jnp.where(x < 0, 0.0, jnp.where(x < 1, probabilities.failure(self), 1.0))

    def _inverse_cdf(self, u: Array) -> Array:
        return (u > probabilities.failure(self)).astype(self.parameter.dtype)

    def _weak_noise(self, coupled: bool) -> None:
        return None

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        one = jnp.ones_like(self.parameter)
        coefficient = one if self.by_probs else self._variance()
        return {"parameter": (coefficient, one, jnp.zeros_like(one))}

    def _points(self) -> np.ndarray:
        return grid(np.array([0.0, 1.0]), self.parameter.shape, self.parameter.dtype)


def two_outcomes_divergence(p: Any, q: Any) -> Array:
    """p log(p/q) + (1 − p) log((1 − p)/(1 − q)) of the success probabilities of two distributions."""
    successes = probabilities.divergence(
        probabilities.success(p), probabilities.log_success(p), probabilities.log_success(q)
    )
    failures = probabilities.divergence(
        probabilities.failure(p), probabilities.log_failure(p), probabilities.log_failure(q)
    )
    return successes + failures

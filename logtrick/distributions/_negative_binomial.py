"""The negative binomial, by logits or by probabilities."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick._core.module import static
from logtrick.distributions import _probabilities as probabilities
from logtrick.distributions._capabilities import ClosedForms
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._log_densities import negative_binomial_log_density
from logtrick.distributions._parameters import Array, is_count, not_negative, where_inside
from logtrick.noise import KeyPerRun
from logtrick.supports import NonNegativeInteger, Support


class NegativeBinomial(Factorized):
    """Independent negative binomials, P(x) = Γ(x + r) / (x! Γ(r)) pˣ (1 − p)ʳ, r = total_count, p = σ(logits) or probs.

    Successes before the r-th failure; r need not be whole: a Poisson whose rate is Gamma(r, e^(−logits)). Draws are
    whole numbers in the dtype of the parameter; a mixing rate of 2³⁰ or more gives nan. r = 0 and p = 0 are the point mass
    at 0.

    Args:
      total_count: r ≥ 0 failures.
      logits: log odds of success below inf; broadcasts with `total_count` to the event. The mean is r e^logits.
      probs: p in [0, 1), instead of logits.
    Raises:
      TypeError: neither logits nor probs, or both.
      ValueError: a concrete r is negative or not finite, a concrete logit is nan or inf, or a concrete probability is
        outside of [0, 1). (Traced ones give nan.)
    Example:
      >>> import logtrick as lt
      >>> round(lt.NegativeBinomial(2.0, 0.0).log_prob(1.0).item(), 4)        # log 2/8
      -1.3863
    """

    total_count: Any
    parameter: Any
    by_probs: bool = static(default=False)
    __repr__ = probabilities.shown

    def __init__(self, total_count: Any, logits: Any = None, *, probs: Any = None) -> None:
        probabilities.given(self, logits, probs, {"total_count": total_count})
        probabilities.check_two_outcomes(self, never=True, always=False)
        not_negative(self, "total_count")

    @property
    def logits(self) -> Array:
        """The log odds of success."""
        return probabilities.logits_of_two(self)

    @property
    def support(self) -> Support:
        return NonNegativeInteger()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance)

    def _transform(self, noise: Array) -> Array:
        key_rate, key_count = jax.random.split(noise)
        total = jnp.broadcast_to(self.total_count, self.event_shape)
        log_odds = probabilities.log_success(self) - probabilities.log_failure(self)
        held = jnp.where(total == 0, 1.0, total)
        log_rate = jax.random.loggamma(key_rate, held, dtype=total.dtype) + log_odds
        rate = jnp.where(total == 0, 0.0, jnp.exp(log_rate))
        legal = rate < 2.0**30
        counts = jax.random.poisson(key_count, jnp.where(legal, rate, 1.0)).astype(total.dtype)
        return jnp.where(legal, counts, jnp.nan)

    def _log_kernel(self, x: Any) -> Array:
        x = lax.stop_gradient(jnp.asarray(x, self.parameter.dtype))
        r = self.total_count
        inside = is_count(x)
        x = jnp.where(inside, x, 0.0)
        # Not stats.nbinom.logpmf, which subtracts log-gammas: it takes longer, and is off by nats for counts of 1e6.
        log_p = negative_binomial_log_density(
            x, r, probabilities.log_success(self), probabilities.log_failure(self)
        )
        possible = inside & ~((r == 0) & (x > 0))
        return where_inside(possible, probabilities.log_of_outcome(log_p))

    def _mean(self) -> Array:
        if self.by_probs:
            return self.total_count * self.parameter / (1 - self.parameter)
        return self.total_count * jnp.exp(self.parameter)

    def _variance(self) -> Array:
        return self._mean() / probabilities.failure(self)

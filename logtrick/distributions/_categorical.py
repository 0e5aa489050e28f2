"""Independent categoricals, by logits or by probabilities: as indices, and as one-hot rows."""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core.module import static
from logtrick.distributions import _probabilities as probabilities
from logtrick.distributions._capabilities import ClosedForms, Enumeration, Quantiles
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._noisy_logits import NoisyRows
from logtrick.distributions._parameters import Array, where_inside
from logtrick.distributions._rows import check_rows
from logtrick.distributions._weak import WeakDerivatives
from logtrick.noise import Uniform, wide
from logtrick.supports import IntegerBelow, OneHot, Support, grid


class _Rows(Factorized, abstract=True):
    """Rows of K classes: what indices and one-hot rows have in common."""

    parameter: Any
    by_probs: bool = static(default=False)
    __repr__ = probabilities.shown

    @property
    def logits(self) -> Array:
        """Unnormalized log-probabilities."""
        return probabilities.logits_of_rows(self)

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.parameter.shape[:-1], wide(self.parameter.dtype))

    @property
    def enumeration(self) -> Enumeration:
        return Enumeration(self._points)

    @property
    def weak_derivatives(self) -> WeakDerivatives:
        return WeakDerivatives(("parameter",), lambda coupled: self.noise_spec, self._weak_parts)

    @property
    def slopes_at_zero(self) -> bool:
        return self.by_probs

    @abc.abstractmethod
    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        """The parts of the weak derivative in the parameter, as `WeakDerivatives` says."""

    @abc.abstractmethod
    def _points(self) -> np.ndarray:
        """Every draw once, with a leading axis."""

    def _entropy(self) -> Array:
        log_p = probabilities.log_rows(self)
        possible = log_p != -jnp.inf  # nan is possible, and the entropy of its row nan
        return -jnp.sum(jnp.where(possible, jnp.exp(log_p) * jnp.where(possible, log_p, 0.0), 0.0))

    def _kl_divergence(self, other: Any) -> Array:
        log_p = probabilities.log_rows(self)
        log_q = probabilities.log_rows(other)
        if log_p.shape[-1] != log_q.shape[-1]:
            raise ValueError(
                f"{type(self).__name__}.kl_divergence(other=…) needs as many classes, {log_p.shape[-1]}; got "
                f"{log_q.shape[-1]}. Give the classes that one of them lacks a logit of -inf."
            )
        possible = log_p != -jnp.inf
        ratio = jnp.where(possible, log_p, 0.0) - jnp.where(possible, log_q, 0.0)
        return jnp.sum(jnp.where(possible, jnp.exp(log_p) * ratio, 0.0))


class Categorical(_Rows):
    """Independent categoricals, P(x = k) = softmax(logits)ₖ, as indices.

    Draws are int32 in 0 … K − 1, shape `logits.shape[:-1]`, by the inverse CDF of ONE uniform each: a class of
    probability zero is never drawn. In float32 a class's frequency is right to 2⁻²³.

    Args:
      logits: unnormalized log-probabilities, shape (…, K); −inf for impossible classes, not for all of them.
      probs: probabilities, shape (…, K), instead of logits; 0 for impossible classes. Rows sum to 1: concrete ones that do
        not are an error, traced ones are taken relative to their sum.
    Raises:
      TypeError: neither logits nor probs, or both.
      ValueError: a scalar, or a concrete row without a possible class or with an illegal number. (A traced row becomes nan:
        its log-prob and score, and the value of an estimate.)
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> dist = lt.Categorical(jnp.log(jnp.array([0.2, 0.3, 0.5])))
      >>> round(dist.log_prob(2).item(), 4), dist.log_prob(3).item()       # log ½; out of range
      (-0.6931, -inf)
    """

    def __init__(self, logits: Any = None, *, probs: Any = None) -> None:
        _set_rows(self, logits, probs)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.parameter.shape[:-1]

    @property
    def support(self) -> Support:
        return IntegerBelow(self.parameter.shape[-1])

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(entropy=self._entropy, kl_divergence=self._kl_divergence)

    @property
    def quantiles(self) -> Quantiles:
        return Quantiles(cdf=self._cdf, inverse=self._inverse_cdf)

    def _transform(self, noise: Array) -> Array:
        return inverse_cdf(self.logits, noise)

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x)
        size = self.parameter.shape[-1]
        inside = (x >= 0) & (x < size) & (x == jnp.floor(x))
        index = jnp.where(inside, x, 0).astype(jnp.int32)
        # Normalized first: under vmap over draws that is done once, and a table of K is gathered from.
        log_rows = probabilities.log_rows(self)
        log_p = jnp.take_along_axis(log_rows, index[..., None], axis=-1)[..., 0]
        return where_inside(inside & (log_p != -jnp.inf), log_p)  # score 0 of an impossible class

    def _prob(self, x: Any) -> Array:
        x = jnp.asarray(x)
        size = self.parameter.shape[-1]
        chosen = jnp.expand_dims(x, -1) == jnp.arange(size).reshape(*[1] * x.ndim, size)
        return jnp.prod(jnp.sum(jnp.where(chosen, probabilities.rows(self), 0.0), axis=-1))

    def _cdf(self, x: Any) -> Array:
        at_most = jnp.arange(self.parameter.shape[-1]) <= jnp.asarray(x)[..., None]
        return jnp.sum(jnp.where(at_most, probabilities.rows(self), 0.0), axis=-1)

    def _inverse_cdf(self, u: Array) -> Array:
        return inverse_cdf(self.logits, u)

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        return {"parameter": _one_against_others(self, noise)}

    def _points(self) -> np.ndarray:
        return grid(np.arange(self.parameter.shape[-1]), self.event_shape, np.int32)


class OneHotCategorical(_Rows):
    """Independent categoricals, P(row = eₖ) = softmax(logits)ₖ, as one-hot rows.

    Draws are 0. and 1. in the dtype of the logits, shape `logits.shape`; the classes are `Categorical`'s from
    the same key.

    Args:
      logits: unnormalized log-probabilities, shape (…, K); −inf for impossible classes, not for all of them.
      probs: probabilities, shape (…, K), instead of logits; 0 for impossible classes. Rows sum to 1: concrete ones that do
        not are an error, traced ones are taken relative to their sum.
    Raises:
      TypeError: neither logits nor probs, or both.
      ValueError: a scalar, or a concrete row without a possible class or with an illegal number. (A traced row becomes nan:
        its log-prob and score, and the value of an estimate.)
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> dist = lt.OneHotCategorical(jnp.zeros(4))
      >>> round(dist.log_prob(jnp.array([0.0, 1.0, 0.0, 0.0])).item(), 4)   # log ¼
      -1.3863
      >>> dist.enumerate().shape
      (4, 4)
    """

    noisy_logits = NoisyRows()

    def __init__(self, logits: Any = None, *, probs: Any = None) -> None:
        _set_rows(self, logits, probs)

    @property
    def support(self) -> Support:
        return OneHot(self.parameter.shape[-1])

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    def _transform(self, noise: Array) -> Array:
        p = self.parameter
        x = jax.nn.one_hot(inverse_cdf(self.logits, noise), p.shape[-1], dtype=p.dtype)
        return x + jnp.where(jnp.isnan(p).any(-1, keepdims=True), jnp.nan, 0.0).astype(p.dtype)

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x)
        # one sum: a second one costs as much again
        ones = jnp.sum(jnp.where((x == 0) | (x == 1), x, jnp.nan), axis=-1)
        if self.by_probs:
            log_p = jnp.sum(jnp.where(x == 1, probabilities.log_rows(self), 0.0), axis=-1)
        else:
            chosen = jnp.sum(jnp.where(x == 1, self.parameter, 0.0), axis=-1)
            log_p = chosen - jax.nn.logsumexp(self.parameter, axis=-1)
        return where_inside(
            (ones == 1) & (log_p != -jnp.inf), log_p
        )  # score 0 of an impossible class

    def _prob(self, x: Any) -> Array:
        chosen = jnp.where(jnp.asarray(x) == 1, probabilities.rows(self), 0.0)
        return jnp.prod(jnp.sum(chosen, axis=-1))

    def _mean(self) -> Array:
        return probabilities.rows(self)

    def _variance(self) -> Array:
        mean = self._mean()
        return mean * (1 - mean)

    def _weak_parts(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        coefficient, plus, minus = _one_against_others(self, noise)
        size = self.parameter.shape[-1]
        rows = lambda index: jax.nn.one_hot(index, size, dtype=self.parameter.dtype)
        return {"parameter": (coefficient, rows(plus), rows(minus))}

    def _points(self) -> np.ndarray:
        size = self.parameter.shape[-1]
        index = grid(np.arange(size), self.parameter.shape[:-1], np.int32)
        return np.eye(size, dtype=self.parameter.dtype)[index]


def _set_rows(dist: Any, logits: Any, probs: Any) -> None:
    probabilities.given(dist, logits, probs)
    check_rows(dist, "parameter")


def inverse_cdf(logits: Array, uniform: Array) -> Array:
    """The class at `uniform`: how many cumulative weights are at most u times the last.

    Weights are relative to the largest. The running maximum gives impossible classes exactly their predecessor's
    cumulative weight (a parallel cumsum need not), so that none is ever drawn; u < 1 keeps the last class in range.
    """
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    cumulative = lax.cummax(
        jnp.where(weights > 0, jnp.cumsum(weights, axis=-1), 0.0), axis=logits.ndim - 1
    )
    target = uniform[..., None] * cumulative[..., -1:]
    return jnp.sum(cumulative <= target, axis=-1, dtype=jnp.int32)


def _one_against_others(dist: Any, uniform: Array) -> tuple[Array, Array, Array]:
    """Coefficient, a class k, and another class, each shape (…, K).

    By logits ∂E[f]/∂logitₖ = pₖ (1 − pₖ) (f(k) − E[f | not k]); by probabilities ∂E[f]/∂pₖ has (1 − pₖ) / Σp.
    """
    logits = dist.logits
    size = logits.shape[-1]
    classes = jnp.broadcast_to(jnp.arange(size), logits.shape)
    others = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, logits[..., None, :])
    alone = jnp.max(others, axis=-1) == -jnp.inf  # no other class is possible: the coefficient is 0
    other = inverse_cdf(
        jnp.where(alone[..., None], 0.0, others), jnp.broadcast_to(uniform[..., None], logits.shape)
    )
    share = probabilities.rows(dist)
    minus = jnp.where(alone, classes, other)
    if dist.by_probs:
        return (1 - share) / jnp.sum(dist.parameter, axis=-1, keepdims=True), classes, minus
    plus = jnp.where(share > 0, classes, minus)  # f need not be defined at an impossible class
    return share * (1 - share), plus, minus

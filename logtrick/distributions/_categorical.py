"""Independent categoricals by logits: as indices, and as one-hot rows."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.module import assign
from logtrick.distributions._base import Factorized
from logtrick.distributions._links import Softmax
from logtrick.distributions._parameters import Array, parameters, where_inside, wide
from logtrick.noise import Uniform
from logtrick.supports import IntegerBelow, OneHot, Support, grid


class Categorical(Factorized):
    """Independent categoricals, P(x = k) = softmax(logits)ₖ, as indices.

    Draws are int32 in 0 … K − 1, shape `logits.shape[:-1]`, by the inverse CDF of ONE uniform each: a class of
    probability zero is never drawn. In float32 a class's frequency is right to 2⁻²³.

    Args:
      logits: unnormalised log-probabilities, shape (…, K); −inf for impossible classes, not for all of them.
    Raises:
      ValueError: `logits` is a scalar, or a concrete row has a nan, a +inf or nothing above −inf. (Traced: nan.)
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> dist = lt.Categorical(jnp.log(jnp.array([0.2, 0.3, 0.5])))
      >>> round(dist.log_prob(2).item(), 4), dist.log_prob(3).item()       # log ½; out of range
      (-0.6931, -inf)
    """

    logits: Any
    provides = frozenset({"entropy", "kl_divergence", "cdf", "inverse_cdf"})
    weak_parameters = ("logits",)

    def __post_init__(self) -> None:
        _check_logits(self)

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape[:-1]

    @property
    def support(self) -> Support:
        return IntegerBelow(self.logits.shape[-1])

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.event_shape, wide(self.logits.dtype))

    def _transform(self, noise: Array) -> Array:
        return inverse_cdf(self.logits, noise)

    def _log_kernel(self, x: Any) -> Array:
        x, size = jnp.asarray(x), self.logits.shape[-1]
        inside = (x >= 0) & (x < size) & (x == jnp.floor(x))
        index = jnp.where(inside, x, 0).astype(jnp.int32)
        # Normalised first: under vmap over draws that is done once, and a table of K is gathered from.
        log_p = jax.nn.log_softmax(self.logits, axis=-1)
        return where_inside(inside, jnp.take_along_axis(log_p, index[..., None], axis=-1)[..., 0])

    def _entropy(self) -> Array:
        return _entropy(self.logits)

    def _kl_divergence(self, other: Any) -> Array:
        return _kl_divergence(self.logits, other.logits)

    def _cdf(self, x: Any) -> Array:
        at_most = jnp.arange(self.logits.shape[-1]) <= jnp.asarray(x)[..., None]
        return jnp.sum(jnp.where(at_most, jax.nn.softmax(self.logits, axis=-1), 0.0), axis=-1)

    def _inverse_cdf(self, u: Array) -> Array:
        return inverse_cdf(self.logits, u)

    def _weak_noise_spec(self, coupled: bool) -> Uniform:
        return Uniform(self.event_shape, wide(self.logits.dtype))

    def _weak_derivatives(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        return {"logits": _one_against_others(self.logits, noise)}

    def _points(self) -> np.ndarray:
        return grid(np.arange(self.logits.shape[-1]), self.event_shape, np.int32)


class OneHotCategorical(Factorized):
    """Independent categoricals, P(row = eₖ) = softmax(logits)ₖ, as one-hot rows.

    Draws are 0. and 1. in the dtype of the logits, shape `logits.shape`; the classes are `Categorical`'s from
    the same key.

    Args:
      logits: unnormalised log-probabilities, shape (…, K); −inf for impossible classes, not for all of them.
    Raises:
      ValueError: `logits` is a scalar, or a concrete row has a nan, a +inf or nothing above −inf. (Traced: nan.)
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> dist = lt.OneHotCategorical(jnp.zeros(4))
      >>> round(dist.log_prob(jnp.array([0.0, 1.0, 0.0, 0.0])).item(), 4)   # log ¼
      -1.3863
      >>> dist.enumerate().shape
      (4, 4)
    """

    logits: Any
    link = Softmax()
    provides = frozenset({"mean", "variance", "entropy", "kl_divergence"})
    weak_parameters = ("logits",)

    def __post_init__(self) -> None:
        _check_logits(self)

    @property
    def support(self) -> Support:
        return OneHot(self.logits.shape[-1])

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.logits.shape[:-1], wide(self.logits.dtype))

    def _transform(self, noise: Array) -> Array:
        return jax.nn.one_hot(
            inverse_cdf(self.logits, noise), self.logits.shape[-1], dtype=self.logits.dtype
        )

    def _log_kernel(self, x: Any) -> Array:
        x = jnp.asarray(x)
        ones = jnp.sum(
            jnp.where((x == 0) | (x == 1), x, jnp.nan), axis=-1
        )  # one sum: a second one costs as much again
        chosen = jnp.sum(jnp.where(x == 1, self.logits, 0.0), axis=-1)
        return where_inside(ones == 1, chosen - jax.nn.logsumexp(self.logits, axis=-1))

    def _mean(self) -> Array:
        return jax.nn.softmax(self.logits, axis=-1)

    def _variance(self) -> Array:
        mean = self._mean()
        return mean * (1 - mean)

    def _entropy(self) -> Array:
        return _entropy(self.logits)

    def _kl_divergence(self, other: Any) -> Array:
        return _kl_divergence(self.logits, other.logits)

    def _weak_noise_spec(self, coupled: bool) -> Uniform:
        return Uniform(self.logits.shape[:-1], wide(self.logits.dtype))

    def _weak_derivatives(self, x: Any, noise: Any, coupled: bool) -> dict[str, Any]:
        coefficient, plus, minus = _one_against_others(self.logits, noise)
        rows = lambda index: jax.nn.one_hot(index, self.logits.shape[-1], dtype=self.logits.dtype)
        return {"logits": (coefficient, rows(plus), rows(minus))}

    def _points(self) -> np.ndarray:
        size = self.logits.shape[-1]
        index = grid(np.arange(size), self.logits.shape[:-1], np.int32)
        return np.eye(size, dtype=self.logits.dtype)[index]


def _check_logits(dist: Any) -> None:
    parameters(dist, logits=dist.logits)
    check_rows(dist, "logits")


def check_rows(dist: Any, name: str) -> None:
    """Refuse rows of logits that are no distribution: concrete ones raise, traced ones become nan."""
    value, where = getattr(dist, name), type(dist).__name__
    if value.ndim == 0 or value.shape[-1] == 0:
        raise ValueError(
            f"{where}({name}=…) needs shape (…, K), K at least 1; got {value.shape}. Reshape them."
        )
    legal = lambda l: (l < np.inf) & (l.max(-1, keepdims=True) > -np.inf)
    need = "rows of numbers below inf, not all of them -inf"
    assign(dist, **{name: checks.require(where, name, value, legal, need)})


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


def _entropy(logits: Array) -> Array:
    log_p = jax.nn.log_softmax(logits, axis=-1)
    possible = log_p > -jnp.inf
    return -jnp.sum(jnp.where(possible, jnp.exp(log_p) * jnp.where(possible, log_p, 0.0), 0.0))


def _kl_divergence(logits: Array, others: Array) -> Array:
    log_p, log_q = jax.nn.log_softmax(logits, axis=-1), jax.nn.log_softmax(others, axis=-1)
    possible = log_p > -jnp.inf
    ratio = jnp.where(possible, log_p, 0.0) - jnp.where(possible, log_q, 0.0)
    return jnp.sum(jnp.where(possible, jnp.exp(log_p) * ratio, 0.0))


def _one_against_others(logits: Array, uniform: Array) -> tuple[Array, Array, Array]:
    """∂E[f]/∂logitₖ = pₖ (1 − pₖ) (f(k) − E[f | not k]): coefficient, k, and another class, each shape (…, K)."""
    size = logits.shape[-1]
    classes = jnp.broadcast_to(jnp.arange(size), logits.shape)
    others = jnp.where(jnp.eye(size, dtype=bool), -jnp.inf, logits[..., None, :])
    alone = jnp.max(others, axis=-1) == -jnp.inf  # no other class is possible: the coefficient is 0
    other = inverse_cdf(
        jnp.where(alone[..., None], 0.0, others), jnp.broadcast_to(uniform[..., None], logits.shape)
    )
    share = jax.nn.softmax(logits, axis=-1)
    minus = jnp.where(alone, classes, other)
    plus = jnp.where(share > 0, classes, minus)  # f need not be defined at an impossible class
    return share * (1 - share), plus, minus

"""Probabilities of discrete outcomes, given as logits or as probabilities.

Both are right at certain and impossible outcomes: an infinite logit, a probability of exactly 0 or 1. There log 0 stands as
the finite number −1e30, so that 0 · log 0 is 0, and `log_of_outcome` turns what contains it into −∞, with score 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.kernel import stop
from logtrick._core.module import assign
from logtrick._core.smooth import at_least, at_most, log_sigmoid
from logtrick.distributions._parameters import Array, broadcasting, parameters

_LOG_ZERO = -1e30
_SMALLEST = 1e-30


def given(dist: Any, logits: Any, probs: Any, shaped: dict[str, Any] | None = None) -> None:
    """Store the one of `logits` and `probs` that was given as `dist.parameter`, beside other parameters `shaped`."""
    where = type(dist).__name__
    if (logits is None) == (probs is None):
        got = "neither" if logits is None else "both"
        raise TypeError(f"{where} needs one of logits=… and probs=…; got {got}. Pass one of them.")
    assign(dist, by_probs=logits is None)
    value = probs if logits is None else logits
    if not isinstance(value, int):
        value = checks.numbers(where, name_of(dist), value)
    if shaped is None:
        parameters(dist, parameter=value)
    else:
        broadcasting(dist, **shaped, parameter=value)


def name_of(dist: Any) -> str:
    return "probs" if dist.by_probs else "logits"


def check_two_outcomes(dist: Any, *, never: bool, always: bool) -> None:
    """Refuse nan, probabilities outside of [0, 1], and an end that is not legal; traced ones become nan.

    Args:
      dist: a family with `parameter` and `by_probs`.
      never: whether p = 0 is legal.
      always: whether p = 1 is.
    """
    low, high = (0.0, 1.0) if dist.by_probs else (-np.inf, np.inf)

    def legal(x: Any) -> Any:
        above = (x >= low) if never else (x > low)
        return above & ((x <= high) if always else (x < high))

    kind = "probabilities" if dist.by_probs else "numbers"
    ends = f"{'[' if never else '('}{low:g}, {high:g}{']' if always else ')'}"
    if checks.concrete(dist.parameter) is None and not dist.by_probs and never and always:
        return  # a nan is nan by itself
    need = f"{kind} in {ends}"
    value = checks.require(type(dist).__name__, name_of(dist), dist.parameter, legal, need)
    assign(dist, parameter=value)


def success(dist: Any) -> Array:
    """p."""
    return dist.parameter if dist.by_probs else jax.nn.sigmoid(dist.parameter)


def failure(dist: Any) -> Array:
    """1 − p."""
    return 1 - dist.parameter if dist.by_probs else jax.nn.sigmoid(-dist.parameter)


def log_success(dist: Any) -> Array:
    """log p, −1e30 for log 0."""
    if not dist.by_probs:
        return log_sigmoid(_finite(dist.parameter))
    p = dist.parameter
    return jnp.where(p == 0, _LOG_ZERO, jnp.log(jnp.where(p == 0, 1.0, p)))


def log_failure(dist: Any) -> Array:
    """log(1 − p), −1e30 for log 0."""
    if not dist.by_probs:
        return log_sigmoid(-_finite(dist.parameter))
    p = dist.parameter
    return jnp.where(p == 1, _LOG_ZERO, jnp.log1p(-jnp.where(p == 1, 0.0, p)))


def log_of_trial(dist: Any, x: Array) -> Array:
    """x log p + (1 − x) log(1 − p), linear in x, −1e30 for log 0.

    Of logits l it is x l − max(l, 0) − log(1 + e^−|l|), exact where x is 0 or 1, with one exponential and one logarithm.
    With x inside of a log-sigmoid, or selecting one, XLA recomputes the chain of earlier sites for every consumer, and a
    chain of 100 sites compiles three times as long; with two log-sigmoids a chain of 50 takes 1.15 times as long.
    """
    if dist.by_probs:
        return x * log_success(dist) + (1 - x) * log_failure(dist)
    logits = _finite(dist.parameter)
    positive = logits > 0  # selects branches that are analytic at 0, as in `log_sigmoid`
    odds = jnp.exp(jnp.where(positive, -logits, logits))
    return x * logits - jnp.where(positive, logits, 0.0) - jnp.log1p(odds)


def log_of_outcome(log_p: Array) -> Array:
    """−∞, with score 0, where log 0 is part of `log_p`."""
    return jnp.where(log_p < _LOG_ZERO / 10, -jnp.inf, log_p)


def divergence(p: Array, log_p: Array, log_q: Array) -> Array:
    """p log(p/q), a term of a Kullback–Leibler divergence: 0 where p is 0, +∞ where q is 0 and p is not."""
    impossible = log_q < _LOG_ZERO / 10
    possible = log_p >= _LOG_ZERO / 10
    return jnp.where(impossible & possible, jnp.inf, p * (log_p - log_q))


def logits_of_two(dist: Any) -> Array:
    """The log odds. Of probabilities of 0 and 1 those of 1e-30 and 1 − 1e-30, so that their derivative is finite."""
    if not dist.by_probs:
        return dist.parameter
    above = lambda p: p + stop(jnp.maximum(p, _SMALLEST) - p)
    return jnp.log(above(dist.parameter)) - jnp.log(above(1 - dist.parameter))


def log_rows(dist: Any) -> Array:
    """The normalized log-probabilities of every row; −∞ for impossible classes."""
    if not dist.by_probs:
        return jax.nn.log_softmax(dist.parameter, axis=-1)
    total = jnp.sum(dist.parameter, axis=-1, keepdims=True)
    return logits_of_rows(dist) - jnp.log(total)


def logits_of_rows(dist: Any) -> Array:
    """Unnormalized log-probabilities."""
    if not dist.by_probs:
        return dist.parameter
    p = dist.parameter
    return jnp.where(p == 0, -jnp.inf, jnp.log(jnp.where(p == 0, 1.0, p)))


def rows(dist: Any) -> Array:
    """The probabilities of every row."""
    if not dist.by_probs:
        return jax.nn.softmax(dist.parameter, axis=-1)
    return dist.parameter / jnp.sum(dist.parameter, axis=-1, keepdims=True)


def shown(dist: Any) -> str:
    """The repr of a family with `parameter` and `by_probs`: under the name by which the parameter was given."""
    before = f"total_count={_short(dist.total_count)}, " if hasattr(dist, "total_count") else ""
    return f"{type(dist).__name__}({before}{name_of(dist)}={_short(dist.parameter)})"


def _short(value: Any) -> str:
    if isinstance(value, jax.Array) and (value.ndim or isinstance(value, jax.core.Tracer)):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return str(value)


def _finite(logits: Array) -> Array:
    """Logits whose sigmoid is 0 or 1 instead of infinite ones."""
    return at_least(at_most(logits, -_LOG_ZERO), _LOG_ZERO)

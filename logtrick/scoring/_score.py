"""`lt.score` and `lt.density_and_grad`: the identity ∇p = p ∇log p for one draw."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import described, in_words

Array = jax.Array
LogProb = Callable[[Any, Any], Any]


def _value_and_score(where: str, log_prob: LogProb, params: Any, x: Any) -> tuple[Array, Any]:
    if not callable(log_prob):
        raise TypeError(
            f"{where}(log_prob=…) needs a function of (params, x); got {described(log_prob)}. For a distribution pass "
            "lambda params, x: lt.Normal(*params).log_prob(x), say."
        )
    checks.differentiable(where, params)
    params = jax.tree.map(jnp.asarray, params)
    return jax.value_and_grad(lambda p: checks.scalar_log_prob(where, log_prob(p, x)))(params)


@in_words("lt.score")
def score(log_prob: LogProb, params: Any, x: Any) -> Any:
    """The score, ∇_θ log p(x; θ).

    Its expectation under p is 0 where the support does not move with θ.

    Args:
      log_prob: `log_prob(params, x) -> scalar`, the log density of ONE draw (it need not be
        normalized).
      params: θ, a pytree of float arrays.
      x: one draw.
    Returns:
      A pytree like `params`.
    Raises:
      ValueError: `log_prob` returns no scalar, or `params` has no leaves.
      TypeError: a leaf of `params` is not a real float array.
    References:
      Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist
      Reinforcement Learning".
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.score(lambda mu, x: -0.5 * (x - mu) ** 2, 1.0, 3.0).item()
      2.0
    """
    return _value_and_score("lt.score", log_prob, params, x)[1]


@in_words("lt.density_and_grad")
def density_and_grad(log_prob: LogProb, params: Any, x: Any, *, scaled: bool = False) -> Any:
    """The density and its gradient by the log-derivative trick, ∇p = p ∇log p.

    The log-prob of a product of factors is a sum, so nothing under- or overflows on the way;
    differentiating the product itself loses the gradient as soon as the product is 0 or inf. Each
    coordinate of ∇p is formed as sign(s) · exp(log p + log|s|), s = ∇log p, so it is right also
    where p itself is out of range and ∇p is not.

    Args:
      log_prob: `log_prob(params, x) -> scalar`, the log density of one draw.
      params: θ, a pytree of float arrays.
      x: one draw.
      scaled: give the pair in units of exp(log_scale) instead, which never under- or overflows.
    Returns:
      `(p, ∇p)`, or with `scaled` `(log_scale, p̂, ∇p̂)` with p = p̂ · exp(log_scale) and
      ∇p = ∇p̂ · exp(log_scale). The scale is held constant. Where log p is finite, p̂ = 1 and
      ∇p̂ = ∇log p.
    Raises:
      ValueError: `log_prob` returns no scalar, or `params` has no leaves.
      TypeError: a leaf of `params` is not a real float array.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> log_prob = lambda rate, x: jnp.sum(jnp.log(rate) - rate * x)       # 2,000 exponential factors
      >>> log_scale, p, grad = lt.density_and_grad(log_prob, 2.0, jnp.full(2000, 3.0), scaled=True)
      >>> round(log_scale.item()), p.item(), grad.item()                     # exp(-10614) is 0 as a float
      (-10614, 1.0, -5000.0)
      >>> p, grad = lt.density_and_grad(log_prob, 2.0, jnp.ones(3))
      >>> round(p.item(), 4), round(grad.item(), 4)                          # 8 e⁻⁶ and 8 e⁻⁶ (3/2 − 3)
      (0.0198, -0.0297)
    """
    log_p, s = _value_and_score("lt.density_and_grad", log_prob, params, x)
    if scaled:
        log_scale = jnp.where(jnp.isfinite(log_p), log_p, jnp.zeros_like(log_p))
        p = jnp.exp(log_p - log_scale)
        return log_scale, p, jax.tree.map(lambda s: p.astype(s.dtype) * s, s)

    def slope(s: Array) -> Array:
        # not in bfloat16: there a log-prob of −50 is rounded by up to 0.1, which exp makes 10 %
        dtype = jnp.promote_types(jnp.result_type(s, log_p), jnp.float32)
        log_slope = log_p.astype(dtype) + jnp.log(jnp.abs(s).astype(dtype))
        return (jnp.sign(s) * jnp.exp(log_slope)).astype(s.dtype)

    return jnp.exp(log_p), jax.tree.map(slope, s)

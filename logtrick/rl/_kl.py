"""The Kullback–Leibler divergence to a reference policy, with its gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick._core.kernel import limited, stop
from logtrick.rl import _arrays
from logtrick.rl._trajectory import trajectory_sum

Array = jax.Array


@in_words("lt.rl.kl_k1")
def kl_k1(log_probs: Any, reference_log_probs: Any, *, mask: Any = None) -> Array:
    """KL(π ‖ π_ref) by the mean of k1 = log π − log π_ref, with the gradient of the KL.

    Value and derivatives are unbiased. k1 itself, differentiated as a loss, has an expected gradient of exactly 0, since it
    lacks the term with the score. That term is included here, with the leave-one-out mean of the other draws' sums as
    baseline.

    Args:
      log_probs: log π of n ≥ 2 draws from π, shape (n,), or of their tokens, shape (n, T).
      reference_log_probs: log π_ref of the same, held constant.
      mask: True where a token counts, shaped like `log_probs`.
    Returns:
      The estimate in nats per sequence, shape (); add β times it to a loss.
    Raises:
      ValueError: one draw only, or arrays that do not fit.
    References:
      Schulman (2020), "Approximating KL Divergence"; Tang & Munos (2025), "On a few pitfalls in KL divergence gradient
      estimation for RL".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> log_probs, reference = jnp.log(jnp.array([0.5, 0.25])), jnp.log(jnp.array([0.25, 0.25]))
      >>> value, grad = jax.value_and_grad(lambda lp: lt.rl.kl_k1(lp, reference))(log_probs)
      >>> round(value.item(), 3), [round(g, 3) for g in grad.tolist()]
      (0.347, [0.847, 0.153])
    """
    log_probs, log_ratios, mask = _checked("lt.rl.kl_k1", log_probs, reference_log_probs, mask)
    return _mean_over_draws(log_probs, log_ratios, mask)


@in_words("lt.rl.kl_k2")
def kl_k2(log_probs: Any, reference_log_probs: Any, *, mask: Any = None) -> Array:
    """Half the mean of (log π − log π_ref)², whose derivative is that of KL(π ‖ π_ref).

    This is k2 of the sequences' log-probs, differentiated as it stands: log(π/π_ref) ∇log π is an unbiased estimate of ∇KL.
    Its value is BIASED for the KL (in one example E[k2] = .3634 where the KL is .3396), and the derivative is that of the KL,
    not that of E[k2]. First derivatives only. A sum of k2 of single tokens would not credit a token with later tokens.

    Args:
      log_probs: log π of n ≥ 2 draws from π, shape (n,), or of their tokens, shape (n, T), which are summed.
      reference_log_probs: log π_ref of the same, held constant.
      mask: True where a token counts, shaped like `log_probs`.
    Returns:
      The estimate, shape (); add β times it to a loss.
    Raises:
      ValueError: one draw only, or arrays that do not fit.
      DerivativeOrderError: a second derivative.
    References:
      Schulman (2020), "Approximating KL Divergence".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> log_probs, reference = jnp.log(jnp.array([0.5, 0.25])), jnp.log(jnp.array([0.25, 0.25]))
      >>> value, grad = jax.value_and_grad(lambda lp: lt.rl.kl_k2(lp, reference))(log_probs)
      >>> round(value.item(), 3), [round(g, 3) for g in grad.tolist()]
      (0.12, [0.347, 0.0])
    """
    log_probs, log_ratios, _ = _checked("lt.rl.kl_k2", log_probs, reference_log_probs, mask)
    value = 0.5 * jnp.mean(jnp.sum(log_ratios, axis=1) ** 2)
    return limited("lt.rl.kl_k2", value, log_probs)


@in_words("lt.rl.kl_k3")
def kl_k3(log_probs: Any, reference_log_probs: Any, *, mask: Any = None) -> Array:
    """KL(π ‖ π_ref) by the mean of k3 = ρ − 1 − log ρ, ρ = π_ref/π of a token, with the gradient of the KL.

    Value and derivatives are unbiased, and the value is never negative. k3 itself, differentiated as a loss, has the
    gradient of another divergence, KL(π_ref ‖ π), since it lacks the term with the score. That term is included here: each
    token is credited with its own k3 and those of later tokens.

    Args:
      log_probs: log π of n ≥ 2 draws from π, shape (n,), or of their tokens, shape (n, T).
      reference_log_probs: log π_ref of the same, held constant.
      mask: True where a token counts, shaped like `log_probs`.
    Returns:
      The estimate in nats per sequence, shape (); add β times it to a loss.
    Raises:
      ValueError: one draw only, or arrays that do not fit.
    References:
      Schulman (2020), "Approximating KL Divergence"; Tang & Munos (2025), "On a few pitfalls in KL divergence gradient
      estimation for RL".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> log_probs, reference = jnp.log(jnp.array([0.5, 0.25])), jnp.log(jnp.array([0.25, 0.25]))
      >>> value, grad = jax.value_and_grad(lambda lp: lt.rl.kl_k3(lp, reference))(log_probs)
      >>> round(value.item(), 3), [round(g, 3) for g in grad.tolist()]
      (0.097, [0.347, -0.097])
    """
    log_probs, log_ratios, mask = _checked("lt.rl.kl_k3", log_probs, reference_log_probs, mask)
    return _mean_over_draws(log_probs, jnp.expm1(-log_ratios) + log_ratios, mask)


def _checked(where: str, log_probs: Any, reference: Any, mask: Any) -> tuple[Array, Array, Array]:
    """Log-probs, log-ratios and mask, each (n, T)."""
    if jnp.shape(reference) != jnp.shape(log_probs):
        raise ValueError(
            f"{where}(reference_log_probs=…) needs the shape of log_probs, {jnp.shape(log_probs)};"
            f" got {jnp.shape(reference)}. Pass log-probs of the same tokens."
        )
    log_probs, counts = _arrays.draws(where, "log_probs", log_probs, mask)
    _arrays.at_least_two(where, "log_probs", log_probs)
    reference, _ = _arrays.draws(where, "reference_log_probs", reference, mask)
    log_probs = _arrays.nan_unless_finite(log_probs)
    return log_probs, log_probs - stop(reference), counts


def _mean_over_draws(log_probs: Array, terms: Array, mask: Array) -> Array:
    """The mean of the sequences' sums; the baseline b_t of a draw is the mean of the other draws' sums from t on."""
    to_go = jnp.cumsum(terms[:, ::-1], axis=1)[:, ::-1]
    others = (jnp.sum(to_go, axis=0, keepdims=True) - to_go) / (len(to_go) - 1)
    return jnp.mean(jax.vmap(trajectory_sum)(log_probs, terms, jnp.where(mask, others, 0.0)))

"""REINFORCE with the leave-one-out baseline of a group (RLOO)."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick._core.kernel import stop
from logtrick.expectations import expect_given
from logtrick.rl import _arrays

Array = jax.Array


@in_words("lt.rl.rloo")
def rloo(
    log_probs: Any,
    rewards: Any,
    *,
    mask: Any = None,
    behavior_log_probs: Any = None,
    max_weight: float | None = None,
) -> Array:
    """The RLOO loss of one group of sequences: minus their mean reward.

    Its derivative is −(1/G) Σᵢ (rᵢ − mean_{j≠i} r_j) ∇log π(yᵢ), an unbiased estimate of −∇E[r], and unbiased at
    higher orders. A sequence's log-prob is the sum over its tokens.

    Sequences drawn from another policy μ have weights wᵢ = π(yᵢ) / μ(yᵢ), held constant; then the derivative is
    −(1/G) Σᵢ wᵢ (rᵢ − bᵢ) ∇log π(yᵢ), bᵢ the mean of the others' w r, unbiased too. `max_weight=c` truncates the weights,
    which is BIASED: of E_π[h] the part E_π[h (1 − c/w)₊] is missing, at most max|h| · P_π(w > c), where h is r for the
    value and r ∇log π for the gradient.

    Args:
      log_probs: log π of the sequences, shape (G,), or of their tokens, shape (G, T).
      rewards: r, shape (G,), G ≥ 2; held constant.
      mask: True where a token counts, shaped like `log_probs`.
      behavior_log_probs: log μ, shaped like `log_probs`; None if the sequences were drawn from π as it is.
      max_weight: c > 0, truncates the weights; BIASED.
    Returns:
      The loss, shape (). Use `jax.vmap` over groups, and take the mean.
    Raises:
      ValueError: a group of one, rewards of another rank than 1, arrays that do not fit, `max_weight` alone or not positive.
    References:
      Kool, van Hoof & Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!"; Ahmadian et al. (2024), "Back
      to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs"; Ionides (2008),
      "Truncated Importance Sampling".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> rewards = jnp.array([1.0, 0.0, 0.0])
      >>> value, grad = jax.value_and_grad(lambda lp: lt.rl.rloo(lp, rewards))(jnp.zeros(3))
      >>> round(value.item(), 2), [round(g, 2) for g in grad.tolist()]
      (-0.33, [-0.33, 0.17, 0.17])
    """
    where = "lt.rl.rloo"
    tokens, rewards, _ = _arrays.group(where, log_probs, rewards, mask)
    if max_weight is not None and behavior_log_probs is None:
        raise ValueError(
            f"{where}(max_weight={max_weight}) needs behavior_log_probs, from which the weights are made; got None."
            " Pass them, or leave max_weight out."
        )
    if max_weight is not None and not max_weight > 0:
        raise ValueError(
            f"{where}(max_weight=…) needs a positive number; got {max_weight}. Pass 2.0, say."
        )
    totals = tokens.sum(1)
    log_weights = None
    if behavior_log_probs is not None:
        behavior, _ = _arrays.draws(where, "behavior_log_probs", behavior_log_probs, mask)
        if behavior.shape != tokens.shape:
            raise ValueError(
                f"{where}(behavior_log_probs=…) needs the shape of log_probs, {jnp.shape(log_probs)};"
                f" got {jnp.shape(behavior_log_probs)}. Pass log-probs of the same tokens."
            )
        log_weights = stop((tokens - behavior).sum(1))  # differences first: both sums are large
    return expect_given(
        jnp.arange(len(rewards)),
        lambda i: -rewards[i],
        lambda i: totals[i],
        log_weights=log_weights,
        max_weight=max_weight,
    )

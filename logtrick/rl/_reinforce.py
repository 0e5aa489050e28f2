"""REINFORCE with reward-to-go."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick._core.kernel import stop
from logtrick.rl import _arrays
from logtrick.rl._trajectory import trajectory_sum

Array = jax.Array


@in_words("lt.rl.reinforce")
def reinforce(
    log_probs: Any,
    rewards: Any,
    *,
    discount: Any = 1.0,
    mask: Any = None,
    baselines: Any = None,
) -> Array:
    """The REINFORCE loss of one episode: minus its discounted return.

    With G_t = r_t + γ G_{t+1} its derivative is −Σ_t γ^t (G_t − b_t) ∇log π(a_t | s_t), an unbiased estimate of the
    gradient of −E[Σ_t γ^t r_t] if b_t does not depend on a_t and later actions. The factor γ^t belongs to the gradient
    of the discounted return; implementations that leave it out are biased. Higher derivatives are unbiased too.

    Args:
      log_probs: log π(a_t | s_t) of the actions taken, shape (T,), as a function of the policy's parameters.
      rewards: r_t, shape (T,); held constant.
      discount: γ, one number.
      mask: True where a step counts, shape (T,). The other steps (padding, before or after the episode) are ignored,
        whatever their log-probs and rewards are, nan included.
      baselines: b_t in the units of the return from t on, shape (T,), held constant; None for 0.
    Returns:
      The loss, shape (). Use `jax.vmap` over episodes, and take the mean.
    Raises:
      ValueError: an array of another shape.
    References:
      Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
      Learning"; Sutton, McAllester, Singh & Mansour (2000), "Policy Gradient Methods for Reinforcement Learning
      with Function Approximation".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> rewards = jnp.array([0.0, 1.0])
      >>> loss = lambda log_probs: lt.rl.reinforce(log_probs, rewards, discount=0.9)
      >>> value, grad = jax.value_and_grad(loss)(jnp.array([-0.7, -0.7]))
      >>> round(value.item(), 2), [round(g, 2) for g in grad.tolist()]
      (-0.9, [-0.9, -0.9])
    """
    where = "lt.rl.reinforce"
    given = {} if baselines is None else {"baselines": baselines}
    log_probs, rewards, *rest = _arrays.steps(where, log_probs=log_probs, rewards=rewards, **given)
    counts = _arrays.mask_like(where, log_probs, mask)
    discount = _arrays.number(where, "discount", discount).astype(log_probs.dtype)
    time = jnp.cumsum(counts) - counts  # how many steps that count came before
    factors = discount**time
    costs = -factors * jnp.where(counts, stop(rewards), 0.0)
    offsets = -factors * jnp.where(counts, rest[0], 0.0) if rest else jnp.zeros_like(costs)
    log_probs = _arrays.nan_unless_finite(jnp.where(counts, log_probs, 0.0))
    return trajectory_sum(log_probs, costs, offsets)

"""Actor–critic: REINFORCE with a learned baseline, and the critic's regression."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick._core.kernel import stop
from logtrick.rl import _arrays
from logtrick.rl._reinforce import reinforce
from logtrick.rl._returns import reward_to_go

Array = jax.Array


@in_words("lt.rl.actor_critic")
def actor_critic(
    log_probs: Any,
    rewards: Any,
    values: Any,
    *,
    discount: Any = 1.0,
    mask: Any = None,
    critic_weight: Any = 1.0,
) -> Array:
    """The loss of an actor and of its critic, of one episode.

    −Σ_t γ^t r_t + w Σ_t (G_t − v_t)². The actor's derivative is −Σ_t γ^t (G_t − v_t) ∇log π(a_t | s_t), unbiased
    whatever the critic, because the critic sees s_t and not a_t. The critic's derivative is that of the second term, and
    does not reach the actor. The returns are those of the whole episode: nothing is bootstrapped.

    Args:
      log_probs: log π(a_t | s_t) of the actions taken, shape (T,).
      rewards: r_t, shape (T,); held constant.
      values: v_t, the critic's prediction of G_t from the state before the action, shape (T,).
      discount: γ, one number.
      mask: True where a step counts, shape (T,).
      critic_weight: w, one number.
    Returns:
      The loss, shape (). Use `jax.vmap` over episodes, and take the mean.
    Raises:
      ValueError: an array of another shape.
    References:
      Sutton, McAllester, Singh & Mansour (2000), "Policy Gradient Methods for Reinforcement Learning
      with Function Approximation"; Mnih & Gregor (2014), "Neural Variational Inference and Learning in
      Belief Networks" (the same baseline for latent variables, here `lt.LearnedBaseline`).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> rewards, values = jnp.array([1.0, 1.0]), jnp.array([1.5, 0.5])
      >>> loss = lambda log_probs, values: lt.rl.actor_critic(log_probs, rewards, values)
      >>> actor, critic = jax.grad(loss, (0, 1))(jnp.array([-0.7, -0.7]), values)
      >>> actor.tolist(), critic.tolist()
      ([-0.5, -0.5], [-1.0, -1.0])
    """
    where = "lt.rl.actor_critic"
    _, _, values = _arrays.steps(where, log_probs=log_probs, rewards=rewards, values=values)
    critic_weight = _arrays.number(where, "critic_weight", critic_weight)
    discount = _arrays.number(where, "discount", discount)
    counts = _arrays.mask_like(where, values, mask)
    actor = reinforce(log_probs, rewards, discount=discount, mask=mask, baselines=values)
    returns = stop(reward_to_go(rewards, discount=discount, mask=mask))
    errors = jnp.where(counts, returns - jnp.where(counts, values, 0.0), 0.0)
    return actor + critic_weight * jnp.sum(errors**2)

"""The discounted reward-to-go of an episode."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick.rl import _arrays

Array = jax.Array


@in_words("lt.rl.reward_to_go")
def reward_to_go(rewards: Any, *, discount: Any = 1.0, mask: Any = None) -> Array:
    """The discounted sum of this and all later rewards, G_t = r_t + γ G_{t+1}.

    Args:
      rewards: r, shape (T,), of one episode; use `jax.vmap` for a batch.
      discount: γ.
      mask: True where a step counts, shape (T,); padding after the end of the episode has False.
    Returns:
      G, shape (T,).
    Raises:
      ValueError: an array of another shape.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.reward_to_go(jnp.array([0.0, 0.0, 1.0]), discount=0.5).tolist()
      [0.25, 0.5, 1.0]
    """
    where = "lt.rl.reward_to_go"
    (rewards,) = _arrays.steps(where, rewards=rewards)
    discount = checks.real(where, "discount", discount)
    counted = jnp.where(_arrays.mask_like(where, rewards, mask), rewards, 0.0)

    def step(later: Array, reward: Array) -> tuple[Array, Array]:
        total = reward + discount * later
        return total, total

    return jax.lax.scan(step, jnp.zeros_like(counted[0]), counted, reverse=True)[1]

"""The discounted reward-to-go of an episode."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick.rl import _arrays

Array = jax.Array


@in_words("lt.rl.reward_to_go")
def reward_to_go(rewards: Any, *, discount: Any = 1.0, mask: Any = None) -> Array:
    """The discounted sum of this and all later rewards, G_t = r_t + γ G_{t+1}.

    Steps that the mask leaves out are ignored: they have no reward, and the discount does not count them.

    Args:
      rewards: r, shape (T,), of one episode; use `jax.vmap` for a batch.
      discount: γ, one number.
      mask: True where a step counts, shape (T,); padding has False.
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
    counts = _arrays.mask_like(where, rewards, mask)
    discount = _arrays.number(where, "discount", discount).astype(rewards.dtype)

    def step(later: Array, this: tuple[Array, Array]) -> tuple[Array, Array]:
        reward, counted = this
        total = jnp.where(counted, reward + discount * later, later)
        return total, total

    return jax.lax.scan(step, jnp.zeros((), rewards.dtype), (rewards, counts), reverse=True)[1]

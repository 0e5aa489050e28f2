"""What the rewards of one group become before they multiply scores."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.calls import in_words
from logtrick._core.module import Module
from logtrick.rl import _arrays

Array = jax.Array


class Advantage(Module, abstract=True):
    """A map from the rewards of one group, shape (G,), to the numbers that multiply the scores.

    Write your own as a subclass with `__call__(rewards)`.

    Example:
      >>> import logtrick as lt
      >>> lt.rl.LeaveOneOutAdvantage.unbiased, lt.rl.StandardizedAdvantage.unbiased
      (True, False)
    """

    unbiased: ClassVar[bool] = False

    @abc.abstractmethod
    def __call__(self, rewards: Array) -> Array:
        """The advantages, shape (G,), of the rewards, shape (G,)."""


def _differences(rewards: Array) -> Array:
    """Rewards relative to the first: an offset that all share leaves no rounding errors."""
    return rewards - rewards[0]


class LeaveOneOutAdvantage(Advantage):
    """rᵢ − mean_{j≠i} r_j. The gradient is unbiased.

    References:
      Kool, van Hoof & Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!"
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.LeaveOneOutAdvantage()(jnp.array([1.0, 0.0, 0.0])).tolist()
      [1.0, -0.5, -0.5]
    """

    unbiased: ClassVar[bool] = True

    def __call__(self, rewards: Array) -> Array:
        differences = _differences(rewards)
        others = (jnp.sum(differences) - differences) / (len(rewards) - 1)
        return differences - others


class MeanCenteredAdvantage(Advantage):
    """rᵢ − mean_j r_j. BIASED: the gradient is (1 − 1/G) of the right one, because the mean contains rᵢ.

    References:
      Liu et al. (2025), "Understanding R1-Zero-Like Training: A Critical Perspective" (Dr. GRPO).
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.MeanCenteredAdvantage()(jnp.array([1.0, 0.0])).tolist()
      [0.5, -0.5]
    """

    def __call__(self, rewards: Array) -> Array:
        differences = _differences(rewards)
        return differences - jnp.mean(differences)


class StandardizedAdvantage(Advantage):
    """(rᵢ − mean r) / std r, std the population's. BIASED: groups with nearly equal rewards count too much.

    For rewards in {0, 1} of probability p with score b − p the expected gradient is E[√(p̂(1 − p̂))] instead of p(1 − p):
    .2095 instead of .09 at p = .1 and G = 8. A group whose rewards are all equal has advantages 0.

    Args:
      epsilon: added to the standard deviation.
    References:
      Shao et al. (2024), "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models".
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.StandardizedAdvantage()(jnp.array([1.0, 0.0])).tolist()
      [1.0, -1.0]
    """

    epsilon: Any = 0.0

    def __call__(self, rewards: Array) -> Array:
        differences = _differences(rewards)
        # In units of the largest difference, whose square can neither overflow nor vanish.
        largest = jnp.max(jnp.abs(differences))
        unit = jnp.where(largest == 0, 1.0, largest)
        scaled = differences / unit
        centered = scaled - jnp.mean(scaled)
        spread = jnp.sqrt(jnp.mean(centered**2)) + self.epsilon / unit
        return jnp.where(largest == 0, 0.0, centered / jnp.where(largest == 0, 1.0, spread))


@in_words("lt.rl.fraction_without_signal")
def fraction_without_signal(rewards: Any) -> Array:
    """The fraction of groups whose rewards are all equal: their gradient is 0, whatever was drawn.

    Watch it in training: at 1 nothing is learned, because all problems are too hard or too easy.

    Args:
      rewards: shape (groups, G).
    Returns:
      A number between 0 and 1, shape (); nan where a reward is nan.
    Raises:
      ValueError: rewards of another rank, or groups of one.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.fraction_without_signal(jnp.array([[1.0, 1.0], [0.0, 1.0]])).item()
      0.5
    """
    where = "lt.rl.fraction_without_signal"
    rewards = _arrays.real(where, "rewards", rewards)
    if rewards.ndim != 2:
        raise ValueError(
            f"{where}(rewards=…) needs the rewards of all groups, shape (groups, G); got {rewards.shape}. Stack them."
        )
    _arrays.at_least_two(where, "rewards", rewards.T)
    fraction = jnp.mean(jnp.all(rewards == rewards[:, :1], axis=1), dtype=rewards.dtype)
    return jnp.where(jnp.any(jnp.isnan(rewards)), jnp.nan, fraction)

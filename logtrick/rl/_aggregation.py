"""How the terms of all tokens of a group become one number."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.compat import is_tracer
from logtrick._core.module import Module

Array = jax.Array


class Aggregation(Module, abstract=True):
    """The weights of the tokens of one group, from the mask (G, T) of tokens that count.

    Write your own as a subclass with `weights(mask)`. `unbiased` says whether the weights are independent of the drawn
    lengths: only then is the sum an unbiased gradient, up to a constant factor.

    Example:
      >>> import logtrick as lt
      >>> lt.rl.FixedDenominator.unbiased, lt.rl.SequenceMean.unbiased, lt.rl.TokenMean.unbiased
      (True, False, False)
    """

    unbiased: ClassVar[bool] = False

    @abc.abstractmethod
    def weights(self, mask: Array) -> Array:
        """The weight of each token, shape (G, T), from the mask, shape (G, T)."""


class TokenMean(Aggregation):
    """The mean over all tokens of the group. BIASED: the denominator is a sum of drawn lengths.

    References:
      Yu et al. (2025), "DAPO: An Open-Source LLM Reinforcement Learning System at Scale".
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.TokenMean().weights(jnp.array([[True, True, True], [True, False, False]])).tolist()
      [[0.25, 0.25, 0.25], [0.25, 0.0, 0.0]]
    """

    def weights(self, mask: Array) -> Array:
        counts = mask.astype(float)
        return counts / jnp.maximum(jnp.sum(counts), 1.0)


class SequenceMean(Aggregation):
    """The mean over sequences of the mean over each one's tokens. BIASED: wrong answers cost less when they are long.

    References:
      Shao et al. (2024), "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models"; Liu et
      al. (2025), "Understanding R1-Zero-Like Training: A Critical Perspective" (on the bias).
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.SequenceMean().weights(jnp.array([[True, True], [True, False]])).tolist()
      [[0.25, 0.25], [0.5, 0.0]]
    """

    def weights(self, mask: Array) -> Array:
        counts = mask.astype(float)
        lengths = jnp.maximum(jnp.sum(counts, axis=1, keepdims=True), 1.0)
        return counts / lengths / len(mask)


class FixedDenominator(Aggregation):
    """The sum over tokens divided by the constant G · denominator: unbiased up to the factor 1/denominator.

    Args:
      denominator: any positive constant, for example the largest length allowed; 1 gives the gradient itself.
    References:
      Liu et al. (2025), "Understanding R1-Zero-Like Training: A Critical Perspective" (Dr. GRPO).
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.rl.FixedDenominator(2.0).weights(jnp.array([[True, True], [True, False]])).tolist()
      [[0.25, 0.25], [0.25, 0.0]]
    """

    denominator: Any = 1.0
    unbiased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_tracer(self.denominator) and not self.denominator > 0:
            raise ValueError(
                f"FixedDenominator(denominator=…) needs a positive number; got {self.denominator}. Pass 1.0, say."
            )

    def weights(self, mask: Array) -> Array:
        return mask.astype(float) / (len(mask) * self.denominator)

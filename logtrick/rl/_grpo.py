"""Group relative policy optimization, on policy."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.calls import described, in_words
from logtrick._core.kernel import first_order
from logtrick.rl import _arrays
from logtrick.rl._advantages import Advantage, StandardizedAdvantage
from logtrick.rl._aggregation import Aggregation, SequenceMean

Array = jax.Array


@in_words("lt.rl.grpo")
def grpo(
    log_probs: Any,
    rewards: Any,
    *,
    mask: Any = None,
    advantage: Advantage = StandardizedAdvantage(),  # noqa: B008  # frozen
    aggregation: Aggregation = SequenceMean(),  # noqa: B008  # frozen
) -> Array:
    """The GRPO loss of one group, on policy. BIASED twice by default, see below.

    Value −mean r; derivative −Σᵢ Aᵢ Σ_t wᵢₜ ∇log π(yᵢₜ), with the advantages A of the rewards and the weights w of the
    tokens. The biases: division by the standard deviation (`StandardizedAdvantage`), and weights 1/|yᵢ|
    (`SequenceMean`). With `advantage=LeaveOneOutAdvantage()` and `aggregation=FixedDenominator(1.0)` it is `lt.rl.rloo`,
    unbiased. The clipped ratio of PPO is not here: on policy it has this same derivative.

    Args:
      log_probs: log π of the sequences, shape (G,), or of their tokens, shape (G, T).
      rewards: r, shape (G,), G ≥ 2; held constant.
      mask: True where a token counts, shaped like `log_probs`.
      advantage: A.
      aggregation: w.
    Returns:
      The loss, shape (). Use `jax.vmap` over groups, and take the mean.
    Raises:
      ValueError: a group of one, rewards of another rank than 1, arrays that do not fit, an advantage or an aggregation
        that returns another shape than it should.
      TypeError: a class, or another object, where an advantage or an aggregation is needed.
      DerivativeOrderError: a second derivative.
    References:
      Shao et al. (2024), "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> rewards = jnp.array([1.0, 0.0])
      >>> value, grad = jax.value_and_grad(lambda lp: lt.rl.grpo(lp, rewards))(jnp.zeros((2, 4)))
      >>> value.item(), grad[:, 0].tolist()
      (-0.5, [-0.125, 0.125])
    """
    where = "lt.rl.grpo"
    _check("advantage", advantage, Advantage, "lt.rl.LeaveOneOutAdvantage()")
    _check("aggregation", aggregation, Aggregation, "lt.rl.FixedDenominator(1.0)")
    tokens, rewards, counts = _arrays.group(where, log_probs, rewards, mask)
    weights = _shaped(aggregation, aggregation.weights(counts), counts.shape, tokens.dtype)
    advantages = _shaped(advantage, advantage(rewards), rewards.shape, tokens.dtype)
    tokens = _arrays.nan_unless_finite(tokens)
    return -jnp.mean(rewards) - first_order(where, advantages[:, None] * weights, tokens)


def _check(name: str, value: Any, kind: type, example: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(
            f"lt.rl.grpo({name}=…) needs an lt.rl.{kind.__name__}; got {described(value)}. Pass {example}, say."
        )


def _shaped(made_by: Any, value: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """What an advantage or an aggregation returned. Of another shape it would be broadcast without a word."""
    if jnp.shape(value) != shape:
        raise ValueError(
            f"lt.rl.grpo: {type(made_by).__name__} needs to return shape {shape}; got {jnp.shape(value)}."
        )
    return jnp.asarray(value, dtype)

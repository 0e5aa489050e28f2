"""Arrays of episodes and groups: shapes checked at trace time, padding made harmless."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import stop

Array = jax.Array


def real(where: str, name: str, value: Any) -> Array:
    """A real array in at least float32, in which log-probs and rewards are summed."""
    array = checks.real(where, name, value)
    return array if array.dtype.itemsize >= 4 else array.astype(jnp.float32)


def number(where: str, name: str, value: Any) -> Array:
    """One number for all steps."""
    value = real(where, name, value)
    if value.ndim != 0:
        raise ValueError(
            f"{where}({name}=…) needs one number; got shape {value.shape}. Pass a float, or use jax.vmap."
        )
    return value


def nan_unless_finite(log_probs: Array) -> Array:
    """The log-probs, nan with a derivative of nan where one is not finite: the policy cannot have drawn that."""
    return log_probs * stop(jnp.where(jnp.isfinite(log_probs), 1.0, jnp.nan))


def steps(where: str, **named: Any) -> list[Array]:
    """One episode's arrays: real, all of the same shape (T,)."""
    arrays = [real(where, name, value) for name, value in named.items()]
    shape = arrays[0].shape
    for name, array in zip(named, arrays):
        if array.ndim != 1 or array.shape != shape:
            raise ValueError(
                f"{where}({name}=…) needs one number for each step of ONE episode, shape (T,); got {array.shape}"
                f" beside {shape}. Use jax.vmap over episodes."
            )
    return arrays


def group(where: str, log_probs: Any, rewards: Any, mask: Any) -> tuple[Array, Array, Array]:
    """Log-probs (G, T), rewards (G,) held constant and mask (G, T) of one group; padding has log-prob 0."""
    rewards = stop(real(where, "rewards", rewards))
    if rewards.ndim != 1:
        raise ValueError(
            f"{where}(rewards=…) needs one reward for each sequence of ONE group, shape (G,); got {rewards.shape}."
            " Use jax.vmap over groups."
        )
    at_least_two(where, "rewards", rewards)
    log_probs, mask = draws(where, "log_probs", log_probs, mask)
    if len(log_probs) != len(rewards):
        raise ValueError(
            f"{where}(log_probs=…) needs one row for each of the {len(rewards)} rewards; got {len(log_probs)}."
            " Pass arrays of one group."
        )
    return log_probs, rewards, mask


def draws(where: str, name: str, log_probs: Any, mask: Any) -> tuple[Array, Array]:
    """Log-probs of sequences as (n, T) with their mask, from (n,) or (n, T); padding has log-prob 0."""
    log_probs = real(where, name, log_probs)
    if log_probs.ndim not in (1, 2):
        raise ValueError(
            f"{where}({name}=…) needs log-probs of sequences, shape (n,), or of their tokens, shape (n, T);"
            f" got {log_probs.shape}. Use jax.vmap over further axes."
        )
    mask = mask_like(where, log_probs, mask)
    if log_probs.ndim == 1:
        log_probs, mask = log_probs[:, None], mask[:, None]
    return jnp.where(mask, log_probs, 0.0), mask


def at_least_two(where: str, name: str, array: Array) -> None:
    """At least two draws, where each is compared with the others."""
    if len(array) < 2:
        raise ValueError(
            f"{where}({name}=…) needs at least two draws, so that each has others to be compared with; got {len(array)}."
            " Draw more."
        )


def mask_like(where: str, array: Array, mask: Any) -> Array:
    """True where a step counts: the given mask, or all of `array`."""
    if mask is None:
        return jnp.ones(array.shape, bool)
    mask = jnp.asarray(mask)
    if mask.shape != array.shape:
        raise ValueError(
            f"{where}(mask=…) needs one entry for each log-prob, shape {array.shape}; got {mask.shape}."
            " Pass True where a step counts."
        )
    return mask.astype(bool)

"""A finite support as points and log-probabilities, and a choice of some of its points."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.kernel import detached
from logtrick._core.memory import claim, nbytes
from logtrick.distributions import Distribution
from logtrick.noise import Uniform

Array = jax.Array


def size_of(dist: Distribution) -> int:
    """How many points the support has."""
    return jax.tree.leaves(jax.eval_shape(dist.enumerate))[0].shape[0]


def check_draws(estimator: Any, num_draws: int, dist: Distribution) -> None:
    """Draws without replacement: at most as many as the support has points."""
    points = size_of(dist)
    if points < num_draws:
        raise ValueError(
            f"{type(estimator).__name__}(num_draws=…) needs at most as many draws as the support has points, {points}; "
            f"got {num_draws}. Use Enumerate()."
        )


def uniforms_over(dist: Distribution) -> Uniform:
    """One uniform for each point."""
    return Uniform((size_of(dist),), jax.eval_shape(lambda: masses(dist)[1]).dtype)


def masses(dist: Distribution) -> tuple[Any, Array]:
    """Every point, stacked, and its log-probability, held constant."""
    held = detached(dist)
    points = held.enumerate()
    return points, jax.vmap(held.log_prob)(points)


def claimed(estimator: Any, log_p: Array, points: Any) -> Array:
    """`log_p`, refused while tracing where the points of the support, in all batches, would not fit into memory."""
    count, name = log_p.shape[0], type(estimator).__name__
    return claim(log_p, count, nbytes(points), f"{name}() of a support of {count:,} points")


def chosen(dist: Distribution, points: Any, log_p: Array, index: Array) -> tuple[Any, Array]:
    """The points at `index` and their live log-probabilities.

    A point of probability zero gives its place to the likeliest one: f is not evaluated where it
    cannot be drawn.
    """
    index = jnp.where(log_p[index] == -jnp.inf, jnp.argmax(log_p), index)
    draws = jax.tree.map(lambda x: x[index], points)
    return draws, jax.vmap(dist.log_prob)(draws)

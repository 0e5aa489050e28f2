"""k independent draws of one distribution, as one distribution."""

from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core.module import static
from logtrick.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Normal,
    OneHotCategorical,
)
from logtrick.noise import Noise
from logtrick.supports import Product, Support

Array = jax.Array


def repeated(dist: Distribution, k: int) -> Distribution:
    """k independent draws of `dist`, stacked; a product of bits, categories or normals is one of the same family."""
    if not isinstance(dist, Bernoulli | Categorical | OneHotCategorical | Normal):
        return Repeated(dist, k)
    rank = max(jnp.ndim(leaf) for leaf in jax.tree.leaves(dist))
    stack = lambda leaf: jnp.broadcast_to(leaf, (k, *leaf.shape)) if leaf.ndim == rank else leaf
    return jax.tree.map(stack, dist)


class Repeated(Distribution):
    """k independent draws, stacked."""

    dist: Any
    k: int = static()

    @property
    def reparameterized(self) -> bool:
        return self.dist.reparameterized

    @property
    def moving_support(self) -> tuple[str, ...]:
        return ("dist",) if self.dist.moving_support else ()

    @property
    def may_hide_parameters(self) -> bool:
        return self.dist.may_hide_parameters

    @property
    def event_shape(self) -> Any:
        shape = self.dist.event_shape
        if shape is None:
            return None
        is_shape = lambda s: isinstance(s, tuple) and all(isinstance(n, int) for n in s)
        return jax.tree.map(lambda s: (self.k, *s), shape, is_leaf=is_shape)

    @property
    def support(self) -> Support:
        return Product((self.dist.support,) * self.k)

    @property
    def noise_spec(self) -> Any:
        return jax.tree.map(
            lambda n: Stack(n, self.k), self.dist.noise_spec, is_leaf=lambda x: isinstance(x, Noise)
        )

    def _transform(self, noise: Any) -> Any:
        return jax.vmap(self.dist._transform)(noise)

    def _draw_with(self, change: Any, noise: Any) -> Any:
        return jax.vmap(lambda n: self.dist._draw_with(change, n))(noise)

    def _log_prob(self, x: Any) -> Array:
        return jnp.sum(jax.vmap(self.dist.log_prob)(x))


class Stack(Noise):
    """The noise of k draws."""

    inner: Any
    k: int = static()

    def rows(self, key: Array, start: Any, count: int, total: int) -> Any:
        flat = self.inner.rows(key, start * self.k, count * self.k, total * self.k)
        return jax.tree.map(lambda a: a.reshape(count, self.k, *a.shape[1:]), flat)

    def one(self, key: Array) -> Any:
        return jax.tree.map(lambda a: a[0], self.rows(key, 0, 1, 1))

    def example(self) -> Any:
        return jax.tree.map(lambda a: jnp.stack([a] * self.k), self.inner.example())

    def reflect(self, value: Any) -> Any:
        return self.inner.reflect(value)

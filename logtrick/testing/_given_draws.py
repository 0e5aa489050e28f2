"""A distribution whose noise is the draw itself, so that draws can be injected and enumerated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import static
from logtrick.distributions import Distribution
from logtrick.noise import Noise
from logtrick.testing._atoms import draw_form

Array = jax.Array


class PointNoise(Noise):
    """The noise of `GivenDraws`: a draw, which is always injected."""

    shape: tuple[int, ...] = static(default=())
    dtype: Any = static(default=np.dtype("float32"))

    def rows(self, key: Array, start: Any, count: int, total: int) -> Any:
        raise AssertionError("draws are injected")

    def one(self, key: Array) -> Any:
        raise AssertionError("draws are injected")

    def example(self) -> Any:
        return jnp.zeros(self.shape, self.dtype)


class GivenDraws(Distribution):
    """`dist` in everything but its noise, which is the draw itself."""

    dist: Distribution

    @property
    def event_shape(self) -> Any:
        return self.dist.event_shape

    @property
    def support(self) -> Any:
        return self.dist.support

    @property
    def noise_spec(self) -> Any:
        return jax.tree.map(lambda s: PointNoise(s.shape, s.dtype), draw_form(self.dist))

    def draw(self, noise: Any) -> Any:
        return noise

    def log_prob(self, x: Any) -> Array:
        return self.dist.log_prob(x)

    def log_prob_factors(self, x: Any) -> Array:
        return self.dist.log_prob_factors(x)

    def fixed_support(self) -> Distribution:
        return GivenDraws(self.dist.fixed_support())

    def held_support(self) -> Distribution:
        return GivenDraws(self.dist.held_support())

    def _transform(self, noise: Any) -> Any:
        return noise

    def _log_prob(self, x: Any) -> Array:
        return self.dist.log_prob(x)

    def __getattribute__(self, name: str) -> Any:
        if name in _OWN or name.startswith("__"):
            return super().__getattribute__(name)
        return getattr(super().__getattribute__("dist"), name)


_OWN = {"dist", *(n for n in vars(GivenDraws) if not n.startswith("__"))}

"""Plackett–Luce: a distribution over permutations."""

import itertools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick.distributions._base import Distribution
from logtrick.distributions._parameters import Array, finite, parameters, where_inside, wide
from logtrick.noise import Uniform, interior
from logtrick.supports import Permutation, Support


class PlackettLuce(Distribution):
    """A ranking of K items, drawn without replacement in proportion to e^logits.

    P(x) = Πᵢ e^{logits[xᵢ]} / Σ_{j ≥ i} e^{logits[xⱼ]}: x₀ is the item that comes first. Draws are int32 permutations:
    the order of logits + Gumbel noise.

    Args:
      logits: log weights, finite, shape (K,).
    Raises:
      ValueError: not shape (K,), or a concrete logit is not finite. (Traced ones give a log-prob of nan.)
    References:
      Plackett (1975), "The Analysis of Permutations"; Yellott (1977).
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> dist = lt.PlackettLuce(jnp.log(jnp.array([1.0, 2.0, 3.0])))
      >>> round(dist.log_prob(jnp.array([2, 1, 0])).item(), 4), dist.log_prob(jnp.array([2, 2, 0])).item()  # log ½ · ⅔
      (-1.0986, -inf)
      >>> dist.enumerate().shape
      (6, 3)
    """

    logits: Any

    def __post_init__(self) -> None:
        parameters(self, logits=self.logits)
        finite(self, "logits")
        if self.logits.ndim != 1:
            raise ValueError(
                f"PlackettLuce(logits=…) needs shape (K,); got {self.logits.shape}. Use Joint for several."
            )

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.logits.shape

    @property
    def support(self) -> Support:
        return Permutation(self.logits.shape[0])

    @property
    def noise_spec(self) -> Uniform:
        return Uniform(self.logits.shape, wide(self.logits.dtype))

    def _transform(self, noise: Array) -> Array:
        # A Gumbel is −log of an exponential; −log1p(−u) keeps the small exponentials, which are the winners.
        gumbel = -jnp.log(-jnp.log1p(-interior(noise)))
        return jnp.argsort(-(self.logits + gumbel)).astype(jnp.int32)

    def _log_prob(self, x: Any) -> Array:
        x, items = jnp.asarray(x), jnp.arange(self.logits.shape[0])
        inside = jnp.all(jnp.sort(x) == items)
        ranked = self.logits[jnp.where(inside, x, items).astype(jnp.int32)]
        return where_inside(inside, jnp.sum(ranked - lax.cumlogsumexp(ranked, reverse=True)))

    def _points(self) -> np.ndarray:
        size = self.logits.shape[0]
        if math.factorial(size) > 2**20:
            raise ValueError(
                f"enumerating {size}! permutations exceeds {2**20}. Use ScoreFunction()."
            )
        return np.array(list(itertools.permutations(range(size))), np.int32).reshape(-1, size)

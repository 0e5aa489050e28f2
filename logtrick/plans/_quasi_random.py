"""Plans that spread the samples evenly: scrambled Sobol' points and stratification."""

import abc
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import ndtri

from logtrick import noise as _noise
from logtrick._core.kernel import wide
from logtrick.noise._noise import rounded_down
from logtrick.plans._plans import Plan, inside
from logtrick.plans._sobol_numbers import BITS, DIMENSIONS, direction_numbers

Array = jax.Array


class _Points(Plan, abstract=True):
    """A plan whose noise is points in a cube, through the inverse CDF of the noise."""

    def rows(self, spec: Any, key: Array, start: Any, count: int, total: int) -> Any:
        """Rows start … start + count of the noise `spec` of `total` samples."""
        leaves, tree = jax.tree.flatten(spec, is_leaf=_noise.is_noise)
        sizes = [math.prod(leaf.shape) for leaf in leaves]
        dtype = wide(jnp.result_type(*(leaf.dtype for leaf in leaves)))
        u = self.uniforms(key, start, count, total, sum(sizes), dtype)
        parts = jnp.split(u, np.cumsum(sizes)[:-1], axis=1)
        return tree.unflatten([_as_noise(leaf, part) for leaf, part in zip(leaves, parts)])

    @abc.abstractmethod
    def uniforms(
        self, key: Array, start: Any, count: int, total: int, dimensions: int, dtype: Any
    ) -> Array:
        """Rows of `total` points in (0, 1)^dimensions, shape (count, dimensions)."""


class Sobol(_Points):
    """Randomized quasi-Monte Carlo: scrambled Sobol' points through the inverse CDF, one dimension a coordinate.

    Each call scrambles anew (a random lower-triangular matrix over GF(2) for each dimension and a digital shift), so
    every sample's draw keeps its law and the mean is unbiased; for smooth f the variance falls like n⁻² and faster instead
    of n⁻¹. Best with n a power of two. The points of a site come in random order, and each 64 dimensions in an order of
    their own (Latin supercube sampling), so that sites, and further dimensions, are independent of each other. All samples
    depend on each other: no leave-one-out (take `NoBaseline` or `MovingAverage`), and the standard error is nan.

    Raises:
      ValueError: with a baseline that leaves out samples; the distribution has no inverse CDF.
    References:
      Owen (1998), "Latin Supercube Sampling for Very High-Dimensional Simulations"; Matoušek (1998), "On the
      L2-Discrepancy for Anchored Boxes"; Buchholz, Wenzel & Mandt (2018), "Quasi-Monte Carlo Variational Inference".
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), num_samples=1024,
      ...                              estimator=lt.Pathwise(plan=lt.Sobol()))
      >>> round(jax.grad(value)(1.0).item(), 3)                # exact: 2
      2.0
    """

    reference: ClassVar[str] = (
        "Buchholz, Wenzel & Mandt (2018), Quasi-Monte Carlo Variational Inference."
    )

    def uniforms(
        self, key: Array, start: Any, count: int, total: int, dimensions: int, dtype: Any
    ) -> Array:
        parts = [jnp.zeros((count, 0), dtype)]  # all of them where a draw has no numbers
        for group, first in enumerate(range(0, dimensions, DIMENSIONS)):
            size = min(DIMENSIONS, dimensions - first)
            parts.append(_sobol(jax.random.fold_in(key, group), start, count, total, size, dtype))
        return jnp.concatenate(parts, axis=1)


class Stratified(_Points):
    """Stratified (Latin hypercube) sampling: each coordinate falls once into each of n strata of equal probability.

    Coordinate d of sample i is the inverse CDF of (π_d(i) + u) / n with random permutations π_d. The part of f that is a sum
    of smooth functions of single coordinates adds n⁻³ to the variance, the rest n⁻¹. The choice of a mixture's component is
    one of the coordinates, so components come in proportion. All samples depend on each other: no leave-one-out, and the
    standard error is nan. Memory: n × dimensions, for every chunk.

    Raises:
      ValueError: with a baseline that leaves out samples; the distribution has no inverse CDF.
    References:
      McKay, Beckman & Conover (1979), "A Comparison of Three Methods for Selecting Values of Input Variables".
    Example:
      >>> import jax, logtrick as lt
      >>> coin = lambda logit: lt.expect(jax.random.key(0), lambda x: x, lt.Bernoulli(logit), num_samples=100,
      ...                                estimator=lt.ScoreFunction(lt.NoBaseline(), plan=lt.Stratified()))
      >>> round(coin(0.0).item(), 2)                           # 50 heads in 100
      0.5
    """

    reference: ClassVar[str] = (
        "McKay, Beckman & Conover (1979), A Comparison of Three Methods for Selecting Values of Input Variables."
    )

    def uniforms(
        self, key: Array, start: Any, count: int, total: int, dimensions: int, dtype: Any
    ) -> Array:
        order_key, within_key = (jax.random.fold_in(key, i) for i in range(2))
        numbers = lax.broadcasted_iota(jnp.uint32, (total, dimensions), 0)
        order = jax.random.permutation(order_key, numbers, axis=0, independent=True)
        stratum = order[_runs(start, count, total)]
        unit = _noise.Uniform((dimensions,), np.dtype(dtype))
        within = unit.rows(within_key, start, count, total)
        return inside((stratum.astype(dtype) + within) / total)


def _as_noise(leaf: Any, u: Array) -> Array:
    """The noise that has the quantiles `u` in its own law."""
    u = u.reshape(u.shape[0], *leaf.shape)
    if isinstance(leaf, _noise.StandardNormal):
        return ndtri(u).astype(leaf.dtype)
    return rounded_down(u, leaf.dtype)


def _runs(start: Any, count: int, total: int) -> Array:
    """The numbers of the samples; in the place of those past the end, which the caller drops, the last."""
    numbers = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    return jnp.minimum(numbers, np.uint32(total - 1))


def _sobol(key: Array, start: Any, count: int, total: int, dimensions: int, dtype: Any) -> Array:
    """Scrambled points in random order, shape (count, dimensions)."""
    keys = [jax.random.fold_in(key, i) for i in range(4)]
    order = jax.random.permutation(keys[0], jnp.arange(total, dtype=jnp.uint32))
    index = order[_runs(start, count, total)]
    numbers = _scrambled(keys[1], jnp.asarray(direction_numbers(dimensions)))
    shift = jax.random.bits(keys[2], (dimensions,), jnp.uint32)
    word = jnp.broadcast_to(shift, (count, dimensions))
    for bit in range(max(1, (total - 1).bit_length())):
        chosen = ((index >> np.uint32(bit)) & np.uint32(1)).astype(bool)
        word = word ^ jnp.where(chosen[:, None], numbers[None, :, bit], jnp.uint32(0))
    if np.dtype(dtype).itemsize < 8:
        return ((word >> np.uint32(9)).astype(jnp.float32) + 0.5) * np.float32(2**-23)
    below = _noise.Uniform((dimensions,), np.dtype(dtype)).rows(keys[3], start, count, total)
    return inside((word.astype(dtype) + below) * 2.0**-BITS)


def _scrambled(key: Array, numbers: Array) -> Array:
    """Each dimension's numbers times a random lower-triangular matrix of bits with ones on its diagonal."""
    # Row i of the matrix is a word whose bits from the top are its columns: random left of the diagonal, 1 on it, then 0.
    # Bit i from the top of the product is the parity of row i and the number.
    diagonal = np.array([1 << (BITS - 1 - i) for i in range(BITS)], np.uint32)
    left = np.array([2**BITS - (1 << (BITS - i)) for i in range(BITS)], np.uint32)
    random = jax.random.bits(key, (numbers.shape[0], BITS), jnp.uint32)
    rows = (random & left[None]) | diagonal[None]
    parity = lax.population_count(rows[:, :, None] & numbers[:, None, :]) & np.uint32(1)
    return jnp.sum(parity * diagonal[None, :, None], 1, dtype=jnp.uint32)

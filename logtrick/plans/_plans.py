"""Sampling plans: how the draws of one site depend on each other from sample to sample."""

import abc
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick import noise as _noise
from logtrick._core.kernel import detached, wide
from logtrick._core.module import Module
from logtrick.distributions import Distribution

Array = jax.Array
_TRANSFORMED = (_noise.Uniform, _noise.StandardNormal)


class Plan(Module, abstract=True):
    """How the draws of one site depend on each other from sample to sample. Each draw keeps its law, so means are unbiased.

    Attributes:
      block: how many consecutive samples depend on each other; None for all of them.

    Example:
      >>> import logtrick as lt
      >>> lt.IID().block, lt.Antithetic().block, lt.Sobol().block
      (1, 2, None)
    """

    block: ClassVar[int | None] = None
    reference: ClassVar[str] = ""

    def check(self, dist: Distribution) -> None:
        """Raise where `dist` offers neither noise to plan nor an inverse CDF."""
        leaves = jax.tree.leaves(_base(dist), is_leaf=_noise.is_noise)
        if not all(isinstance(leaf, _TRANSFORMED) for leaf in leaves):
            name, family = type(self).__name__, type(dist).__name__.lstrip("_")
            raise ValueError(
                f"{name}() needs an inverse CDF or noise that stands apart from its transform; {family} has neither. "
                "Use IID()."
            )

    def noise(self, dist: Distribution) -> Any:
        """The noise of one sample."""
        return Planned(_base(dist), self)

    def draw(self, dist: Distribution, noise: Any) -> Any:
        """The draw that `noise` makes, the parameters held constant."""
        if dist.has_numeric_noise:
            return dist.draw(noise)
        return detached(detached(dist).inverse_cdf(inside(noise)))

    def transform(self, dist: Distribution, noise: Any) -> Any:
        """The draw that `noise` makes; its derivative is pathwise."""
        if dist.has_numeric_noise:
            return dist.transform(noise)
        return dist.inverse_cdf(inside(noise))

    @abc.abstractmethod
    def rows(self, spec: Any, key: Array, start: Any, count: int, total: int) -> Any:
        """Rows start … start + count of the noise `spec` of `total` samples."""


class Planned(_noise.Noise):
    """The noise `spec` of one draw, its rows made by a plan; a row depends on the key, its number and the total only."""

    spec: Any
    plan: Any
    counted: ClassVar[bool] = True  # plans take no other noise

    @property
    def block(self) -> int | None:  # type: ignore[override]  # the plan's
        return self.plan.block

    @property
    def size(self) -> int:
        leaves = jax.tree.leaves(self.spec, is_leaf=_noise.is_noise)
        return sum(leaf.size for leaf in leaves)

    def rows(self, key: Array, start: Any, count: int, total: int) -> Any:
        return self.plan.rows(self.spec, key, start, count, total)

    def one(self, key: Array) -> Any:
        return _noise.one(self.spec, key)

    def example(self) -> Any:
        return _noise.example(self.spec)


class IID(Plan):
    """Independent samples.

    References:
      Independent sampling; no reference needed.
    Example:
      >>> import logtrick as lt
      >>> lt.ScoreFunction()
      ScoreFunction(baseline=LeaveOneOut(), plan=IID())
    """

    block: ClassVar[int | None] = 1
    reference: ClassVar[str] = "Independent sampling; no reference needed."

    def check(self, dist: Distribution) -> None:
        pass

    def noise(self, dist: Distribution) -> Any:
        return dist.noise_spec

    def draw(self, dist: Distribution, noise: Any) -> Any:
        return dist.draw(noise)

    def transform(self, dist: Distribution, noise: Any) -> Any:
        return dist.transform(noise)

    def rows(self, spec: Any, key: Array, start: Any, count: int, total: int) -> Any:
        return _noise.rows(spec, key, start, count, total)


class Antithetic(Plan):
    """Mirrored pairs: sample 2k + 1 has the reflected noise of sample 2k, −ε for normals and 1 − u for uniforms.

    Odd parts of f (times the score, or its slope) cancel within a pair. Leave-one-out leaves out the pair: leaving out
    only the sample itself doubles the gradient of x², since its mirror image knows x. The standard error is over pairs.

    Raises:
      ValueError: an odd number of samples or an odd chunk size; the distribution has no noise to reflect and no inverse CDF.
    References:
      Hammersley & Morton (1956), "A New Monte Carlo Technique: Antithetic Variates".
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: 3.0 * x, lt.Normal(mu, 1.0), num_samples=2,
      ...                              estimator=lt.Pathwise(plan=lt.Antithetic()))
      >>> value(1.0).item()                                    # exact for odd f, from one pair
      3.0
    """

    block: ClassVar[int | None] = 2
    reference: ClassVar[str] = (
        "Hammersley & Morton (1956), A New Monte Carlo Technique: Antithetic Variates."
    )

    def rows(self, spec: Any, key: Array, start: Any, count: int, total: int) -> Any:
        run = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
        first, mirrored = run[0] // np.uint32(2), run % np.uint32(2) == 1
        drawn = _noise.rows(spec, key, first, count // 2 + 1, total // 2 + 1)

        def paired(leaf: Any, value: Array) -> Array:
            own = value[run // np.uint32(2) - first]
            return jnp.where(mirrored.reshape(-1, *[1] * (own.ndim - 1)), leaf.reflect(own), own)

        return jax.tree.map(paired, spec, drawn, is_leaf=_noise.is_noise)


def _base(dist: Distribution) -> Any:
    """The noise that a plan arranges: the distribution's own, or uniforms for its inverse CDF."""
    if dist.has_numeric_noise or dist.quantiles.inverse is None:
        return dist.noise_spec
    return _noise.Uniform(dist.event_shape, wide(jnp.result_type(*jax.tree.leaves(dist))))


def inside(u: Array) -> Array:
    """Uniforms kept off 0 and 1, where inverse CDFs are infinite, by half a step of the grid."""
    half = jnp.finfo(u.dtype).epsneg
    return jnp.clip(u, half, 1 - half)

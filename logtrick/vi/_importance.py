"""`vi.importance_sample`: a fit's draws with Pareto smoothed weights."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick.programs import host_errors_surface
from logtrick.vi._diagnose import tail_of, weigh
from logtrick.vi._families._wrapped import as_guide

Array = jax.Array


class ImportanceSample(Module):
    """Draws of q with weights that make them a sample of p.

    Attributes:
      draws: a pytree of variables in their supports, with a leading axis of n.
      log_weights: normalized, shape (n,): their exponentials sum to 1.
      khat: the shape of the tail of the weights: above 0.7 the weighted means are not to be relied on; −inf for an exact fit.
      khat_interval: about 95 % of it.
      ess: the effective sample size (Σw)²/Σw².
    """

    draws: Any
    log_weights: Array
    khat: float = static()
    khat_interval: tuple[float, float] = static()
    ess: float = static()

    def expect(self, f: Callable[[Any], Any]) -> Any:
        """The weighted mean of f over the draws: about E_p[f].

        Args:
          f: a function of one draw that returns a pytree of arrays.
        Returns:
          A pytree like f's result.
        """
        weights = jnp.exp(self.log_weights)
        values = jax.vmap(f)(self.draws)
        return jax.tree.map(lambda x: jnp.tensordot(weights.astype(x.dtype), x, axes=1), values)

    def mean(self) -> Any:
        """The means of the variables under p."""
        return self.expect(lambda z: jax.tree.map(_floating, z))

    def stddev(self) -> Any:
        """The standard deviations of the variables under p."""
        mean = self.mean()
        square = self.expect(lambda z: jax.tree.map(lambda x, m: (_floating(x) - m) ** 2, z, mean))
        return jax.tree.map(jnp.sqrt, square)

    def resample(self, key: Any, num_draws: int) -> Any:
        """Draws without weights, some of them repeated: systematic resampling.

        Args:
          key: a typed key.
          num_draws: how many.
        Returns:
          A pytree like `draws` with a leading axis of `num_draws`, in random order.
        """
        num_draws = checks.positive_int("ImportanceSample.resample", "num_draws", num_draws)
        at_key, order_key = jax.random.split(as_key(key))
        total = jnp.cumsum(jnp.exp(self.log_weights))
        at = (jnp.arange(num_draws) + jax.random.uniform(at_key)) / num_draws * total[-1]
        rows = jnp.minimum(jnp.searchsorted(total, at), total.shape[0] - 1)
        rows = jax.random.permutation(order_key, rows)
        return jax.tree.map(lambda x: x[rows], self.draws)


def _floating(x: Array) -> Array:
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.result_type(float))


@host_errors_surface([])
@in_words("vi.importance_sample")
def importance_sample(
    key: Any, log_density: Callable[[Any], Any], q: Any, num_draws: int = 4096
) -> ImportanceSample:
    """Draw from a fit and weight the draws by w = p/q, the largest weights smoothed: expectations under p, not under q.

    E_p[f] ≈ Σᵢ wᵢ f(zᵢ) / Σᵢ wᵢ. It corrects what a fit that `vi.diagnose` calls `usable after reweighting` gets wrong. No
    weight can correct what q never reaches.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar`, as in `vi.fit`.
      q: a guide, or any `lt.Distribution` over the variables.
      num_draws: n ≥ 25, so that the weights have a tail.
    Returns:
      An `ImportanceSample`.
    Raises:
      ValueError: fewer than 25 draws; no draw with a finite density.
    References:
      Vehtari, Simpson, Gelman, Yao & Gabry (2024), "Pareto Smoothed Importance Sampling".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like=0.0, scale=2.0)
      >>> sample = vi.importance_sample(jax.random.key(0), lambda z: -0.5 * (z - 1.0) ** 2, q)
      >>> sample.mean().round(1).item(), sample.stddev().round(1).item()
      (1.0, 1.0)
    """
    num_draws = checks.positive_int("vi.importance_sample", "num_draws", num_draws)
    if num_draws < 25:
        raise ValueError(
            f"vi.importance_sample(num_draws=…) needs at least 25 draws; got {num_draws}. Pass 4096, say."
        )
    key, guide = as_key(key), as_guide("vi.importance_sample", q)
    weighed = weigh(key, log_density, guide, num_draws)
    if weighed.bad == num_draws:
        raise ValueError(
            "vi.importance_sample(log_density=…) needs a finite log density at some draw of q; got none. "
            "Fit q first, and check the supports of the variables."
        )
    log_weights, tail = tail_of(weighed)
    return ImportanceSample(guide.sample(key, num_draws), log_weights, **tail)

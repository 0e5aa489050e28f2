"""Laplace's approximation and Pathfinder in one call."""

from collections.abc import Callable
from typing import Any

from logtrick._core.calls import in_words
from logtrick.vi._engines import Laplace, Pathfinder
from logtrick.vi._fit import fit
from logtrick.vi._result import Fit


@in_words("vi.laplace")
def laplace(key: Any, log_density: Callable[[Any], Any], q0: Any, *, num_starts: int = 16) -> Fit:
    """Laplace's approximation: the normal with the curvature of log p at its mode.

    `vi.fit` with `optimizer=vi.Laplace(num_starts)`.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar`, as for `vi.fit`.
      q0: a normal guide: the family, the variables, and where the search starts.
      num_starts: points from which modes are searched.
    Returns:
      A `Fit`.
    Raises:
      ValueError: a guide that is not normal.
    References:
      Tierney & Kadane (1986), "Accurate Approximations for Posterior Moments and Marginal Densities".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q0 = vi.FullRankNormal(like=0.0)
      >>> fit = vi.laplace(jax.random.key(0), lambda z: 3 * z - jnp.exp(z), q0)        # mode log 3, curvature −3
      >>> round(fit.q.mean().item(), 3), round(fit.q.stddev().item(), 3)
      (1.099, 0.577)
    """
    return fit(key, log_density, q0, optimizer=Laplace(num_starts))


@in_words("vi.pathfinder")
def pathfinder(key: Any, log_density: Callable[[Any], Any], q0: Any, **options: Any) -> Fit:
    """Pathfinder: the best of the normals along quasi-Newton paths to the modes.

    `vi.fit` with `optimizer=vi.Pathfinder(…)`.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar`, as for `vi.fit`.
      q0: a normal guide: the family, the variables, and where the paths start.
      **options: of `vi.Pathfinder`.
    Returns:
      A `Fit`.
    Raises:
      ValueError: a guide that is not normal.
    References:
      Zhang, Carpenter, Gelman & Vehtari (2022), "Pathfinder: Parallel Quasi-Newton Variational Inference".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> q0 = vi.FullRankNormal(like=jnp.zeros(2))
      >>> fit = vi.pathfinder(jax.random.key(0), lambda z: -0.5 * jnp.sum((z - 1.0) ** 2), q0)
      >>> fit.q.mean().round(1).tolist()
      [1.0, 1.0]
    """
    return fit(key, log_density, q0, optimizer=Pathfinder(**options))

"""Simulation-based calibration of a variational fit."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.keys import as_key
from logtrick._core.module import Module, static
from logtrick.programs import host_errors_surface
from logtrick.vi._conditioned import Conditioned
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._fit import fit
from logtrick.vi._guide import Guide, ravel

SIMULATE, FIT, DRAW, TIES = 1, 2, 3, 4  # purposes of the key


class Calibration(Module):
    """What `vi.calibrate` found; prints as a table.

    Attributes:
      names: of the entries of the variables.
      ranks: P_q(z < truth) for every simulation and entry, in (0, 1), shape (simulations, entries): uniform where q is right.
      statistic: Kolmogorov–Smirnov distances from uniform, per entry.
      p_value: of these.
      symmetry_p_value: of the mean rank being ½, per entry: a small one is a shift of the mean.
    """

    names: tuple[str, ...] = static()
    ranks: Any
    statistic: Any
    p_value: Any
    symmetry_p_value: Any

    def histogram(self, bins: int = 10) -> np.ndarray:
        """How many ranks are in each of `bins` equal bins, shape (entries, bins)."""
        edges = np.linspace(0, 1, bins + 1)
        return np.stack([np.histogram(column, edges)[0] for column in np.asarray(self.ranks).T])

    def __str__(self) -> str:
        width = max(5, *(len(n) for n in self.names))
        lines = [f"{'entry':<{width}}  KS     p      p of the mean"]
        rows = zip(self.names, self.statistic, self.p_value, self.symmetry_p_value)
        lines += [f"{n:<{width}}  {s:.3f}  {p:.3f}  {m:.3f}" for n, s, p, m in rows]
        return "\n".join(lines)


@host_errors_surface([])
@in_words("vi.calibrate")
def calibrate(
    key: Any,
    simulate: Callable[[Any], tuple[Any, Any]],
    log_density: Callable[[Any, Any], Any],
    q0: Any,
    *,
    num_simulations: int = 200,
    num_draws: int = 200,
    batch_size: int = 50,
    max_steps: int = 1000,
    **options: Any,
) -> Calibration:
    """Variational simulation-based calibration: fit simulated data, and rank the truths that made them.

    For truths z from the prior and data from the model at z, P_q(· < z) is uniform over (0, 1) where q is the posterior, entry
    by entry: a ∪ histogram says that q is too narrow, a ∩ too wide, a slope shifted. All fits of a batch are one vmapped
    stochastic fit. Ties (discrete variables) are broken at random, which keeps the ranks uniform.

    Args:
      key: a typed key.
      simulate: `simulate(key) -> (z, data)`: a draw of the prior, and data given it.
      log_density: `log_density(z, data) -> scalar`.
      q0: the guide that every fit starts from.
      num_simulations: fits.
      num_draws: draws of each fit, that its truth is ranked among.
      batch_size: fits at a time.
      max_steps: steps of each fit.
      **options: of `vi.fit`: objective, estimator, optimizer, num_samples.
    Returns:
      A `Calibration`.
    Raises:
      TypeError: no guide.
      ValueError: as for `vi.fit`.
    References:
      Yao, Vehtari, Simpson & Gelman (2018), "Yes, but Did It Work?: Evaluating Variational Inference"; Talts et al. (2018).
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> def simulate(key):
      ...     a, b = jax.random.split(key)
      ...     z = jax.random.normal(a)
      ...     return z, z + jax.random.normal(b)
      >>> log_density = lambda z, x: -0.5 * z**2 - 0.5 * (x - z) ** 2
      >>> found = vi.calibrate(jax.random.key(0), simulate, log_density, vi.MeanFieldNormal(like=0.0), max_steps=300)
      >>> found.ranks.shape, bool(found.p_value[0] > 0.01)
      ((200, 1), True)
    """
    key, q0 = as_key(key), as_guide("vi.calibrate", q0)
    for name, value in (
        ("num_simulations", num_simulations),
        ("num_draws", num_draws),
        ("batch_size", batch_size),
    ):
        checks.positive_int("vi.calibrate", name, value)

    def one(key: Any) -> jax.Array:
        z, data = simulate(jax.random.fold_in(key, SIMULATE))
        _check_truth(z, q0)
        density = Conditioned(log_density, data)
        found = fit(jax.random.fold_in(key, FIT), density, q0, max_steps=max_steps, **options)
        return rank(jax.random.fold_in(key, DRAW), found.q, z, num_draws)

    keys = jax.random.split(key, num_simulations)
    ranks = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=batch_size))(keys))
    statistic = np.array([kolmogorov_smirnov(column) for column in ranks.T])
    p_value = np.array([kolmogorov_p_value(s, num_simulations) for s in statistic])
    z_score = (ranks.mean(0) - 0.5) * math.sqrt(12 * num_simulations)
    symmetry = np.array([math.erfc(abs(z) / math.sqrt(2)) for z in z_score])
    return Calibration(tuple(q0.layout.value_names), ranks, statistic, p_value, symmetry)


def _check_truth(z: Any, q: Guide) -> None:
    """Refuse variables that are not those of the guide: their entries would be ranked among draws of others."""
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(z)]
    expected = [v.shape for v in q.layout.variables]
    if jax.tree.structure(z) != q.layout.tree or shapes != expected:
        raise ValueError(
            f"vi.calibrate(simulate=…) needs variables like those of the guide, {q.layout.shapes}; "
            f"got {jax.tree.map(jnp.shape, z)}. Return (z, data), z as `log_density` takes it."
        )


def rank(key: Any, q: Guide, z: Any, num_draws: int) -> jax.Array:
    """The share of draws below z, entry by entry, ties broken at random, in the middle of its cell."""
    draws = jax.vmap(ravel)(q.sample(jax.random.fold_in(key, DRAW), num_draws))
    truth = ravel(z)
    below = jnp.sum(draws < truth[None], axis=0)
    ties = jnp.sum(draws == truth[None], axis=0)
    uniform = jax.random.uniform(jax.random.fold_in(key, TIES), truth.shape)
    return (below + uniform * (ties + 1)) / (num_draws + 1)


def kolmogorov_smirnov(ranks: np.ndarray) -> float:
    """The largest distance between the empirical distribution function and that of the uniform."""
    ordered, n = np.sort(ranks), len(ranks)
    steps = np.arange(n)
    return float(max(np.max((steps + 1) / n - ordered), np.max(ordered - steps / n)))


def kolmogorov_p_value(statistic: float, n: int) -> float:
    """By Kolmogorov's limit with Stephens' correction for finite n."""
    t = statistic * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    if t < 0.2:
        return 1.0
    return min(
        1.0, max(0.0, 2 * sum((-1) ** (j - 1) * math.exp(-2 * (j * t) ** 2) for j in range(1, 101)))
    )

"""Beyond the fit: to ArviZ, to MCMC, and predictions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.fingerprint import Compiled
from logtrick._core.keys import as_key
from logtrick._core.module import Module
from logtrick.vi._diagnose import log_densities
from logtrick.vi._families._wrapped import as_guide
from logtrick.vi._guide import Guide
from logtrick.vi._target import Target

Array = jax.Array


@in_words("vi.to_arviz")
def to_arviz(key: Any, log_density: Callable[[Any], Any], q: Any, num_draws: int = 1000) -> Any:
    """Draws of a guide as an ArviZ DataTree, with their log weights.

    Groups: `posterior`, the draws by name (dimension "sample"), and `sample_stats`: lp, log_q and log_weight = lp − log_q.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar`, or a `vi.minibatch`.
      q: a guide, or an `lt.Distribution`.
      num_draws: draws.
    Returns:
      A DataTree of arviz-base.
    Raises:
      ImportError: arviz-base is not installed.
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> tree = vi.to_arviz(jax.random.key(0), lambda z: -0.5 * z["mu"] ** 2, vi.MeanFieldNormal(like={"mu": 0.0}))
      >>> dict(tree.posterior.sizes)
      {'sample': 1000}
    """
    q = as_guide("vi.to_arviz", q)
    num_draws = checks.positive_int("vi.to_arviz", "num_draws", num_draws)
    try:
        import arviz_base
    except ImportError as error:
        raise ImportError(
            'vi.to_arviz needs arviz-base. Install it by `pip install "logtrick[arviz]"`.'
        ) from error
    draws = q.sample(as_key(key), num_draws)
    both = log_densities("vi.to_arviz", log_density, q, draws)
    log_p, log_q = (np.asarray(a) for a in both)
    names = [variable.name for variable in q.layout.variables]
    posterior = dict(zip(names, map(np.asarray, jax.tree.leaves(draws))))
    stats = {"lp": log_p, "log_q": log_q, "log_weight": log_p - log_q}
    return arviz_base.from_dict(
        {"posterior": posterior, "sample_stats": stats}, sample_dims=["sample"]
    )


class MCMCStart(Module):
    """Where MCMC starts from a fit.

    Attributes:
      positions: unconstrained flat vectors, one for each chain, shape (chains, d).
      variables: the same points in the constrained space, a pytree with a leading axis of chains.
      inverse_mass_matrix: the covariance of q in the flat space, shape (d, d).
      log_density: of one flat vector, the log-determinant included: what blackjax samples.
      constrain: from a flat vector to the variables.
    """

    positions: Array
    variables: Any
    inverse_mass_matrix: Array
    log_density: Any
    constrain: Any


@in_words("vi.mcmc_start")
def mcmc_start(
    key: Any, log_density: Callable[[Any], Any], q: Any, num_chains: int = 4, num_draws: int = 4096
) -> MCMCStart:
    """Start points and an inverse mass matrix for MCMC, from a fit.

    blackjax: `blackjax.nuts(start.log_density, step_size, start.inverse_mass_matrix)` at `start.positions`, or
    `blackjax.window_adaptation(blackjax.nuts, start.log_density, initial_inverse_mass_matrix=…)`. NumPyro: `init_params` by
    `numpyro.infer.util.unconstrain_fn` of `start.variables`, and `NUTS(…, inverse_mass_matrix=…)`.

    Args:
      key: a typed key.
      log_density: `log_density(z) -> scalar` in the constrained space.
      q: a continuous guide.
      num_chains: start points, draws of q.
      num_draws: draws that the covariance is taken from.
    Returns:
      An `MCMCStart`.
    Raises:
      ValueError: discrete variables; fewer than two draws.
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> start = vi.mcmc_start(jax.random.key(0), lambda z: -z, vi.MeanFieldNormal(like=1.0, support=vi.positive))
      >>> start.positions.shape, start.inverse_mass_matrix.shape, start.log_density(jnp.zeros(1)).item()
      ((4, 1), (1, 1), -1.0)
    """
    q = as_guide("vi.mcmc_start", q)
    if q.discrete:
        raise ValueError(
            f"vi.mcmc_start(q=…) needs continuous variables; {type(q).__name__} has discrete ones. Sum these out first."
        )
    num_chains = checks.positive_int("vi.mcmc_start", "num_chains", num_chains)
    num_draws = checks.positive_int("vi.mcmc_start", "num_draws", num_draws, 2)
    u, _ = q.flat_draws(as_key(key), max(num_draws, num_chains))
    covariance = jnp.atleast_2d(jnp.cov(u, rowvar=False))
    target = Target(log_density, q)
    positions = u[:num_chains]
    constrain = q.layout.constrain
    return MCMCStart(
        positions, jax.vmap(constrain)(positions), covariance, target.log_density, constrain
    )


@in_words("vi.predict")
def predict(
    key: Any,
    q: Any,
    simulate: Callable[[Any, Any], Any],
    num_draws: int = 1000,
    *,
    chunk_size: int = 100,
) -> Any:
    """Posterior predictive draws, in chunks that bound the memory.

    Args:
      key: a typed key.
      q: a guide, or an `lt.Distribution`.
      simulate: `simulate(key, z) -> y`, new data given one draw of the variables.
      num_draws: draws of z, each with one y.
      chunk_size: draws in memory at a time.
    Returns:
      The y, a pytree of arrays with a leading axis of draws.
    Raises:
      TypeError: no guide.
    Example:
      >>> import jax
      >>> from logtrick import vi
      >>> y = vi.predict(jax.random.key(0), vi.MeanFieldNormal(like=2.0, scale=0.1), lambda key, z: z + jax.random.normal(key))
      >>> y.shape, round(y.mean().item())
      ((1000,), 2)
    """
    key, q = as_key(key), as_guide("vi.predict", q)
    checks.function("vi.predict", "simulate", simulate, "simulate(key, z)")
    num_draws = checks.positive_int("vi.predict", "num_draws", num_draws)
    chunk_size = checks.positive_int("vi.predict", "chunk_size", chunk_size)
    return _PREDICTORS.find(simulate, chunk_size)(q, jax.random.split(key, num_draws))


def _predictor(simulate: Callable[[Any, Any], Any], chunk_size: int) -> Callable[..., Any]:
    @jax.jit
    def predicted(q: Guide, keys: Array) -> Any:
        def one(key: Array) -> Any:
            return simulate(jax.random.fold_in(key, 1), q.sample(jax.random.fold_in(key, 0)))

        return jax.lax.map(one, keys, batch_size=chunk_size)

    return predicted


_PREDICTORS = Compiled(_predictor)

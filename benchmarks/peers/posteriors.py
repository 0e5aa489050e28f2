"""How close do variational fits come on six public posteriors, at what cost: `vi.fit` and the peers, each as it ships?

The gap is log Z − ELBO of the normal that a fit ends with (mean and covariance of 65,536 of its draws), the same measure for
all. Peers that take stochastic steps get 2,000 of 15 draws by Adam 1e-2: 30,000 gradients. One process, double precision; the
first call compiles, the second is what a peer's compiled program takes, or compiles again where the peer keeps none.

`python benchmarks/peers/posteriors.py [--only nes1980]`, in the environment `main` of `setup.sh`.
"""

import argparse
import functools
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from found import has, versions

from logtrick import vi

sys.path.insert(1, str(pathlib.Path(__file__).parents[1]))

from posterior_models import Posterior, posteriors  # needs the path above

NAMES = (
    "kidscore_interaction_z",
    "mesquite-logmesquite_logvas",
    "nes1980",
    "noncentered",
    "gp_regr",
    "hmm_example",
)
STEPS, DRAWS, KEPT = 2000, 15, 65_536
OPTIMIZER = optax.adam(1e-2)
Fit = Callable[[int], tuple[Any, int]]  # from a seed: draws (n, d), and gradients taken


def ours(posterior: Posterior, make: Any) -> Fit:
    """`vi.fit` with nothing set."""
    start = make(like=posterior.like, support=posterior.support)

    def fit(seed: int) -> tuple[Any, int]:
        found = vi.fit(jax.random.key(seed), posterior.log_density, start)
        return found.q.flat_draws(jax.random.key(1), KEPT)[0], found.evaluations

    return fit


def numpyro_svi(target: vi.Target, guide_name: str) -> Fit:
    """NumPyro's SVI with an automatic guide."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, Trace_ELBO, autoguide

    def model() -> None:
        z = numpyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), (target.dim,)))
        numpyro.factor("p", target.log_density(z))

    guide = getattr(autoguide, guide_name)(model)
    svi = SVI(model, guide, OPTIMIZER, Trace_ELBO(num_particles=DRAWS))

    def fit(seed: int) -> tuple[Any, int]:
        params = svi.run(jax.random.key(seed), STEPS, progress_bar=False).params
        draws = guide.sample_posterior(jax.random.key(1), params, sample_shape=(KEPT,))
        return draws["z"], STEPS * DRAWS

    return fit


def blackjax_steps(target: vi.Target, name: str) -> Fit:
    """BlackJAX's mean-field or full-rank steps, in a scan."""
    import blackjax

    algorithm = getattr(blackjax, name)(target.log_density, OPTIMIZER, DRAWS)

    @jax.jit
    def run(key: Any) -> Any:
        state, _ = jax.lax.scan(
            lambda state, key: (algorithm.step(key, state)[0], None),
            algorithm.init(jnp.zeros(target.dim)),
            jax.random.split(key, STEPS),
        )
        return algorithm.sample(jax.random.key(1), state, KEPT)

    return lambda seed: (run(jax.random.key(seed)), STEPS * DRAWS)


def blackjax_pathfinder(target: vi.Target) -> Fit:
    """BlackJAX's Pathfinder; its count of gradients is not reported by it."""
    from blackjax.vi import pathfinder

    @jax.jit
    def run(key: Any) -> Any:
        first, second = jax.random.split(key)
        state, _ = pathfinder.approximate(
            first, target.log_density, 0.1 * jax.random.normal(second, (target.dim,))
        )
        return pathfinder.sample(jax.random.key(1), state, KEPT)[0]

    return lambda seed: (run(jax.random.key(seed)), 0)


def tfp_surrogate(target: vi.Target) -> Fit:
    """TensorFlow Probability's surrogate posterior, a normal with a triangular scale."""
    import tensorflow_probability.substrates.jax as tfp

    start = [jnp.zeros(target.dim), jnp.zeros((target.dim, target.dim))]
    tril = lambda raw: jnp.tril(raw, -1) + jnp.diag(jnp.exp(jnp.diagonal(raw)))
    law = lambda loc, raw: tfp.distributions.MultivariateNormalTriL(loc, tril(raw))
    log_density = jax.vmap(target.log_density)

    def fit(seed: int) -> tuple[Any, int]:
        params, _ = tfp.vi.fit_surrogate_posterior_stateless(
            log_density,
            law,
            start,
            OPTIMIZER,
            STEPS,
            sample_size=DRAWS,
            seed=jax.random.key(seed),
        )
        draws = law(*params).sample(KEPT, seed=jax.random.key(1))
        return draws, STEPS * DRAWS

    return fit


def contenders(posterior: Posterior, target: vi.Target) -> dict[str, Fit]:
    """By name, of those that are installed."""
    found: dict[str, Fit] = {
        "logtrick FullRankNormal": ours(posterior, vi.FullRankNormal),
        "logtrick MeanFieldNormal": ours(posterior, vi.MeanFieldNormal),
    }
    if has("numpyro"):
        for name in ("AutoMultivariateNormal", "AutoNormal"):
            found[f"numpyro {name}"] = numpyro_svi(target, name)
    if has("blackjax"):
        for name in ("fullrank_vi", "meanfield_vi"):
            found[f"blackjax {name}"] = blackjax_steps(target, name)
        found["blackjax pathfinder"] = blackjax_pathfinder(target)
    if has("tfp-nightly"):
        found["tfp.vi MultivariateNormalTriL"] = tfp_surrogate(target)
    return found


def gap(posterior: Posterior, target: vi.Target, draws: Any) -> float:
    """log Z − ELBO of the normal with these draws' mean and covariance."""
    draws = np.asarray(draws, np.float64)
    if not np.isfinite(draws).all():
        return np.inf
    spread = np.atleast_2d(np.cov(draws.T))
    lower = np.linalg.cholesky(spread)
    noise = np.random.default_rng(0).standard_normal((8192, target.dim))
    values = np.asarray(
        target.batch(jnp.asarray(draws.mean(0) + np.concatenate([noise, -noise]) @ lower.T))
    )
    entropy = np.log(np.diag(lower)).sum() + 0.5 * target.dim * (1 + np.log(2 * np.pi))
    return posterior.log_z - float(values.mean()) - float(entropy)


def timed(fit: Fit, seed: int) -> tuple[Any, int, float]:
    """What a fit gives, and its seconds."""
    began = time.perf_counter()
    draws, count = jax.block_until_ready(fit(seed))
    return draws, count, time.perf_counter() - began


def line(posterior: Posterior, name: str, fit: Fit, measure: Any) -> str:
    """A row of the table: a fit with each of two seeds, the worse gap."""
    try:
        first, second = timed(fit, 0), timed(fit, 1)
    except Exception as error:  # a peer that does not run is a result
        return f"| {posterior.name} | {name} | {type(error).__name__}: {str(error)[:60]} | | | |"
    gaps = [measure(draws) for draws, _, _ in (first, second)]
    count = f"{second[1]:,}" if second[1] else "not reported"
    cells = [posterior.name, name, f"{max(gaps):.3f}", count, f"{first[2]:.2f}", f"{second[2]:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    told = ", ".join(f"{name} {version}" for name, version in versions().items())
    day = time.strftime("%d %B %Y").lstrip("0")
    print(f"{day}: {told}, Python {platform.python_version()}, {os.cpu_count()} cores.\n")
    print("| posterior | fit | gap, nats (worse of 2 seeds) | gradients | first s | second s |")
    print("|---|---|--:|--:|--:|--:|")
    for name in NAMES:
        if arguments.only not in name:
            continue
        posterior = next(iter(posteriors(name).values()))
        guide = vi.FullRankNormal(like=posterior.like, support=posterior.support)
        target = vi.Target(posterior.log_density, guide)
        for contender, fit in contenders(posterior, target).items():
            measure = functools.partial(gap, posterior, target)
            print(line(posterior, contender, fit, measure), flush=True)


if __name__ == "__main__":
    main()

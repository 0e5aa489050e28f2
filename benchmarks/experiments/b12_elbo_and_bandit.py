"""B12. ELBO estimators of a Gaussian (Roeder et al., 2017; Richter et al., 2020), and groups of a bandit (Shao et al., 2024)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt
from experiments.row import Row, mean_row, oracle, variance_row

stop = jax.lax.stop_gradient
CALLS = 100_000
PLACES = {"m.5_s.8_c0": (0.5, 0.8, 0.0), "at_optimum_c3": (0.0, 1.0, 3.0)}


def log_q(params: Any, z: Any) -> Any:
    return jax.scipy.stats.norm.logpdf(z, *params)


def elbo_gradients(place: str, name: str) -> Any:
    """Gradients of E_q[log p − log q] by mean and scale, (CALLS,) each."""
    mean, scale, log_z = PLACES[place]
    log_p = lambda z: log_z + jax.scipy.stats.norm.logpdf(z)
    # The estimator, its number of samples, whether log q's own parameters are held constant.
    cases: dict[str, tuple[Any, int, bool]] = {
        "total": (lt.Pathwise(), 1, False),
        "stl": (lt.Pathwise(), 1, True),
        "sf": (lt.ScoreFunction(lt.NoBaseline()), 1, True),
        "vargrad2": (lt.ScoreFunction(), 2, True),
        "vargrad4": (lt.ScoreFunction(), 4, True),
    }
    estimator, runs, held = cases[name]

    def value(params: Any, key: Any) -> Any:
        own = stop(params) if held else params
        f = lambda z: log_p(z) - log_q(own, z)
        return lt.expect(key, f, lt.Normal(*params), estimator=estimator, num_samples=runs)

    one = lambda key: jax.grad(value)((mean, scale), key)
    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), CALLS))


def bandit(p: float, group: int, name: str) -> np.ndarray:
    """Gradients in the logit of an expected Bernoulli reward, from a group of rewards."""
    logit = float(np.log(p / (1 - p)))

    def value(logit: Any, key: Any) -> Any:
        if name == "rloo":
            return lt.expect(key, lambda b: b, lt.Bernoulli(logit), num_samples=group)
        actions = lt.Bernoulli(stop(jnp.broadcast_to(logit, (group,)))).sample(key)
        advantage = actions - jnp.mean(actions)
        if name == "grpo_std":
            deviation = jnp.std(actions)
            safe = jnp.where(deviation > 0, deviation, 1)
            advantage = jnp.where(deviation > 0, advantage / safe, 0)
        log_probs = jax.vmap(lt.Bernoulli(logit).log_prob)(actions)
        return jnp.mean(advantage * lt.magic_box(log_probs))

    keys = jax.random.split(jax.random.key(1), CALLS)
    draws = jax.jit(jax.vmap(lambda key: jax.grad(value)(logit, key)))(keys)
    return np.asarray(draws, np.float64)


def rows() -> list[Row]:
    """Variances of one call of the ELBO's gradients; means of the bandit's, of which GRPO's is biased."""
    found = []
    for place in PLACES:
        for name in ("total", "stl", "sf", "vargrad2", "vargrad4"):
            draws = elbo_gradients(place, name)
            for wrt, values in zip(("mu", "sigma"), draws):
                exact = oracle(f"elbo/{place}/{wrt}/{name}")
                within = max(exact["suggested_rtol_var"], 0.02)
                quantity = f"ELBO variance, {place}, d/d{wrt}, {name}"
                values = np.asarray(values, np.float64)
                row = variance_row(
                    quantity, exact["exact_variance"], values, within, evaluations=exact["f_evals"]
                )
                found.append(row)
    for p, group in ((0.1, 8), (0.5, 4), (0.9, 8)):
        for name in ("rloo", "mean_centred", "grpo_std"):
            exact = oracle(f"grpo/p{p}_G{group}/{name}")["exact_mean"]
            quantity = f"bandit mean, p = {p}, group of {group}, {name}"
            found.append(mean_row(quantity, exact, bandit(p, group, name)))
    return found

"""B8. Mohamed, Rosca, Figurnov & Mnih (2020), section 8: Bayesian logistic regression on breast cancer (569 × 31).

Mean-field Gaussian by mean and log scale, prior N(0, I), the whole data. The mean over the coordinates of the variance of
one-sample gradients of E_q[log p(y | w)] (the KL has a closed form), at the start and at the optimum.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from workloads import breast_cancer

import logtrick as lt
from experiments.row import Row

EXPECTED = {  # mean, log scale; from an independent Monte Carlo run
    "start": {
        "score function": (2.45e6, 5.33e6),
        "score function, mean baseline": (8.3e5, 1.86e6),
        "measure-valued": (1.56e4, 3.2e4),
        "pathwise": (8.9e3, 3.05e4),
    },
    "optimum": {
        "score function": (1.3e4, 3.7e3),
        "score function, mean baseline": (555.0, 176.0),
        "measure-valued": (28.0, 4.1),
        "pathwise": (29.0, 5.5),
    },
}
CALLS = {"measure-valued": 4_000}


X, Y = breast_cancer()
D = X.shape[1]


def log_likelihood(w: Any) -> Any:
    logits = X @ w
    return jnp.sum(Y * logits - jax.nn.softplus(logits))


def dist(params: Any) -> Any:
    return lt.Normal(params["loc"], jnp.exp(params["log_scale"]))


def kl(params: Any) -> Any:
    """KL(q ‖ N(0, I))."""
    variance = jnp.exp(2 * params["log_scale"])
    return 0.5 * jnp.sum(variance + params["loc"] ** 2 - 1) - jnp.sum(params["log_scale"])


def optimum() -> tuple[Any, float, float]:
    """The fitted parameters, their ELBO and the accuracy of the mean weights."""
    start = {"loc": jnp.zeros(D), "log_scale": jnp.full(D, -1.0)}

    def negative_elbo(params: Any, key: Any) -> Any:
        expected = lt.expect(
            key, log_likelihood, dist(params), estimator=lt.Pathwise(), num_samples=50
        )
        return kl(params) - expected

    steps = 5000
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    fit = lt.minimize(jax.random.key(0), negative_elbo, start, optimizer, num_steps=steps)
    value = lt.expect(jax.random.key(1), log_likelihood, dist(fit.params), num_samples=20_000) - kl(
        fit.params
    )
    accuracy = jnp.mean((X @ fit.params["loc"] > 0) == (Y > 0.5))
    return fit.params, float(value), float(accuracy)


def variances(params: Any, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean variances of the gradient in the mean and in the log scale, and their standard errors over groups."""
    mean = lt.expect(jax.random.key(9), log_likelihood, dist(params), num_samples=20_000)
    estimators = {
        "score function": lt.ScoreFunction(lt.NoBaseline()),
        "score function, mean baseline": lt.ScoreFunction(lt.ConstantBaseline(mean)),
        "measure-valued": lt.MeasureValued(),
        "pathwise": lt.Pathwise(),
    }

    def one(key: Any) -> Any:
        value = lambda params: lt.expect(
            key, log_likelihood, dist(params), estimator=estimators[name], num_samples=1
        )
        return jax.grad(value)(params)

    calls = CALLS.get(name, 40_000)
    keys = jax.random.split(jax.random.key(3), calls)
    draws = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=100))(keys)
    found = []
    for leaf in ("loc", "log_scale"):
        groups = np.split(np.asarray(draws[leaf], np.float64), 10)
        each = [group.var(0, ddof=1).mean() for group in groups]
        found.append((float(np.mean(each)), float(np.std(each, ddof=1) / 10**0.5)))
    return (found[0][0], found[1][0]), (found[0][1], found[1][1])


def rows() -> list[Row]:
    """Variances within 25 %, the ELBO and the accuracy at the optimum."""
    params, elbo, accuracy = optimum()
    found = [
        Row("ELBO at the optimum", -67.7, elbo, 0.5 / 67.7),
        Row("accuracy at the optimum", 0.988, accuracy, 0.005),
    ]
    places = {"start": {"loc": jnp.zeros(D), "log_scale": jnp.zeros(D)}, "optimum": params}
    for place, expected in EXPECTED.items():
        for name, exact in expected.items():
            got, errors = variances(places[place], name)
            for i, wrt in enumerate(("mean", "log scale")):
                quantity = f"variance at the {place}, {wrt}, {name}"
                count = 4 * D + 1 if name == "measure-valued" else 1
                row = Row(quantity, exact[i], got[i], 0.25, errors[i], evaluations=count)
                found.append(row)
    return found

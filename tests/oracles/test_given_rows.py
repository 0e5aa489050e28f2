"""Oracle rows of draws made elsewhere: off-policy weights (offpolicy/*), unnormalized densities (covariance/*)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import logtrick as lt
from tests.oracles.problems import ROWS, check

EXPONENTIAL_FAMILY = lt.distribution(
    lambda params, x: jax.nn.log_softmax(params["T"] @ params["theta"])[x],
    lambda key, params: jax.random.categorical(key, params["T"] @ params["theta"]),
)


def run(row, gradient, seed=0):
    """`suggested_M` independent calls of `gradient(key)`."""
    keys = jax.random.split(jax.random.key(seed), row["suggested_M"])
    return check(
        row, np.asarray(jax.jit(lambda k: jax.lax.map(gradient, k, batch_size=10_000))(keys))
    )


@pytest.mark.parametrize("name", [name for name in ROWS if name.startswith("offpolicy/")])
def test_importance_weights(name):
    """One draw a call from r = N(mu, tau sigma²), the variance times tau, weighted by p/r; f = (x − k)²."""
    row = ROWS[name]
    mu, sigma, k, tau = (row["params"][key] for key in ("mu", "sigma", "k", "tau"))

    def gradient(key):
        wide = tau**0.5 * sigma
        x = mu + wide * jax.random.normal(key, (1,))
        log_weights = norm.logpdf(x, mu, sigma) - norm.logpdf(x, mu, wide)
        value = lambda mu: lt.expect_given(
            x,
            lambda x: (x - k) ** 2,
            lt.Normal(mu, sigma),
            log_weights=log_weights,
            baseline=lt.NoBaseline(),
        )
        return jax.grad(value)(mu)

    run(row, gradient)


@pytest.mark.parametrize("way", ["given", "leave one out"])
@pytest.mark.parametrize("size", [4, 16])
def test_covariance(size, way):
    """The sample covariance of f and the statistics T, over n − 1: of given draws by log p̃ = θ·T(x) alone, and as the
    leave-one-out estimator of the normalized family, which is the same number."""
    row = ROWS[f"covariance/ef5_N{size}"]
    theta, t, f = (jnp.asarray(row["params"][key]) for key in ("theta", "T", "f"))

    def given(theta, key):
        x = jax.random.categorical(key, jax.lax.stop_gradient(t @ theta), shape=(size,))
        return lt.expect_given(x, lambda x: f[x], lambda x: t[x] @ theta, normalized=False)

    def leave_one_out(theta, key):
        return lt.expect(
            key, lambda x: f[x], EXPONENTIAL_FAMILY({"theta": theta, "T": t}), num_samples=size
        )

    value = given if way == "given" else leave_one_out
    run(row, lambda key: jax.grad(value)(theta, key))

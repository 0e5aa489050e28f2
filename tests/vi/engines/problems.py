"""Log densities on flat vectors, as engines see them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm

from logtrick import vi


class Flat:
    """A target without named variables."""

    def __init__(self, log_density, dim, differentiable=True):
        self.log_density, self.dim, self.differentiable = log_density, dim, differentiable
        self.batch = jax.jit(jax.vmap(log_density))
        self.value_and_grad = jax.jit(jax.vmap(jax.value_and_grad(log_density)))


def standard(dim):
    """N(0, I), where fits start."""
    return vi.Gaussian(np.zeros(dim), np.eye(dim))


def mean_field(dim):
    """The same, with independent coordinates."""
    return vi.Gaussian(np.zeros(dim), np.ones(dim))


def gaussian(mean, covariance):
    """A Gaussian target, normalized."""
    mean, precision = jnp.asarray(mean), jnp.linalg.inv(jnp.asarray(covariance))
    constant = 0.5 * jnp.linalg.slogdet(precision)[1] - 0.5 * len(mean) * jnp.log(2 * jnp.pi)
    return Flat(lambda z: constant - 0.5 * (z - mean) @ precision @ (z - mean), len(mean))


def poisson():
    """A Poisson regression with three coefficients: log-concave, near a Gaussian."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 3))
    y = jnp.asarray(rng.poisson(np.exp(x @ np.array([1.0, -0.5, 0.3]))), float)
    x = jnp.asarray(x)
    target = Flat(
        lambda b: jnp.sum(y * (x @ b) - jnp.exp(x @ b)) + norm.logpdf(b, 0.0, 3.0).sum(), 3
    )
    target.design = np.asarray(x)
    return target


def funnel():
    """Neal's funnel: its only mode is in the neck."""
    return Flat(
        lambda z: norm.logpdf(z[0], 0.0, 3.0) + norm.logpdf(z[1:], 0.0, jnp.exp(z[0] / 2)).sum(), 5
    )


def mixture(weights, means, scales):
    """A mixture of isotropic normals, normalized."""
    means = jnp.asarray(means, float)

    def log_density(z):
        parts = [jnp.log(w) + norm.logpdf(z, m, s).sum() for w, m, s in zip(weights, means, scales)]
        return jax.nn.logsumexp(jnp.stack(parts))

    return Flat(log_density, means.shape[1])


def elbo(target, fitted, count=4096):
    """The ELBO on antithetic draws by one seed: differences between fits have little noise."""
    half = np.random.default_rng(0).standard_normal((count // 2, target.dim))
    noise = np.concatenate([half, -half])
    return float(np.mean(target.batch(fitted.push(noise)))) + fitted.entropy()

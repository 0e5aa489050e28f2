"""G-REP: both of its parts together are unbiased, to second order, by quadrature over the draw."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import logtrick as lt
from logtrick.distributions._factorized import Factorized
from logtrick.noise import StandardNormal
from tests.estimators.exact import moments
from tests.programs.exact import estimate

KEY = jax.random.key(6)


class Given(Factorized):
    """A family whose draw is the injected noise itself."""

    inner: Any
    event_shape = ()
    noise_spec = StandardNormal(())
    support = property(lambda self: self.inner.support)
    closed_forms = property(lambda self: self.inner.closed_forms)

    def _transform(self, noise):
        return noise

    def _log_kernel(self, x):
        return self.inner.log_prob(x)


GAMMA, BETA = np.array([2.5, 1.7]), np.array([2.0, 3.0])
LAWS = {
    "gamma": (GAMMA, lambda t: lt.Gamma(t[0], t[1]), stats.gamma(2.5, scale=1 / 1.7), np.exp),
    "beta": (BETA, lambda t: lt.Beta(t[0], t[1]), stats.beta(2.0, 3.0), special.expit),
}


def rule(name, nodes=60):
    """The trapezoidal rule in the unconstrained draw: exponentially exact."""
    _, _, law, to = LAWS[name]
    u = np.linspace(-15.0, {"gamma": 4.0, "beta": 13.0}[name], nodes)
    x = to(u)
    slope = x if name == "gamma" else x * (1 - x)
    return x, law.pdf(x) * slope * (u[1] - u[0])


def cost(theta, x):
    return (x - 0.4) ** 2 + theta[0] * x + jnp.log(x)


def exact(name, theta):
    a, b = theta
    if name == "gamma":
        mean, variance, log = a / b, a / b**2, jax.scipy.special.digamma(a) - jnp.log(b)
    else:
        mean, variance = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
        log = jax.scipy.special.digamma(a) - jax.scipy.special.digamma(a + b)
    return variance + (mean - 0.4) ** 2 + a * mean + log


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("runs", [1, 2])
def test_value_and_gradient(x64, name, runs):
    theta, dist_of, *_ = LAWS[name]
    x, w = rule(name, 400 if runs == 1 else 150)
    noise = np.stack([g.ravel() for g in np.meshgrid(*[x] * runs)], 1)
    weights = np.prod(np.stack([g.ravel() for g in np.meshgrid(*[w] * runs)], 1), 1)
    estimator = lt.GeneralizedReparameterization(*([lt.NoBaseline()] if runs == 1 else []))
    value, gradient, variance = moments(
        estimator, lambda t: Given(dist_of(t)), cost, jnp.asarray(theta), noise, weights
    )
    np.testing.assert_allclose(value, exact(name, theta), atol=1e-9)
    np.testing.assert_allclose(
        gradient, jax.grad(lambda t: exact(name, t))(jnp.asarray(theta)), atol=1e-9
    )
    score = moments(
        lt.ScoreFunction(estimator.baseline),
        lambda t: Given(dist_of(t)),
        cost,
        jnp.asarray(theta),
        noise,
        weights,
    )
    assert np.all(variance < 0.5 * score[2])


@pytest.mark.parametrize("name", ["gamma", pytest.param("beta", marks=pytest.mark.full)])
def test_hessian(x64, name):
    theta, dist_of, *_ = LAWS[name]
    x, w = rule(name, 300)
    estimator = lt.GeneralizedReparameterization(lt.NoBaseline())

    def value(theta, noise):
        def program():
            x = yield lt.sample(Given(dist_of(theta)), estimator)
            yield lt.cost(cost(theta, x))

        return estimate(program, [noise], 1)

    hessians = jax.jit(jax.vmap(jax.hessian(value), (None, 0)))(jnp.asarray(theta), x[:, None])
    want = jax.hessian(lambda t: exact(name, t))(jnp.asarray(theta))
    np.testing.assert_allclose(np.tensordot(w, hessians, 1), want, atol=1e-8)


def test_it_is_pathwise_for_normals():
    def gradient(estimator):
        value = lambda m: lt.expect(
            KEY, lambda x: x**3, lt.Normal(m, 1.5), estimator=estimator, num_samples=4
        )
        return jax.grad(value)(0.3)

    grep = gradient(lt.GeneralizedReparameterization())
    np.testing.assert_allclose(grep, gradient(lt.Pathwise()), rtol=2e-5)


def test_refusals():
    f = lambda x: jnp.sum(x)
    with pytest.raises(
        ValueError, match=r"needs a family with a standardization; Poisson declares none"
    ):
        lt.expect(KEY, f, lt.Poisson(2.0), estimator=lt.GeneralizedReparameterization())
    with pytest.raises(
        ValueError, match=r"GeneralizedReparameterization\(\) needs num_samples >= 2"
    ):
        lt.expect(
            KEY, f, lt.Gamma(2.0, 1.0), estimator=lt.GeneralizedReparameterization(), num_samples=1
        )
    with pytest.raises(
        TypeError, match=r"GeneralizedReparameterization\(baseline=…\) needs LeaveOneOut"
    ):
        lt.GeneralizedReparameterization(lt.OptimalBaseline())

"""from_scipy: logtrick's own family where it has one, host functions elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import logtrick as lt

KEY = jax.random.key(0)
adapt = lt.adapters.from_scipy

TWINS = [
    (stats.norm(1.0, 2.0), "Normal"), (stats.laplace(1.0, 2.0), "Laplace"), (stats.cauchy(1.0, 2.0), "Cauchy"),
    (stats.t(3.0, 1.0, 2.0), "StudentT"), (stats.uniform(1.0, 3.0), "Uniform"), (stats.lognorm(0.5, scale=2.0), "LogNormal"),
    (stats.expon(scale=2.0), "Exponential"), (stats.gamma(2.0, scale=0.5), "Gamma"), (stats.beta(2, 3), "Beta"),
    (stats.poisson(3), "Poisson"), (stats.bernoulli(0.3), "Bernoulli"), (stats.nbinom(3, 0.3), "NegativeBinomial"),
    (stats.binom(n=3, p=0.3), "Binomial"),
    (stats.multivariate_normal([0.0, 1.0], [[2.0, 0.5], [0.5, 1.0]]), "MultivariateNormal"),
    (stats.gamma(2.0, loc=1.0), "_SciPy"), (stats.beta(2, 3, scale=2), "_SciPy"), (stats.bernoulli(1.0), "Bernoulli"),
    (stats.gengamma(2.0, 1.5), "_SciPy"), (stats.geom(0.3), "_SciPy"), (stats.hypergeom(20, 7, 12), "_SciPy"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("frozen", "family"), TWINS, ids=lambda v: v if isinstance(v, str) else v.__class__.__name__
)
def test_family_and_log_prob(frozen, family):
    dist = adapt(frozen, 1) if family == "MultivariateNormal" else adapt(frozen)
    assert type(dist).__name__ == family
    x = dist.sample(KEY)
    log_p = frozen.logpmf if hasattr(frozen, "logpmf") else frozen.logpdf
    np.testing.assert_allclose(dist.log_prob(x), log_p(np.asarray(x, np.float64)), rtol=2e-5)


def test_dirichlet():
    dist = adapt(stats.dirichlet([1.0, 2.0]))
    np.testing.assert_allclose(
        dist.log_prob(jnp.array([0.25, 0.75])),
        stats.dirichlet([1.0, 2.0]).logpdf([0.25, 0.75]),
        rtol=1e-5,
    )


def test_derivatives_reach_jax_parameters_of_known_families():
    value = lambda rate: lt.expect(
        KEY, lambda x: x, adapt(stats.binom(3, rate)), estimator=lt.Enumerate()
    )
    assert float(jax.jit(jax.grad(value))(0.3)) == pytest.approx(3.0, rel=1e-5)


def test_the_host_draws_its_own_law_by_the_runs_key():
    dist, frozen = adapt(stats.gengamma(2.0, 1.5)), stats.gengamma(2.0, 1.5)
    draws = jax.jit(jax.vmap(dist.sample))(jax.random.split(KEY, 4000))
    assert stats.kstest(np.asarray(draws, np.float64), frozen.cdf).pvalue > 1e-4
    np.testing.assert_array_equal(
        draws[:3], [dist.sample(k) for k in jax.random.split(KEY, 4000)[:3]]
    )


def test_host_distributions_under_estimators():
    count = adapt(stats.hypergeom(20, np.array([7, 8]), 12), event_ndims=1)
    assert not count.support.finite and count.sample(KEY).shape == (
        2,
    )  # the ends differ: hypergeom has 0…7 and 0…8
    two = adapt(stats.hypergeom(20, np.array([7, 7]), 12), event_ndims=1)
    total = lambda t: lt.expect(KEY, lambda x: t * x.sum() ** 2, two, estimator=lt.Enumerate())
    mean, variance = stats.hypergeom(20, 7, 12).stats()
    exact = float(4 * mean**2 + 2 * variance)
    assert float(jax.grad(total)(2.0)) == pytest.approx(exact, rel=1e-5)
    direct = lambda t: lt.expect(
        KEY, lambda x: t * x, adapt(stats.gengamma(2.0, 1.5)), num_samples=50
    )
    assert float(jax.jit(jax.grad(direct))(2.0)) == pytest.approx(
        float(direct(1.0)), rel=1e-5
    )  # the direct term only


def test_refusals():
    with pytest.raises(
        TypeError,
        match="needs constant parameters for gengamma, which draws on the host; got traced a",
    ):
        jax.grad(lambda a: adapt(stats.gengamma(a, 1.0)).sample(KEY))(2.0)
    with pytest.raises(TypeError, match="computed on the host and has no derivative in x"):
        jax.grad(adapt(stats.gengamma(2.0, 1.0)).log_prob)(2.0)
    with pytest.raises(
        TypeError, match="needs a frozen univariate distribution of scipy.stats.*; got norm_gen"
    ):
        adapt(stats.norm)
    with pytest.raises(
        ValueError, match=r"got batch shape \(2,\).*Use scalar parameters, or pass event_ndims=1"
    ):
        adapt(stats.norm([0.0, 1.0]))
    with pytest.raises(ValueError, match="needs integer values of an rv_discrete"):
        adapt(stats.rv_discrete(values=([0.5, 1.0], [0.4, 0.6]))())
    with pytest.raises(ValueError, match="needs a reparameterized distribution; SciPy is not"):
        lt.expect(
            KEY,
            lambda x: x,
            adapt(stats.gengamma(2.0, 1.0)),
            estimator=lt.Pathwise(),
            num_samples=3,
        )
    with pytest.raises(ValueError, match="no finite support to enumerate"):
        adapt(stats.geom(0.2)).enumerate()

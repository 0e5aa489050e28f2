"""The default engine: what it must survive, and how close it comes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import cauchy, norm

from logtrick import vi
from tests.vi.engines.problems import (
    Flat,
    elbo,
    funnel,
    gaussian,
    mean_field,
    mixture,
    poisson,
    standard,
)

KEY = jax.random.key(0)


def eight_schools():
    """Rubin's data, non-centered; log Z from bridge sampling is −31.3192 in posteriordb's parameterization."""
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    errors = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def log_density(z):
        theta, mu, tau = z[:8], z[8], jnp.exp(z[9])
        prior = norm.logpdf(theta).sum() + norm.logpdf(mu, 0.0, 5.0) + z[9]
        prior += cauchy.logpdf(tau, 0.0, 5.0) + jnp.log(2.0)
        return prior + norm.logpdf(y, mu + tau * theta, errors).sum()

    return Flat(log_density, 10)


def test_gaussian_is_exact_whatever_its_units(x64):
    scales = np.diag([1e-4, 1.0, 1e5])
    covariance = scales @ np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.0, 0.3, 1.0]]) @ scales
    fit = vi.Pipeline().run(KEY, gaussian([1e-4, -5.0, 3e5], covariance), standard(3))
    assert fit.status == "converged" and fit.trace["elbo"][-1] == pytest.approx(0.0, abs=1e-6)
    white = np.linalg.solve(np.linalg.cholesky(covariance), fit.gaussian.scale)
    np.testing.assert_allclose(white @ white.T, np.eye(3), atol=1e-5)


def test_posterior_near_a_gaussian_takes_few_gradients(x64):
    fit = vi.Pipeline().run(KEY, poisson(), standard(3))
    assert fit.status == "converged" and fit.evaluations < 2500
    assert fit.report["decrement"] < 1e-3 and len(fit.report["modes"]) == 1


def test_eight_schools_to_the_best_gaussian(x64):
    """The best full-rank Gaussian has a gap of 0.23; mean field 0.30."""
    target = eight_schools()
    full = vi.Pipeline().run(KEY, target, standard(10))
    independent = vi.Pipeline().run(KEY, target, mean_field(10))
    assert elbo(target, full.gaussian, 65536) > -31.319 - 0.26
    assert elbo(target, independent.gaussian, 65536) > -31.319 - 0.34
    assert independent.gaussian.scale.shape == (10,)


def test_funnel_is_saved_by_the_start(x64):
    """Laplace's approximation in the neck is 17 nats worse than the best Gaussian, which is at −1.46."""
    target = funnel()
    fit = vi.Pipeline().run(KEY, target, standard(5))
    assert elbo(target, fit.gaussian) > -1.5


def test_the_heavier_mode_wins_and_the_other_is_reported(x64):
    target = mixture([0.2, 0.8], [[-5.0, 0.0], [5.0, 0.0]], [1.0, 0.5])
    fit = vi.Pipeline().run(KEY, target, standard(2))
    assert fit.gaussian.mean[0] == pytest.approx(5.0, abs=0.01)
    first, second = fit.report["modes"]
    assert first["log_ratio"] == 0.0
    assert second["log_ratio"] == pytest.approx(np.log(0.25), abs=0.01)
    assert fit.trace["elbo"][-1] == pytest.approx(np.log(0.8), abs=1e-3)


def test_a_density_with_an_edge_and_nan_beyond(x64):
    """A Gaussian, and √ of what is negative far out: no draw may make the fit nan."""
    target = Flat(lambda z: -0.5 * jnp.sum((z - 1.0) ** 2) + 0.1 * jnp.sqrt(4.0 - z[0]), 2)
    fit = vi.Pipeline().run(KEY, target, standard(2))
    assert fit.report["nonfinite"] > 0
    np.testing.assert_allclose(fit.gaussian.mean, [1.0, 1.0], atol=0.1)


def test_no_finite_density_anywhere_is_a_failure():
    fit = vi.Pipeline().run(KEY, Flat(lambda z: jnp.nan * z[0], 1), standard(1))
    assert fit.status == "failed" and fit.gaussian.mean.tolist() == [0.0]


def test_budget_ends_the_fit_with_the_best_so_far(x64):
    target = poisson()
    fit = vi.Pipeline().run(KEY, target, standard(3), budget=700)
    assert fit.status == "budget spent" and 700 <= fit.evaluations < 700 + 256
    assert elbo(target, fit.gaussian) > elbo(target, standard(3))


def test_the_key_decides_everything(x64):
    target, lines = poisson(), []
    first = vi.Pipeline().run(KEY, target, standard(3), progress=lambda *line: lines.append(line))
    second = vi.Pipeline().run(KEY, target, standard(3))
    np.testing.assert_array_equal(first.gaussian.scale, second.gaussian.scale)
    assert [line for line, _ in lines] == first.report["stages"]
    assert lines[-1][1] == first.evaluations


def test_single_precision():
    """Gradients are in single precision, the algebra around them in double."""
    fit = vi.Pipeline().run(KEY, poisson(), standard(3))
    assert fit.status == "converged" and fit.gaussian.scale.dtype == np.float64


def test_a_target_of_another_dimension_is_refused():
    with pytest.raises(ValueError, match=r"vi\.Pipeline\.run\(q0=…\) needs a mean of shape \(3,\)"):
        vi.Pipeline().run(KEY, poisson(), standard(2))


@pytest.mark.full
def test_logistic_regression_with_a_hundred_coefficients(x64):
    """More parameters than fixed draws resolve: the stochastic finish."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 100))
    y = jnp.asarray(rng.random(300) < 1 / (1 + np.exp(-0.5 * x @ rng.standard_normal(100))), float)
    x = jnp.asarray(x)
    target = Flat(lambda b: -0.5 * b @ b + jnp.sum(y * (x @ b) - jax.nn.softplus(x @ b)), 100)
    fit = vi.Pipeline().run(KEY, target, standard(100))
    longer = vi.Pipeline(polish_steps=8000).run(jax.random.key(1), target, standard(100))
    assert elbo(target, longer.gaussian) - elbo(target, fit.gaussian) < 0.1


def test_a_uniform_density_on_a_box_is_not_left(x64):
    """No normal has a finite ELBO there. The fit must not widen without end: its draws have to weigh something."""
    inside = lambda z: jnp.all((z > 0.0) & (z < 1.0))
    target = Flat(lambda z: jnp.where(inside(z), 0.0, -jnp.inf), 3)
    fit = vi.Pipeline(polish_steps=500).run(KEY, target, vi.Gaussian(np.full(3, 0.5), np.eye(3)))
    draws = fit.gaussian.push(np.random.default_rng(0).standard_normal((1000, 3)))
    assert np.isfinite(np.asarray(target.batch(draws))).mean() > 0.5
    np.testing.assert_allclose(fit.gaussian.mean, 0.5, atol=0.1)
    np.testing.assert_allclose(fit.gaussian.stddev(), 12**-0.5, rtol=0.3)

"""The other engines."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logtrick import vi
from logtrick.vi._engines._arrival import ArrivalClock
from logtrick.vi._engines._batch_and_match import matched
from logtrick.vi._engines._lbfgs import Ascent
from logtrick.vi._engines._low_rank import patched
from logtrick.vi._engines._pathfinder import factored
from logtrick.vi._engines._quadratic_regression import quadratic
from tests.vi.engines.problems import Flat, elbo, gaussian, mean_field, poisson, standard

KEY = jax.random.key(0)
ENGINES = [
    vi.NaturalGradient(),
    vi.QuadraticRegression(),
    vi.BatchAndMatch(),
    vi.FixedDraws(256),
    vi.Laplace(),
    vi.Pathfinder(),
]


@pytest.fixture(scope="module")
def best():
    """The ELBO of the default engine on the Poisson regression, and the target."""
    from tests.core.x64 import double_precision

    with double_precision():
        target = poisson()
        return elbo(target, vi.Pipeline().run(KEY, target, standard(3)).gaussian), target


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: type(e).__name__)
def test_engines_agree_on_a_posterior_near_a_gaussian(engine, best, x64):
    """Laplace, Pathfinder and batch and match have other fixed points than the best ELBO: within 0.02 nats here."""
    fit = engine.run(KEY, best[1], standard(3))
    assert fit.status == "converged"
    assert best[0] - elbo(best[1], fit.gaussian) < 0.02
    assert fit.trace["elbo"].shape == fit.trace["evaluations"].shape
    assert fit.report.get("decrement", 0.0) < 0.01


@pytest.mark.parametrize(
    "engine", [e for e in ENGINES if e.mean_field], ids=lambda e: type(e).__name__
)
def test_mean_field_fits_have_the_conditional_deviations(engine, x64):
    """Independent coordinates have the standard deviations of one given the others."""
    target = gaussian([1.0, 2.0], [[1.0, 0.8], [0.8, 1.0]])
    fit = engine.run(KEY, target, mean_field(2))
    assert fit.gaussian.scale.shape == (2,)
    np.testing.assert_allclose(fit.gaussian.mean, [1.0, 2.0], atol=0.02)
    if not isinstance(engine, vi.Pathfinder):  # whose marginals are those of its full covariance
        np.testing.assert_allclose(fit.gaussian.scale, [0.6, 0.6], atol=0.02)


@pytest.mark.parametrize("engine", ENGINES, ids=lambda e: type(e).__name__)
def test_a_budget_ends_every_engine(engine, best, x64):
    fit = engine.run(KEY, best[1], standard(3), budget=300)
    assert fit.evaluations < 300 + 3000 and np.isfinite(fit.gaussian.scale).all()


@pytest.mark.parametrize("engine", [e for e in ENGINES if e.needs_gradients])
def test_gradients_are_needed(engine):
    black_box = Flat(lambda z: -jnp.sum(z**2), 2, differentiable=False)
    with pytest.raises(
        ValueError, match=r"needs a log density with gradients.*QuadraticRegression"
    ):
        engine.run(KEY, black_box, standard(2))


def test_the_default_engine_takes_values_where_there_are_no_gradients(x64):
    black_box = Flat(gaussian([1.0, -1.0], [[1.0, 0.5], [0.5, 1.0]]).log_density, 2, False)
    fit = vi.Pipeline().run(KEY, black_box, standard(2))
    np.testing.assert_allclose(fit.gaussian.covariance(), [[1.0, 0.5], [0.5, 1.0]], atol=1e-8)


def test_batch_and_match_refuses_the_mean_field():
    with pytest.raises(ValueError, match=r"vi\.BatchAndMatch\(\) needs a full-rank q"):
        vi.BatchAndMatch().run(KEY, poisson(), mean_field(3))


def test_stochastic_engines_arrive_from_far_away(x64):
    """A hundred standard deviations, with a log standard deviation among the coordinates."""
    y = jnp.asarray(np.random.default_rng(0).normal(90.0, 20.0, 100))
    target = Flat(
        lambda z: jnp.sum(-0.5 * ((y - z[0]) * jnp.exp(-z[1])) ** 2 - z[1]) - 1e-4 * z @ z, 2
    )
    for engine in (vi.NaturalGradient(), vi.QuadraticRegression()):
        fit = engine.run(KEY, target, standard(2))
        assert fit.status == "converged"
        np.testing.assert_allclose(fit.gaussian.mean[0], y.mean(), atol=0.3)


def test_the_clock_starts_when_the_elbo_has_stopped_to_rise():
    clock, noise = ArrivalClock(), np.random.default_rng(0).normal(size=100)
    for t in range(100):
        clock.arrived(float(10 * min(t, 50) + noise[t]))
        clock.tick(standard(1))
    assert 30 <= clock.count <= 45 and clock.averaged == clock.count - 19


def test_matched_solves_its_quadratic_equation(x64):
    """Σ U Σ + Σ = V, by the definitions in the docstring."""
    rng = np.random.default_rng(0)
    noise, scores, rate = rng.standard_normal((6, 3)), rng.standard_normal((6, 3)), 0.7
    inner, weight = matched(noise, scores, rate), rate / (1 + rate)
    second = lambda x: np.cov(x.T, bias=True)
    v = np.eye(3) + rate * second(noise) + weight * np.outer(noise.mean(0), noise.mean(0))
    u = rate * second(scores) + weight * np.outer(scores.mean(0), scores.mean(0))
    covariance = inner.covariance()
    np.testing.assert_allclose(covariance @ u @ covariance + covariance, v, rtol=1e-10)
    np.testing.assert_allclose(
        inner.mean, weight * (covariance @ scores.mean(0) + noise.mean(0)), rtol=1e-12
    )


def test_a_patch_keeps_a_covariance_of_its_own_kind():
    loadings = np.array([[1.0], [2.0], [-1.0], [0.5]])
    covariance = np.diag([1.0, 0.5, 2.0, 0.1]) + loadings @ loadings.T
    full = vi.Gaussian(np.zeros(4), np.linalg.cholesky(covariance))
    np.testing.assert_allclose(patched(full, 1).covariance(), covariance, rtol=2e-2)


def test_low_rank_batch_and_match(x64):
    loadings = np.array([[1.0], [2.0], [-1.0], [0.5]])
    target = gaussian(np.ones(4), np.eye(4) + loadings @ loadings.T)
    fit = vi.BatchAndMatch(rank=1).run(KEY, target, standard(4))
    assert elbo(target, fit.gaussian) > -0.01


def test_quadratic_regression_is_exact_on_a_quadratic():
    rng = np.random.default_rng(0)
    half = rng.standard_normal((20, 3))
    noise = np.concatenate([half, -half])
    b, g = rng.standard_normal(3), rng.standard_normal((3, 3))
    g = g + g.T
    values = 2.0 + noise @ b + 0.5 * np.einsum("ni,ij,nj->n", noise, g, noise)
    shift, hessian = quadratic(noise, values, dense=True)
    np.testing.assert_allclose(shift, b, atol=1e-12)
    np.testing.assert_allclose(hessian, g, atol=1e-12)


def test_pathfinder_on_a_correlation_of_98(x64):
    """200 seeds, none off by more than 0.02."""
    target = gaussian([0.0, 0.0], [[1.0, 0.98], [0.98, 1.0]])
    found = []
    for seed in range(200):
        start = vi.Gaussian(3 * np.random.default_rng(seed).standard_normal(2), np.eye(2))
        covariance = vi.Pathfinder().run(jax.random.key(seed), target, start).gaussian.covariance()
        found.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    assert np.abs(np.array(found) - 0.98).max() < 0.02


def test_factored_gaussian_is_the_dense_one(x64):
    """S = A + β γ βᵀ, the L-BFGS inverse Hessian: it maps the newest change to the newest step."""
    from logtrick.vi._engines._density import Density

    ascent = Ascent(Density(poisson()), np.zeros((1, 3)), memory=4, tolerance=1e-9)
    while ascent.active.any() and not ascent.inverses[0, -3] > 0:
        ascent.advance()
    q = factored(np.array([0.5, 1.0, 2.0]), ascent, 0)
    dense = q.gaussian()
    np.testing.assert_allclose(
        dense.covariance() @ ascent.changes[0, -1], ascent.steps[0, -1], rtol=1e-8
    )
    expected = ascent.points[0] + dense.covariance() @ ascent.gradients[0]
    np.testing.assert_allclose(q.mean, expected, rtol=1e-8)
    noise = np.random.default_rng(0).standard_normal((5, 3))
    np.testing.assert_allclose(q.push(noise), dense.push(noise), rtol=1e-10)
    white = dense.whiten(q.push(noise))
    density = -0.5 * (white**2).sum(1) - dense.log_det() - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(q.log_density(q.push(noise)), density, rtol=1e-8)


def test_paths_are_weighted_by_their_mixture(x64):
    """Two modes with weights 0.3 and 0.7: weighted draws have the right mean, the best path is at the heavier one."""
    from tests.vi.engines.problems import mixture

    target = mixture([0.3, 0.7], [[-6.0], [6.0]], [1.0, 1.0])
    start = vi.Gaussian(np.zeros(1), 8.0 * np.eye(1))
    fit = vi.Pathfinder(num_paths=12).run(KEY, target, start)
    weights = np.exp(fit.report["log_weights"])
    assert fit.gaussian.mean[0] == pytest.approx(6.0, abs=0.01)
    assert weights @ fit.report["draws"][:, 0] == pytest.approx(0.4 * 6.0, abs=0.3)
    assert fit.report["khat"] < 0.5 and weights.sum() == pytest.approx(1.0)


@pytest.mark.full  # the doctest of FixedDraws shows two coordinates
def test_linear_response_of_a_gaussian_is_its_covariance(x64):
    covariance = np.array([[1.0, 0.9, 0.3], [0.9, 2.0, 0.5], [0.3, 0.5, 1.0]])
    fit = vi.FixedDraws(32).run(KEY, gaussian(np.ones(3), covariance), mean_field(3))
    np.testing.assert_allclose(
        fit.report["linear_response_covariance"], covariance, rtol=1e-4, atol=1e-4
    )

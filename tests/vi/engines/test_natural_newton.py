"""Newton's method in natural parameters on fixed draws."""

import jax.numpy as jnp
import numpy as np
import pytest

from logtrick import vi
from logtrick.vi._engines._density import Density
from logtrick.vi._engines._natural_newton import (
    antithetic,
    climb,
    finite_draws,
    look,
    precision_factor,
)
from tests.vi.engines.problems import Flat, gaussian, mean_field, poisson, standard


def draws(count, dim):
    return antithetic(np.random.default_rng(0), count, dim)


def test_antithetic_draws_have_exact_moments():
    noise = draws(64, 5)
    np.testing.assert_array_equal(noise[:32], -noise[32:])
    np.testing.assert_allclose(noise.T @ noise / 64, np.eye(5), atol=1e-12)


def test_one_step_reaches_a_gaussian_of_larger_precision(x64):
    target = gaussian([0.5, -0.3], [[0.5, 0.2], [0.2, 0.3]])
    trace = []
    state = climb(Density(target), look(Density(target), standard(2), draws(64, 2)), trace=trace)
    assert len(trace) == 1 and abs(state.elbo) < 1e-10 and state.decrement < 1e-20
    np.testing.assert_allclose(state.gaussian.covariance(), [[0.5, 0.2], [0.2, 0.3]], atol=1e-10)


def test_any_gaussian_is_reached_from_far_away(x64):
    """Far wider than q, and 50 standard deviations away."""
    target = gaussian([500.0, 0.0], [[100.0, 9.0], [9.0, 1.0]])
    density = Density(target)
    state = climb(density, look(density, standard(2), draws(64, 2)), tolerance=1e-8)
    np.testing.assert_allclose(state.gaussian.mean, [500.0, 0.0], atol=1e-2)
    np.testing.assert_allclose(state.gaussian.covariance(), [[100.0, 9.0], [9.0, 1.0]], rtol=1e-3)


def test_mean_field_optimum_at_a_correlation_of_9999(x64):
    """The standard deviations are those of one coordinate given the others; the mean is the target's."""
    covariance = np.array([[1.0, 0.9999], [0.9999, 1.0]])
    target = gaussian([3.0, 1.0], covariance)
    density = Density(target)
    state = climb(density, look(density, mean_field(2), draws(64, 2)), tolerance=1e-9)
    np.testing.assert_allclose(state.gaussian.mean, [3.0, 1.0], atol=1e-3)
    np.testing.assert_allclose(
        state.gaussian.scale, np.sqrt(1 / np.diag(np.linalg.inv(covariance))), rtol=1e-4
    )


def test_elbo_shift_and_curvature_are_those_of_the_draws(x64):
    """b and H are the gradients of the ELBO on these draws: by differences."""
    target, noise = poisson(), draws(32, 3)
    q = vi.Gaussian(np.array([0.9, -0.4, 0.2]), 0.1 * np.eye(3))
    density = Density(target)
    state = look(density, q, noise)
    h = 1e-5
    for i in range(3):
        step = h * q.scale[:, i]
        ends = [look(density, vi.Gaussian(q.mean + s * step, q.scale), noise).elbo for s in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(state.shift[i], rel=1e-5)
        stretch = np.eye(3)
        stretch[i, i] = 1 + h
        ends = [
            look(density, vi.Gaussian(q.mean, q.scale @ s), noise).elbo
            for s in (stretch, np.linalg.inv(stretch))
        ]
        slope = (ends[0] - ends[1]) / (2 * h)
        assert slope == pytest.approx(1 + state.curvature[i, i], rel=1e-3)


def test_precision_factor_is_positive_and_newton_where_it_can_be():
    assert precision_factor(np.array([-3.0, 0.0, 0.5, 100.0]), 1.0).tolist() == [
        4.0,
        1.0,
        1 / 1.5,
        1 / 101,
    ]


def test_draws_outside_are_shrunk_with_their_partners(x64):
    target = Flat(lambda z: jnp.where(z[0] > -1.0, -0.5 * jnp.sum(z**2), -jnp.inf), 2)
    noise = draws(64, 2)
    state = finite_draws(Density(target), standard(2), noise)
    moved = (state.noise != noise).any(1)
    assert np.isfinite(state.elbo) and np.isfinite(state.log_density).all()
    np.testing.assert_array_equal(moved[:32], moved[32:])
    np.testing.assert_array_equal(moved[:32], (np.abs(noise[:32, 0]) >= 1.0))


def test_resolved_decrement_is_not_raised_by_noise(x64):
    """Half of a squared shift of 0.2, in 64 replicates of 256 draws of which each alone is noisy."""
    heavy = Flat(lambda z: -2.5 * jnp.log1p(z[0] ** 2 / 4), 1)
    density = Density(heavy)
    best = climb(density, look(density, standard(1), draws(65536, 1))).gaussian
    plain, resolved = [], []
    for seed in range(64):
        noise = antithetic(np.random.default_rng(seed), 32, 1)
        state = look(density, best, noise)
        plain.append(state.decrement)
        resolved.append(state.resolved_decrement)
    assert np.mean(resolved) < 0.7 * np.mean(plain)

"""Newton's method, Hessians by differences, Laplace's approximation."""

import jax.numpy as jnp
import numpy as np

from logtrick import vi
from logtrick.vi._engines._curvature import curvature, explains, newton
from logtrick.vi._engines._density import Density
from logtrick.vi._engines._starts import elsewhere, modes
from tests.vi.engines.problems import Flat, gaussian, mixture, poisson, standard


def found_from(target, point):
    density = Density(target)
    point = np.asarray(point, float)
    values, gradients = density(point[None])
    return newton(density, point, float(values[0]), gradients[0], standard(target.dim))


def test_hessian_is_the_exact_one_from_scales_that_are_far_off(x64):
    target = poisson()
    point = np.array([0.5, -0.2, 0.1])
    x = target.design
    exact = x.T @ (np.exp(x @ point)[:, None] * x) + np.eye(3) / 9
    for scale in (1e-3, 1.0, 30.0):
        shape = curvature(Density(target), point, np.full(3, scale))
        inverse = np.diag(1 / shape.scaling)
        rebuilt = inverse @ shape.vectors @ np.diag(shape.values) @ shape.vectors.T @ inverse
        np.testing.assert_allclose(rebuilt, exact, rtol=1e-5)


def test_laplace_of_a_gaussian_is_the_gaussian(x64):
    """Its mass is 1, in units that differ by a factor of a million."""
    covariance = np.diag([1e-6, 1e6]) @ np.array([[1.0, 0.9], [0.9, 1.0]]) @ np.diag([1e-6, 1e6])
    mode = found_from(gaussian([3e-6, -2e6], covariance), [0.0, 0.0])
    np.testing.assert_allclose(mode.point, [3e-6, -2e6], rtol=1e-6)
    np.testing.assert_allclose(mode.laplace.covariance(), covariance, rtol=1e-5)
    np.testing.assert_allclose(
        mode.deviations, np.sqrt(1 / np.diag(np.linalg.inv(covariance))), rtol=1e-5
    )
    assert mode.maximum and abs(mode.log_mass) < 1e-5


def test_a_direction_without_curvature_keeps_the_scale_of_q0(x64):
    target = Flat(lambda z: -0.5 * (z[0] + z[1]) ** 2, 2)
    mode = found_from(target, [1.0, 0.0])
    along = np.array([1.0, -1.0]) / np.sqrt(2)
    assert not mode.maximum
    np.testing.assert_allclose(along @ mode.laplace.covariance() @ along, 1.0, rtol=1e-6)


def test_a_saddle_is_left(x64):
    """At 0 the gradient of the double well's first coordinate is small, and its curvature has the wrong sign."""
    target = Flat(lambda z: -((z[0] ** 2 - 1) ** 2) - z[1] ** 2, 2)
    mode = found_from(target, [0.01, 1.0])
    assert mode.maximum
    np.testing.assert_allclose(mode.point, [1.0, 0.0], atol=0.02)


def test_the_parabola_of_a_mode_explains_points_of_its_basin_only(x64):
    target = mixture([0.5, 0.5], [[-4.0], [4.0]], [1.0, 1.0])
    mode = found_from(target, [3.0])
    values = np.asarray(target.batch(jnp.array([[2.5], [-4.0]])))
    assert explains(mode, np.array([2.5]), float(values[0]))
    assert not explains(mode, np.array([-4.0]), float(values[1]))


def test_modes_are_distinct_and_the_largest_comes_first(x64):
    target = mixture([0.3, 0.7], [[-4.0, 0.0], [4.0, 0.0]], [1.0, 0.5])
    starts = np.random.default_rng(0).standard_normal((16, 2)) * 4
    found = modes(Density(target), starts, standard(2))
    np.testing.assert_allclose([m.point[0] for m in found], [4.0, -4.0], atol=0.05)
    np.testing.assert_allclose([m.log_mass for m in found], np.log([0.7, 0.3]), atol=0.01)


def test_where_the_density_rises_away_from_a_mode(x64):
    """Nowhere if it is log-concave; else where another mode is."""
    rng = np.random.default_rng(0)
    wide = [(standard(2), 10.0)]
    concave = gaussian([0.0, 0.0], [[1.0, 0.9], [0.9, 1.0]])
    none = elsewhere(Density(concave), rng, wide, [np.zeros(2)], screened=200, most=8)
    assert none.shape == (0, 2)
    target = mixture([0.9, 0.1], [[0.0, 0.0], [9.0, 9.0]], [1.0, 0.5])
    points = elsewhere(Density(target), rng, wide, [np.zeros(2)], screened=200, most=8)
    assert 0 < len(points) <= 8 and (np.linalg.norm(points - 9.0, axis=1) < 9.0).all()
    assert vi.Gaussian(np.zeros(2), np.eye(2)).whiten(points).shape == points.shape

"""The Gaussian of the engines, and its algebra."""

import numpy as np
import pytest

from logtrick import vi
from logtrick.vi._engines._gaussian import triangular


def test_push_and_whiten_are_inverse():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((5, 3))
    for scale in (rng.standard_normal((3, 3)), np.array([2.0, 0.5, 1.0])):
        q = vi.Gaussian(rng.standard_normal(3), scale)
        np.testing.assert_allclose(q.whiten(q.push(points)), points, atol=1e-12)


def test_moments_and_entropy():
    scale = np.array([[2.0, 1.0], [0.5, -3.0]])
    full, diagonal = vi.Gaussian(np.zeros(2), scale), vi.Gaussian(np.zeros(2), np.array([2.0, 3.0]))
    np.testing.assert_allclose(full.covariance(), scale @ scale.T)
    np.testing.assert_allclose(full.stddev(), np.sqrt([5.0, 9.25]))
    assert full.entropy() == pytest.approx(np.log(6.5) + 1 + np.log(2 * np.pi), rel=1e-12)
    np.testing.assert_allclose(diagonal.covariance(), np.diag([4.0, 9.0]))
    assert diagonal.entropy() == pytest.approx(np.log(6) + 1 + np.log(2 * np.pi), rel=1e-12)


def test_pull_is_the_gradient_in_the_whitened_coordinates():
    scale = np.array([[2.0, 1.0], [0.5, -3.0]])
    q = vi.Gaussian(np.zeros(2), scale)
    np.testing.assert_allclose(q.pull(np.array([[1.0, 2.0]])), [scale.T @ [1.0, 2.0]])


def test_triangular_root_at_a_condition_number_of_a_trillion():
    """Cholesky of the covariance, of condition 1e24, fails here."""
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    scale = rotation @ np.diag([1e6, 1.0, 1e-6]) @ rotation.T
    root = triangular(scale)
    assert (np.diag(root) > 0).all() and np.allclose(root, np.tril(root))
    np.testing.assert_allclose(root @ root.T, scale @ scale.T, rtol=1e-9)
    assert np.log(np.diag(root)).sum() == pytest.approx(0.0, abs=1e-3)

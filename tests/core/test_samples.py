"""The samples of an expectation, seen from one of them."""

import jax.numpy as jnp
import numpy as np

from logtrick._core.samples import over_samples


def others(values: np.ndarray) -> np.ndarray:
    row = jnp.asarray(values)
    return np.asarray(over_samples(lambda runs, x: runs.leave_one_out(x), len(values), row))


def test_the_mean_of_the_others_keeps_the_differences_of_large_numbers() -> None:
    """In float32, 10⁸ and 10⁸ + 8 are neighbors: each mean is right to half the distance of neighbors."""
    bits = np.random.default_rng(0).integers(0, 2, 64)
    values = np.float32(1e8) + np.float32(8) * bits.astype(np.float32)
    exact = (values.astype(float).sum() - values.astype(float)) / 63
    assert np.abs(others(values).astype(float) - exact).max() <= 4.0
    small = 8 * bits.astype(np.float32)
    np.testing.assert_allclose(others(small), (small.sum() - small) / 63, rtol=1e-6, atol=1e-6)


def test_the_mean_of_the_others_of_what_is_not_finite() -> None:
    got = others(np.array([1.0, np.inf, 3.0], np.float32))
    assert not np.isfinite(got).any()
    assert np.isnan(others(np.array([1.0, np.nan, 3.0], np.float32))).all()

"""Noise, draws, relaxations and conditionals of bits and one-hot rows, against the papers' formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax, logit, softmax

from logtrick.distributions._noisy_logits import NoisyBits, NoisyRows

PHI = np.array([0.7, -1.9, 0.0])
ROWS = np.array([[0.3, -1.1, 0.8], [2.0, 0.0, -0.5]])


def uniforms(shape, seed=0):
    return np.random.default_rng(seed).uniform(size=(500, *shape))


def many(logits):
    return np.tile(logits, (500, *[1] * logits.ndim))


def test_conditional_bits_are_the_papers(x64):
    """Tucker et al. (2017): z̃ = logit p + logit v′, v′ = v p + (1 − p) where b = 1, v (1 − p) where b = 0."""
    noisy, u, v, phi = NoisyBits(), uniforms((3,)), uniforms((3,), 1), many(PHI)
    x = noisy.hard(noisy.perturbed(phi, u))
    got = np.asarray(noisy.conditional(phi, x, noisy.free(v)))
    p = expit(phi)
    np.testing.assert_array_equal(x, u > 1 - p)
    np.testing.assert_allclose(
        got, phi + logit(np.where(x == 1, v * p + 1 - p, v * (1 - p))), rtol=1e-9, atol=1e-9
    )
    slope = jax.grad(lambda l: jnp.sum(noisy.conditional(l, x, noisy.free(v))))(phi)
    again = expit(got - phi)  # v′
    np.testing.assert_allclose(
        slope, np.where(x == 1, 1 - (1 - p) / again, 1 - p / (1 - again)), rtol=1e-8, atol=1e-9
    )


def test_conditional_rows_are_the_papers(x64):
    """z̃ = −log(−log v) at the one, −log(−log v_i / p_i − log v_b) elsewhere."""
    noisy, u, v, phi = NoisyRows(), uniforms((2, 3)), uniforms((2, 3), 1), many(ROWS)
    z = noisy.perturbed(phi, u)
    np.testing.assert_allclose(z, log_softmax(phi, -1) - np.log(-np.log(u)), rtol=1e-10)
    x = noisy.hard(z)
    np.testing.assert_array_equal(np.argmax(x, -1), np.argmax(z, -1))
    own = np.sum(np.where(x == 1, -np.log(v), 0.0), -1, keepdims=True)
    want = np.where(x == 1, -np.log(own), -np.log(-np.log(v) / softmax(phi, -1) + own))
    np.testing.assert_allclose(noisy.conditional(phi, x, noisy.free(v)), want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("noisy, logits", [(NoisyBits(), PHI), (NoisyRows(), ROWS)])
def test_conditionals_keep_the_draw_and_give_z_back(x64, noisy, logits):
    u, v, logits = uniforms(logits.shape), uniforms(logits.shape, 1), many(logits)
    z = noisy.perturbed(logits, u)
    x = noisy.hard(z)
    np.testing.assert_array_equal(noisy.hard(noisy.conditional(logits, x, noisy.free(v))), x)
    np.testing.assert_allclose(
        noisy.conditional(logits, x, noisy.coupled(logits, x, z)), z, rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("noisy, logits", [(NoisyBits(), PHI), (NoisyRows(), ROWS)])
def test_slope_is_the_derivative_of_the_mean_and_of_relaxations(x64, noisy, logits):
    want = jax.jacobian(noisy.mean)(logits)
    np.testing.assert_allclose(
        jax.jacobian(lambda l: noisy.slope(noisy.mean(logits), l))(logits), want, atol=1e-14
    )
    u = uniforms(logits.shape)[0]
    relaxed = lambda l: noisy.relaxed(noisy.perturbed(l, u), 0.3)
    got = jax.jacobian(lambda l: noisy.slope(relaxed(logits), l) / 0.3)(logits)
    np.testing.assert_allclose(got, jax.jacobian(relaxed)(logits), atol=1e-12)


@pytest.mark.parametrize(
    "noisy, logits",
    [(NoisyBits(), np.array([60.0, -60.0, 1e3])), (NoisyRows(), np.array([[0.0, -1e3, 50.0]]))],
)
def test_float32_at_extreme_logits_and_at_the_ends_of_the_grid(noisy, logits):
    logits = jnp.asarray(logits, jnp.float32)

    def conditional(l, u, v):
        x = noisy.hard(noisy.perturbed(l, u))
        return noisy.relaxed(noisy.conditional(l, x, noisy.free(v)), 0.5)

    for u in (0.0, 0.5, 1 - 2.0**-23):
        for v in (0.0, 0.5, 1 - 2.0**-23):
            u_, v_ = jnp.full(logits.shape, u, jnp.float32), jnp.full(logits.shape, v, jnp.float32)
            assert jnp.all(jnp.isfinite(jax.jacobian(conditional)(logits, u_, v_)))


def test_changes_and_their_probabilities(x64):
    noisy, x = NoisyRows(), jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    points = np.asarray(noisy.changes(x))
    assert points.shape == (4, 2, 3)
    log_p, table = np.asarray(noisy.local_log_probs(ROWS, x)), log_softmax(ROWS, -1)
    for i, point in enumerate(points):
        row = i // 2
        assert np.all(point[1 - row] == x[1 - row]) and np.any(point[row] != x[row])
        assert log_p[row, 1 + i % 2] == pytest.approx(table[row, np.argmax(point[row])])
    assert len({tuple(np.ravel(q)) for q in points}) == 4
    bits = jnp.array([1.0, 0.0])
    np.testing.assert_array_equal(NoisyBits().changes(bits), [[0, 0], [1, 1]])
    got = NoisyBits().local_log_probs(jnp.array([0.7, -1.9]), bits)
    np.testing.assert_allclose(
        np.exp(got), [[expit(0.7), expit(-0.7)], [expit(1.9), expit(-1.9)]], rtol=1e-12
    )

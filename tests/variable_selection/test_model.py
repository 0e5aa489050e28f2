"""The model: its closed form, R² by elimination, the exact posterior, against NumPy in float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from logtrick._variable_selection import job
from logtrick._variable_selection.model import Model, Posterior, unexplained_fraction
from logtrick._variable_selection.table import Table


@pytest.fixture(scope="module")
def diabetes():
    return job.diabetes()


def r_squared(table, inclusion):
    """R² by least squares on the included columns."""
    columns = table.predictors[:, np.asarray(inclusion, bool)]
    if not columns.shape[1]:
        return 0.0
    residual = table.response - columns @ np.linalg.lstsq(columns, table.response, rcond=None)[0]
    return 1 - (residual @ residual) / (table.response @ table.response)


def log_bayes_factor(table, inclusion):
    """The g-prior's closed form, g = n."""
    n, k, g = table.num_rows, int(np.sum(inclusion)), table.num_rows
    unexplained = 1 - r_squared(table, inclusion)
    return (n - 1 - k) / 2 * math.log1p(g) - (n - 1) / 2 * math.log1p(g * unexplained)


@pytest.fixture(scope="module")
def by_hand(diabetes):
    """log p(y, γ) of all 1,024 models, by least squares."""
    points = list(itertools.product([0, 1], repeat=10))
    return np.array(points), np.array(
        [log_bayes_factor(diabetes, point) - 10 * math.log(2) for point in points]
    )


def test_the_closed_form_is_the_integral_over_coefficient_and_variance():
    """One predictor: ∫∫ p(y | α̂-free β, σ²) g-prior dσ²/σ² dβ, by quadrature, relative to the null model."""
    n, r = 8, 0.6
    x = np.array([1.0, -1] * 4)
    e = np.array([1.0, 1, -1, -1] * 2)
    y = r * x + math.sqrt(1 - r * r) * e  # mean 0, mean square 1, correlation r with x
    g = n

    def log_integrand(beta, log_variance):
        variance = math.exp(log_variance)
        square = np.sum((y - beta * x) ** 2)
        prior = -0.5 * beta**2 * n / (g * variance) - 0.5 * math.log(2 * math.pi * g * variance / n)
        return (
            -(n - 1) / 2 * log_variance - 0.5 * square / variance + prior
        )  # α integrated: one σ less

    included, _ = integrate.dblquad(
        lambda b, v: math.exp(log_integrand(b, v)), -6, 8, -8, 8, epsabs=1e-12, epsrel=1e-9
    )
    null, _ = integrate.quad(
        lambda v: math.exp(-(n - 1) / 2 * v - 0.5 * n / math.exp(v)), -8, 12, epsabs=1e-14
    )
    table = Table(("x",), "y", x[:, None], y)
    with jax.enable_x64(True):
        got = Model(table).log_joint(jnp.ones(1)) + math.log(2)
    np.testing.assert_allclose(got, math.log(included / null), rtol=1e-5)


def test_all_models_in_float64(diabetes, by_hand):
    points, log_joint = by_hand
    with jax.enable_x64(True):
        got = jax.jit(jax.vmap(Model(diabetes).log_joint))(jnp.asarray(points, float))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, log_joint, atol=1e-10)


def test_all_models_in_float32(diabetes, by_hand):
    points, log_joint = by_hand
    got = jax.jit(jax.vmap(Model(diabetes).log_joint))(jnp.asarray(points, jnp.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, log_joint, atol=1e-4)


def test_the_log_evidence(diabetes, by_hand):
    points, log_joint = by_hand
    evidence = np.logaddexp.reduce(log_joint)
    assert round(evidence, 3) == 135.268
    posterior = Model(diabetes).posterior
    np.testing.assert_allclose(posterior.log_joint, log_joint, atol=1e-9)
    np.testing.assert_allclose(posterior.log_evidence, evidence, atol=1e-9)
    np.testing.assert_allclose(
        posterior.inclusion, np.exp(log_joint - evidence) @ points, atol=1e-9
    )
    assert abs(posterior.inclusion[6] - 0.568) < 1e-3


def test_the_exact_evidence_of_many_rows_of_tiny_noise():
    """n = 20,000: (n − 1)/2 · log(1 − R²) in float32 would be wrong in the third decimal; against least squares."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 4)) @ (np.eye(4) + 0.5)
    y = x @ [1.0, 0, -0.5, 0.01] + 0.2 * rng.normal(size=20_000)
    columns = np.column_stack([x, y])
    columns = (columns - columns.mean(0)) / columns.std(0)
    table = Table(("a", "b", "c", "d"), "y", columns[:, :4], columns[:, 4])
    posterior = Model(table).posterior
    points = list(itertools.product([0, 1], repeat=4))
    expected = [log_bayes_factor(table, point) - 4 * math.log(2) for point in points]
    np.testing.assert_array_equal(posterior.points, points)
    np.testing.assert_allclose(posterior.log_joint, expected, atol=1e-6)
    np.testing.assert_allclose(posterior.log_evidence, np.logaddexp.reduce(expected), atol=1e-6)


def test_elimination_gives_what_least_squares_leaves(diabetes):
    with jax.enable_x64(True):
        factor = jnp.asarray(Model(diabetes).factor)
        for point in ([0] * 10, [1] * 10, [0, 1, 1, 0, 1, 1, 1, 0, 0, 1]):
            got = unexplained_fraction(factor, jnp.asarray(point, float))
            np.testing.assert_allclose(got, 1 - r_squared(diabetes, point), atol=1e-12)


def test_elimination_in_float32_stands_near_collinearity():
    """Variance inflation of 10⁷: elimination on the correlations would lose all digits of the last column."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    x[:, 2] = x[:, 0] + x[:, 1] + rng.normal(size=200) * 5e-4
    y = x[:, 0] + 1000 * (x[:, 2] - x[:, 0] - x[:, 1]) + rng.normal(size=200)
    columns = np.column_stack([x, y])
    columns = (columns - columns.mean(0)) / columns.std(0)
    table = Table(("a", "b", "c"), "y", columns[:, :3], columns[:, 3])
    model = Model(table)
    for point in itertools.product([0, 1], repeat=3):
        expected = log_bayes_factor(table, point) - 3 * math.log(2)
        np.testing.assert_allclose(
            model.log_joint(jnp.asarray(point, jnp.float32)), expected, atol=2e-3
        )


def test_posterior_of_a_table_by_hand():
    points = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    weights = np.array([0.1, 0.4, 0.3, 0.2])
    posterior = Posterior.of(points, np.log(weights) + 7.0)
    np.testing.assert_allclose(posterior.log_evidence, 7.0)
    np.testing.assert_allclose(posterior.inclusion, [0.5, 0.6])
    np.testing.assert_allclose(posterior.correlation[0, 1], (0.2 - 0.3) / math.sqrt(0.25 * 0.24))
    (first, probability), _ = posterior.best(2)
    assert first.tolist() == [False, True]
    assert round(probability, 12) == 0.4


def test_correlation_where_an_inclusion_is_certain():
    posterior = Posterior.of(np.array([[1.0, 0], [1, 1]]), np.log([0.5, 0.5]))
    np.testing.assert_allclose(posterior.correlation, [[0, 0], [0, 1]])

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import logtrick as lt
from tests.estimators.exact import (
    LOGITS,
    bernoulli,
    cells,
    coupled_bits_cost,
    exact,
    gradients,
    moments,
    product,
)
from tests.oracles.problems import ROWS, check, problem
from tests.programs.exact import all_runs, estimate, expected, up_to


def runs_noise(logits, runs):
    """One uniform for every draw of every run: (cases, runs, D)."""
    points, weights = product(*(cells(expit(-l), 1) for _ in range(runs) for l in logits))
    return points.reshape(-1, runs, len(logits)), weights


@pytest.mark.parametrize("size, runs", [(1, 2), (1, 4), (2, 3), (3, 2)])
def test_unbiased_over_all_draws(x64, size, runs):
    noise, weights = runs_noise(LOGITS[size], runs)
    value, mean, _ = moments(
        lt.DoubleCV(0.3), bernoulli, coupled_bits_cost, LOGITS[size], noise, weights
    )
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-10)
    np.testing.assert_allclose(mean, want, atol=1e-11)


@pytest.mark.parametrize("runs", [2, 3])
@pytest.mark.parametrize("alpha", [-1.0, 0.7])
def test_unbiased_where_the_samples_have_different_distributions(x64, runs, alpha):
    """After an earlier draw: p(1 − p) of a sample was multiplied with its own slope: 0.140 for 0.261 at α = −1."""
    theta = jnp.array([0.3, -0.5])

    def program(t):
        a = yield lt.sample(lt.Bernoulli(t[0]), lt.ScoreFunction(lt.NoBaseline()))
        b = yield lt.sample(lt.Bernoulli(t[1] + 3.0 * a), lt.DoubleCV(alpha))
        yield lt.cost((b - 0.3) * (1.0 + 3.0 * a))

    def truth(t):
        p = jax.nn.sigmoid(t[0])
        at = lambda a: (jax.nn.sigmoid(t[1] + 3.0 * a) - 0.3) * (1.0 + 3.0 * a)
        return p * at(1.0) + (1 - p) * at(0.0)

    first, in_first = cells(expit(0.3), 1)
    second, in_second = cells(expit(np.array([-2.5, -0.5, 0.5, 2.5])), 1)
    pairs = [np.repeat(first, 5), np.tile(second, 2)]
    weights = np.outer(in_first, in_second).ravel()
    noises, weights = all_runs(pairs, weights, runs)
    found = lambda noise: up_to(1, lambda t: estimate(lambda: program(t), noise, runs))(theta)
    got, want = expected(found, noises, weights), up_to(1, truth)(theta)
    for one, other in zip(got, want):
        np.testing.assert_allclose(one, other, atol=1e-12)

    def mixed(f):
        """Its derivative in the parameter of the earlier draw, of its derivative in that of the site."""
        of_site = lambda first: jax.grad(lambda second: f((first, second)))(theta[1])
        return jax.grad(of_site)(theta[0])

    second = lambda noise: mixed(lambda t: estimate(lambda: program(t), noise, runs))
    np.testing.assert_allclose(expected(second, noises, weights), mixed(truth), atol=1e-12)


def best_alpha(row):
    return float(re.search(r"alpha\*=([-\d.e]+)", row["notes"])[1])


def test_oracle_row_exactly_and_the_best_alpha(x64):
    """The expected gradient of the adaptive loss vanishes at the oracle's α*."""
    row, p = ROWS["bernD4/poly/double_cv2"], problem(ROWS["bernD4/poly/double_cv2"])
    noise, weights = runs_noise(p.params["logits"], 2)
    alpha, cost = best_alpha(row), lambda _, x: p.cost(p.params, x)
    _, mean, variance = moments(
        lt.DoubleCV(alpha), bernoulli, cost, p.params["logits"], noise, weights
    )
    np.testing.assert_allclose(mean, row["exact_mean"], atol=1e-11)
    np.testing.assert_allclose(variance, row["exact_variance"], rtol=1e-9)

    def loss(alpha):
        estimator = lt.DoubleCV(alpha, learn=True)
        (_, aux), _ = gradients(estimator, bernoulli, cost, p.params["logits"], noise, has_aux=True)
        return weights @ aux.losses.mean(1)

    low, here, high = loss(alpha - 0.1), loss(alpha), loss(alpha + 0.1)
    np.testing.assert_allclose(here - np.sum(mean**2), np.sum(row["exact_variance"]), rtol=1e-9)
    np.testing.assert_allclose(low, high, rtol=1e-7)  # a parabola around α*
    assert low > here


@pytest.mark.parametrize(
    "name", [i for i in ROWS if i.startswith("ts200") and i.endswith("double_cv_opt")]
)
def test_oracle_row(name):
    row = ROWS[name]
    check(row, problem(row).gradients(lt.DoubleCV(best_alpha(row)), 2, row["suggested_M"]))


def test_the_derivative_of_the_adaptive_loss(x64):
    logits = LOGITS[2]

    def total(alpha, logits, weight):
        f = lambda x: weight * coupled_bits_cost(LOGITS[2], x)
        run = lt.DoubleCV(alpha, learn=True)
        return lt.expect(
            jax.random.key(0), f, lt.Bernoulli(logits), estimator=run, num_samples=4, has_aux=True
        )[1].adaptive_loss

    slope, *others = jax.jit(jax.grad(total, (0, 1, 2)))(0.3, logits, 1.0)
    jitted = jax.jit(total)
    numeric = (jitted(0.3 + 1e-5, logits, 1.0) - jitted(0.3 - 1e-5, logits, 1.0)) / 2e-5
    np.testing.assert_allclose(slope, numeric, rtol=1e-7)
    assert all(np.all(np.asarray(o) == 0) for o in others)


def test_refuses_one_run():
    with pytest.raises(
        ValueError,
        match=r"DoubleCV\(\) needs num_samples >= 2 \(in every chunk\); got 1. Use more draws",
    ):
        lt.expect(
            jax.random.key(0), jnp.sum, lt.Bernoulli(0.0), estimator=lt.DoubleCV(), num_samples=1
        )


def test_learning_without_aux_is_refused():
    with pytest.raises(ValueError, match="learns, and without has_aux=True it never would"):
        lt.expect(jax.random.key(0), jnp.sum, lt.Bernoulli(0.0), estimator=lt.DoubleCV(learn=True))


@pytest.mark.parametrize("learn", [False, True])
def test_a_cost_that_is_a_plain_number(learn):
    """It is a number in the traced rest too, and no array."""

    def value(f, logits):
        estimator, key = lt.DoubleCV(0.3, learn=learn), jax.random.key(0)
        dist = lt.Bernoulli(logits)
        return lt.expect(key, f, dist, estimator=estimator, num_samples=4, has_aux=True)[0]

    def constant(logits):
        dist = lt.Bernoulli(logits)
        return lt.expect(
            jax.random.key(0), lambda x: 3.0, dist, estimator=lt.DoubleCV(0.3), num_samples=2
        )

    at = jnp.array([0.3, -0.7])
    with_number, in_one = (
        jax.jit(jax.value_and_grad(lambda logits, f=f: value(f, logits)))(at)
        for f in (lambda x: (2.0, jnp.sum(x)), lambda x: 2.0 + jnp.sum(x))
    )
    for got, want in zip(with_number, in_one):
        np.testing.assert_allclose(got, want, rtol=1e-5)
    assert (jnp.abs(in_one[1]) > 0.05).all()
    got, slope = jax.jit(jax.value_and_grad(constant))(jnp.zeros(2))
    assert got == 3 and (slope == 0).all()

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import comb, expit

import logtrick as lt
from logtrick.estimators._arms import _coupled_bits, _debiasing
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, gradients, moments
from tests.oracles.problems import ROWS, check, problem


def patterns(logit, n):
    """Uniforms that make each pattern of the rare outcome in one coordinate, and the pattern's exact probability.

    P(dᵢ > a for i in S) = max(1 − |S| a, 0)^(n − 1) for d ∼ Dirichlet(1, …, 1): inclusion and exclusion give the rest.
    """
    m = min(expit(logit), expit(-logit))
    a = -np.expm1(np.log(m) / (n - 1))
    above = lambda k: max(1 - k * a, 0.0) ** (n - 1)
    noises, weights = [], []
    for pattern in itertools.product([0, 1], repeat=n):
        k = sum(pattern)
        weight = sum(
            (-1) ** j * comb(n - k, j, exact=True) * above(k + j) for j in range(n - k + 1)
        )
        if weight <= 1e-14:
            continue
        others = 0.5 * min(1 - k * a, (n - k) * a) if k else 1.0  # what those below a share
        share = np.where(np.array(pattern) == 1, (1 - others) / max(k, 1), others / max(n - k, 1))
        assert np.array_equal(share > a, np.array(pattern) == 1)
        noises.append(np.exp(-share))
        weights.append(weight)
    assert abs(sum(weights) - 1) < 1e-12
    return np.array(noises), np.array(weights)


def copula_noise(logits, n):
    rules = [patterns(l, n) for l in logits]
    noise = [np.stack(p, axis=-1) for p in itertools.product(*(x for x, _ in rules))]
    return np.array(noise)[:, None], np.array(
        [np.prod(w) for w in itertools.product(*(w for _, w in rules))]
    )


MORE = [pytest.param(*case, marks=pytest.mark.full) for case in ((1, 3), (2, 4), (3, 3))]


@pytest.mark.parametrize("size, n", [(1, 2), (1, 5), (2, 3), *MORE])
def test_unbiased_over_all_patterns(x64, size, n):
    noise, weights = copula_noise(LOGITS[size], n)
    value, mean, _ = moments(lt.ARMS(n), bernoulli, coupled_bits_cost, LOGITS[size], noise, weights)
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-10)
    np.testing.assert_allclose(mean, want, atol=1e-10)


ORACLE = [i for i in ROWS if re.search(r"/arms\d+$", i)]


@pytest.mark.parametrize("name", [i for i in ORACLE if i.startswith("bern/")])
def test_oracle_row_exactly(x64, name):
    row, p = ROWS[name], problem(ROWS[name])
    n = row["n_samples"]
    noise, weights = copula_noise(p.params["logits"], n)
    cost = lambda _, x: p.cost(p.params, x)
    _, mean, variance = moments(lt.ARMS(n), bernoulli, cost, p.params["logits"], noise, weights)
    np.testing.assert_allclose(mean, np.atleast_1d(row["exact_mean"]), atol=1e-12)
    np.testing.assert_allclose(variance, np.atleast_1d(row["exact_variance"]), rtol=1e-9)


@pytest.mark.parametrize(
    "name", [i for i in ORACLE if i.startswith("bernD4") or "arms_t.49_p.5/arms10" in i]
)
def test_oracle_row(name):
    """With the noise as it is drawn: the copula's law too."""
    row = ROWS[name]
    check(row, problem(row).gradients(lt.ARMS(row["n_samples"]), 1, row["suggested_M"]))


@pytest.mark.parametrize("logit", [-3.0, 0.4])
def test_the_copula(logit):
    """Marginals and pairs of the drawn bits: a million draws, six standard errors."""
    n, draws, dist = 4, 1_000_000, lt.Bernoulli(logit)
    bits = jax.vmap(lambda u: _coupled_bits(u, dist))(
        jax.random.uniform(jax.random.key(0), (draws, n))
    )
    bits = np.asarray(bits, np.float64)
    p, m = expit(logit), min(expit(logit), expit(-logit))
    rare_pair = max(2 * m ** (1 / (n - 1)) - 1, 0) ** (n - 1)
    both = rare_pair if logit < 0 else 1 - 2 * m + rare_pair
    error = 6 * np.sqrt(p * (1 - p) / draws)
    np.testing.assert_allclose(bits.mean(0), p, atol=error)
    for i, j in itertools.combinations(range(n), 2):
        assert abs((bits[:, i] * bits[:, j]).mean() - both) < error
    assert abs(float(_debiasing(jnp.float32(logit), n)) - p * (1 - p) / (p - both)) < 1e-6


def test_two_draws_are_disarm():
    """The same law: ρ = σ(|φ|)."""
    logits = jnp.array([-80.0, -2.0, 0.0, 0.3, 40.0])
    np.testing.assert_allclose(_debiasing(logits, 2), jax.nn.sigmoid(jnp.abs(logits)), rtol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 8, 30])
def test_debiasing_is_stable_at_extreme_logits(n):
    logits = np.array([-1e3, -50.0, -20.0, -5.0, -1e-3, 0.0, 2.0, 30.0, 1e3])
    log_m = -np.logaddexp(0.0, np.abs(logits))
    ratio = np.maximum(2 - np.exp(np.minimum(-log_m / (n - 1), np.log(2))), 0) ** (n - 1)
    want = (1 - np.exp(log_m)) / (1 - ratio)
    got = np.asarray(_debiasing(jnp.asarray(logits, jnp.float32), n))
    np.testing.assert_allclose(got, want, rtol=2e-5)
    assert np.all((got >= 0.5) & (got <= 2.01))


def test_coordinates_that_agree_get_exactly_nothing():
    noise = jax.random.uniform(jax.random.key(1), (50, 1, 4, 2))
    _, grads = gradients(
        lt.ARMS(4), bernoulli, lambda _, x: 1e6 + x[0], np.array([0.3, -40.0], np.float32), noise
    )
    assert np.all(grads[:, 1] == 0)


@pytest.mark.parametrize(
    "n, kind, message",
    [
        (1, ValueError, r"ARMS\(num_draws=…\) needs an int of at least 2"),
        (2.0, TypeError, r"ARMS\(num_draws=…\) needs a static positive int"),
    ],
)
def test_refuses_too_few_draws(n, kind, message):
    with pytest.raises(kind, match=message):
        lt.ARMS(n)


def test_a_large_constant_in_f_changes_nothing():
    """In float32 the mean of 1e8 and 1e8 + 16 is rounded by half of their difference: 15.1 for 16.1 once."""

    def gradient(shift):
        value = lambda logits: lt.expect(
            jax.random.key(0),
            lambda x: shift + 16 * x[0] * (1 + x[1]),
            lt.Bernoulli(logits),
            estimator=lt.ARMS(3),
            num_samples=64,
        )
        return jax.jit(jax.grad(value))(jnp.array([0.3, -0.4]))

    np.testing.assert_array_equal(gradient(1e8), gradient(0.0))

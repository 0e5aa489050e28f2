import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, exact, moments
from tests.estimators.test_local_expectation import (
    ROWS_OF_LOGITS,
    draw_noise,
    one_hot,
    one_hot_noise,
)
from tests.estimators.test_straight_through import POLYNOMIAL, one_hot_row


@pytest.mark.parametrize(
    "name", ["cat5/quad/reinmax"] + [i for i in POLYNOMIAL if i.endswith("/reinmax")]
)
def test_oracle_row_exactly(x64, name):
    row, _, mean, variance = one_hot_row(name, lt.ReinMax())
    np.testing.assert_allclose(mean, row["exact_mean"], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(variance, row["exact_variance"], rtol=1e-9)


def test_exact_for_quadratics_of_several_bits(x64):
    cost = lambda params, x: (x @ jnp.array([1.0, -2.0, 0.5]) - 0.7) ** 2 + x[0] * x[2]
    noise, weights = draw_noise(LOGITS[3])
    _, mean, _ = moments(lt.ReinMax(), bernoulli, cost, LOGITS[3], noise, weights)
    np.testing.assert_allclose(mean, exact(bernoulli, cost, LOGITS[3])[1], atol=1e-12)


def test_exact_for_quadratics_of_several_rows(x64):
    logits = ROWS_OF_LOGITS[2, 3]
    cost = lambda params, x: (
        (x[0] @ jnp.array([1.0, -2.0, 0.5]) - x[1] @ jnp.array([0.3, 0.2, -1.0])) ** 2
    )
    noise, weights = one_hot_noise(logits)
    _, mean, _ = moments(lt.ReinMax(), one_hot, cost, logits, noise, weights)
    np.testing.assert_allclose(mean, exact(one_hot, cost, logits)[1], atol=1e-12)


def test_biased_for_cubics_as_declared(x64):
    """One bit, f = x³: ∇f = 3 x², so the mean is 3 p [½ (1 + p)(1 − p) − ½ p (1 − p)] = 1.5 p (1 − p), not p (1 − p)."""
    noise, weights = draw_noise(LOGITS[1])
    _, mean, _ = moments(lt.ReinMax(), bernoulli, lambda _, x: x[0] ** 3, LOGITS[1], noise, weights)
    p = 1 / (1 + np.exp(-LOGITS[1]))
    np.testing.assert_allclose(mean, 1.5 * p * (1 - p), rtol=1e-10)
    assert not lt.ReinMax().unbiased


def test_impossible_classes_are_finite():
    logits = jnp.array([0.0, -jnp.inf, 1.0])
    value = lambda l: lt.expect(
        jax.random.key(0), lambda x: x[0] ** 2, lt.OneHotCategorical(l), estimator=lt.ReinMax()
    )
    assert jnp.all(jnp.isfinite(jax.grad(value)(logits)))


@pytest.mark.parametrize(
    "temperature, message",
    [
        (0.0, r"ReinMax\(temperature=…\) needs a positive finite number; got 0.0"),
        (jnp.ones(2), r"ReinMax\(temperature=…\) needs a scalar; got shape \(2,\)"),
    ],
)
def test_refuses_illegal_temperatures(temperature, message):
    with pytest.raises(ValueError, match=message):
        lt.ReinMax(temperature)

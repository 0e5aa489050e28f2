import numpy as np
import pytest

import logtrick as lt
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, moments
from tests.estimators.test_disarm import pair_noise
from tests.oracles.problems import ROWS, problem


@pytest.mark.parametrize("size", [1, 2, 3])
def test_unbiased_over_all_cells(x64, size):
    noise, weights = pair_noise(LOGITS[size])
    value, mean, variance = moments(
        lt.ARM(), bernoulli, coupled_bits_cost, LOGITS[size], noise, weights
    )
    want_value, want = exact(bernoulli, coupled_bits_cost, LOGITS[size])
    np.testing.assert_allclose(value, want_value, rtol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)
    _, _, disarm = moments(lt.DisARM(), bernoulli, coupled_bits_cost, LOGITS[size], noise, weights)
    assert np.all(variance > disarm)


@pytest.mark.parametrize("name", [i for i in ROWS if i.startswith("bern") and i.endswith("/arm")])
def test_oracle_row_exactly(x64, name):
    row, p = ROWS[name], problem(ROWS[name])
    noise, weights = pair_noise(p.params["logits"])
    _, mean, variance = moments(
        lt.ARM(), bernoulli, lambda _, x: p.cost(p.params, x), p.params["logits"], noise, weights
    )
    np.testing.assert_allclose(mean, np.atleast_1d(row["exact_mean"]), atol=1e-12)
    np.testing.assert_allclose(
        variance, np.atleast_1d(row["exact_variance"]), rtol=1e-10, atol=1e-20
    )

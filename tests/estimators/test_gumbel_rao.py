import numpy as np
import pytest
from scipy.special import expit, softmax

import logtrick as lt
from tests.estimators.exact import bernoulli, cells, moments, product
from tests.estimators.test_gumbel_softmax import RATE
from tests.estimators.test_local_expectation import one_hot
from tests.oracles.problems import ROWS, problem


@pytest.mark.parametrize("name", [i for i in ROWS if "/gumbel_rao_tau" in i])
def test_oracle_rows_exactly(x64, name):
    """The row is K = ∞. At K = 2 the variance is half way between it and straight-through Gumbel-softmax's (K = 1)."""
    row, stgs, p = ROWS[name], ROWS[name.replace("gumbel_rao", "stgs")], problem(ROWS[name])
    free = cells([], 30)
    points, weights = product(cells(expit(-p.params["logits"]), 1), free, free)
    estimator = lt.GumbelRao(float(name.rsplit("tau", 1)[1]), 2)
    cost = lambda _, x: p.cost(p.params, x)
    value, mean, variance = moments(
        estimator, bernoulli, cost, p.params["logits"], points[:, None, :, None], weights
    )
    exact = RATE[estimator.temperature] * (1 - 2 * p.params["t"])
    np.testing.assert_allclose(mean, exact, rtol=1e-9)
    np.testing.assert_allclose(
        mean, row["exact_mean"], atol=7e-5
    )  # as in test_gumbel_softmax: the rows' quadrature
    np.testing.assert_allclose(
        variance, 0.5 * (row["exact_variance"] + stgs["exact_variance"]), rtol=1e-3
    )
    assert abs(value - p.mean_cost()) < 1e-12


def test_a_draw_by_hand(x64):
    """Paulus et al. (2021): φ_D + G_D = −log E_D + log Z, the others −log(E_j / e^φ_j + E_D / Z), Z = Σ e^φ."""
    logits, weights, tau = np.array([0.3, -1.1, 0.8]), np.array([1.0, -2.0, 0.5]), 0.7
    u = np.random.default_rng(0).uniform(size=(4, 3))
    d, total = np.argmax(logits - np.log(-np.log(u[0]))), np.exp(logits).sum()
    jacobian = np.zeros((3, 3))
    for e in -np.log(u[1:]):
        z = -np.log(e / np.exp(logits) + e[d] / total)
        z[d] = -np.log(e[d] / total)
        y = softmax(z / tau)
        jacobian += (np.diag(y) - np.outer(y, y)) / tau / 3
    want = jacobian @ (2 * weights[d] * weights)
    estimator, cost = lt.GumbelRao(tau, 3), lambda _, x: (x @ weights) ** 2
    _, grad, _ = moments(estimator, one_hot, cost, logits, u[None, None], [1.0])
    np.testing.assert_allclose(grad, want, rtol=1e-8)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((0.0, 2), r"GumbelRao\(temperature=…\) needs a positive finite number"),
        ((1.0, 0), r"GumbelRao\(num_draws=…\) needs an int of at least 1"),
    ],
)
def test_refuses_illegal_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        lt.GumbelRao(*arguments)

"""The log density on the host: blocks, values that are not finite, budgets."""

import jax.numpy as jnp
import numpy as np
import pytest

from logtrick.vi._engines._density import BudgetSpent, Density
from tests.vi.engines.problems import Flat


def test_blocks_are_what_single_calls_are_and_are_traced_once(x64):
    traces = []

    def log_density(z):
        traces.append(z)
        return jnp.sum(jnp.sin(z))

    target = Flat(log_density, 2)
    density = Density(target)
    points = np.random.default_rng(0).standard_normal((77, 2))
    values, gradients = density(points)
    density(points[:3])
    assert len(traces) == 1
    np.testing.assert_allclose(values, np.sin(points).sum(1), rtol=1e-12)
    np.testing.assert_allclose(gradients, np.cos(points), rtol=1e-12)
    np.testing.assert_allclose(density.log_density(points), values)
    assert density.evaluations == 77 + 3 + 77


def test_what_is_not_finite_counts_as_no_density(x64):
    """√x has an infinite slope at 0, and is nan below."""
    density = Density(Flat(lambda z: jnp.sqrt(z[0]), 1))
    values, gradients = density(np.array([[4.0], [0.0], [-1.0]]))
    assert values.tolist() == [2.0, -np.inf, -np.inf] and gradients[1:].tolist() == [[0.0], [0.0]]
    assert density.nonfinite == 2


def test_a_budget_ends_the_work():
    density = Density(Flat(lambda z: -jnp.sum(z**2), 1), budget=40)
    density(np.zeros((30, 1)))
    density(np.zeros((30, 1)))
    with pytest.raises(BudgetSpent):
        density(np.zeros((1, 1)))

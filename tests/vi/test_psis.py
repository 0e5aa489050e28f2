"""Pareto smoothing, against two other implementations."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logtrick.vi._psis import psis, tail_length

SPREADS = (0.05, 0.5, 1.0, 2.0, 4.0)


def log_weights(spread):
    return spread * np.random.default_rng(int(10 * spread)).standard_normal(1000)


@pytest.mark.parametrize("spread", SPREADS)
def test_weights_and_shape_are_those_of_arviz(spread, x64):
    arviz_stats = pytest.importorskip("arviz_stats")
    from arviz_stats.base.array import array_stats

    assert arviz_stats is not None
    expected, khat = array_stats.psislw(-log_weights(spread))
    found = psis(jnp.asarray(log_weights(spread)))
    np.testing.assert_allclose(found.log_weights, expected, atol=1e-10)
    assert float(found.khat) == pytest.approx(float(khat), abs=1e-10)


@pytest.mark.parametrize("spread", SPREADS)
def test_shape_is_that_of_blackjax(spread, x64):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its imports
        diagnostics = pytest.importorskip("blackjax.diagnostics")
    expected, khat = diagnostics.psis_weights(jnp.asarray(log_weights(spread)))
    found = psis(jnp.asarray(log_weights(spread)))
    assert float(found.khat) == pytest.approx(float(khat), abs=1e-10)
    if khat >= 1 / 3:  # below, blackjax leaves the weights as they are
        np.testing.assert_allclose(found.log_weights, expected, atol=1e-10)


def test_shape_of_pareto_weights_lies_in_its_interval(x64):
    """Weights u^(−k) have shape k exactly; the interval holds in 18 of 20 replicates at least (95 % each)."""
    inside = 0
    for seed in range(20):
        found = psis(jnp.asarray(-0.4 * np.log(np.random.default_rng(seed).random(1000))))
        low, high = found.khat_interval
        inside += bool(low < 0.4 < high)
    assert inside >= 18


def test_exact_fit_is_minus_infinity():
    """Where others return +inf, or raise."""
    found = psis(jnp.full(1000, -3.0))
    assert float(found.khat) == -np.inf and float(found.ess) == pytest.approx(1000, rel=1e-4)
    nearly = jnp.asarray(1e-4 * np.random.default_rng(0).standard_normal(1000))
    assert float(psis(nearly, 1e-2).khat) == -np.inf and np.isfinite(psis(nearly).khat)


def test_weights_of_few_values_are_bounded():
    states = np.random.default_rng(0).integers(0, 8, 1000)
    assert float(psis(jnp.asarray(states / 4.0)).khat) == -np.inf


def test_no_finite_weight_and_too_few_draws():
    assert float(psis(jnp.full(1000, -jnp.inf)).khat) == np.inf
    few = psis(jnp.asarray([0.0, 1.0, 2.0]))
    assert float(few.khat) == np.inf
    np.testing.assert_allclose(few.log_weights, jax.nn.log_softmax(jnp.arange(3.0)), rtol=1e-6)


def test_nan_counts_as_no_weight(x64):
    found = psis(jnp.asarray(np.append(log_weights(1.0)[1:], np.nan)))
    assert float(found.log_weights[-1]) == -np.inf and np.isfinite(found.khat)
    assert float(jnp.sum(jnp.exp(found.log_weights))) == pytest.approx(1.0)


def test_the_tail_is_a_fifth_or_three_roots():
    assert (tail_length(100), tail_length(1000), tail_length(4096)) == (20, 94, 192)


def test_one_huge_weight_does_not_make_the_others_equal():
    """In single precision all other weights are within the rounding of one that is 10⁸ times as large."""
    log_weights = 0.5 * jax.random.normal(jax.random.key(0), (4096,))
    plain = float(psis(log_weights).khat)
    outlier = float(psis(log_weights.at[7].set(18.4)).khat)
    assert 0.0 < plain < 0.5 and outlier > plain and np.isfinite(outlier)
    assert float(psis(jnp.round(log_weights)).khat) == -np.inf  # a few values: discrete draws

"""The test of the test: `assert_unbiased` rejects 0, −g, 0.9 g, 1.1 g and too few draws, accepts g, at its stated rates."""

import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt

G = np.array([2.0, -1.0, 0.0])


def draws(mean=G, n=20_000, seed=0, scale=1.0):
    return np.asarray(mean) + scale * np.random.default_rng(seed).normal(size=(n, *np.shape(mean)))


def test_it_accepts_the_truth():
    for seed in range(50):
        lt.testing.assert_unbiased(draws(seed=seed), G, resolve=0.05)


@pytest.mark.parametrize("wrong", [0.0, -1.0, 0.9, 1.1])
def test_it_rejects_the_classic_errors(wrong):
    with pytest.raises(AssertionError, match=r"biased: coordinate \[0\]"):
        lt.testing.assert_unbiased(draws(wrong * G), G, resolve=0.05)


def test_too_few_draws_and_too_much_noise_are_too_weak():
    with pytest.raises(
        AssertionError,
        match=r"too weak: 1000 estimates .* resolve a bias of 0.\d+, not of 0.1 = 0.05 × 2. Take \d+",
    ):
        lt.testing.assert_unbiased(draws(n=1000), G, resolve=0.05)
    with pytest.raises(AssertionError, match="too weak"):
        lt.testing.assert_unbiased(draws(scale=100.0), G, resolve=0.05)
    with pytest.raises(AssertionError, match="too weak: 50 estimates"):
        lt.testing.assert_unbiased(draws(n=50, scale=1e-3), G, resolve=0.05)


def test_the_number_of_draws_that_it_asks_for_suffices():
    try:
        lt.testing.assert_unbiased(draws(n=1000), G, resolve=0.05)
    except AssertionError as error:
        more = int(str(error).rsplit("Take ", 1)[1].rstrip("."))
    lt.testing.assert_unbiased(draws(n=int(1.1 * more)), G, resolve=0.05)


def test_the_stated_rates():
    """A false-alarm rate of 0.05 over five coordinates, and a bias at the resolved size, each many times."""
    truth, n, trials = np.full(5, 1.0), 400, 400
    noise = np.random.default_rng(1).normal(size=(trials, n, 5))

    def fails(x, resolve):
        try:
            lt.testing.assert_unbiased(x, truth, resolve=resolve, false_alarm=0.05)
        except AssertionError as error:
            assert "biased" in str(error)
            return True
        return False

    resolve = (2.57 + 3.1) / n**0.5 * 1.15  # just strong enough whatever the sample deviations are
    alarms = sum(fails(1.0 + x, resolve) for x in noise)
    assert 5 < alarms < 40  # 20 expected
    shift = np.array([resolve, 0, 0, 0, 0])
    assert sum(fails(1.0 + x + shift, resolve) for x in noise) >= trials - 3


def test_the_false_alarm_rate_is_shared_over_coordinates():
    """z = 5.1 fails alone, and passes among a thousand coordinates."""
    x = np.tile([1.0, -1.0], 5000)
    x = 10.0 + x / x.std(ddof=1)
    one, z = x - x.mean() + 10.0, 5.1
    shifted = (one + z / 100.0)[:, None]
    with pytest.raises(AssertionError, match=r"z = 5\.1; \|z\| up to 4\.892"):
        lt.testing.assert_unbiased(shifted, np.full(1, 10.0), resolve=0.1)
    many = np.concatenate([shifted, np.tile(one[:, None], 999)], 1)
    lt.testing.assert_unbiased(many, np.full(1000, 10.0), resolve=0.1)


def test_a_coordinate_without_variance_must_be_exact_to_rounding():
    still = np.full((10, 3), 0.1, np.float32)
    lt.testing.assert_unbiased(still, np.full(3, 0.1), resolve=0.02)
    with pytest.raises(AssertionError, match=r"without variance; the truth is 0.1001"):
        lt.testing.assert_unbiased(still, np.full(3, 0.1001), resolve=0.02)
    with pytest.raises(AssertionError, match="without variance"):
        lt.testing.assert_unbiased(np.zeros((10, 3)), G, resolve=0.02)


def test_a_bias_shows_in_any_leaf_of_a_pytree():
    tree = {"a": draws(), "b": draws(np.float64(1.0), seed=1)}
    lt.testing.assert_unbiased(tree, {"a": G, "b": 1.0}, resolve=0.05)
    with pytest.raises(AssertionError, match=r"biased: coordinate \['b'\]"):
        lt.testing.assert_unbiased(tree, {"a": G, "b": 1.1}, resolve=0.05)
    lt.testing.assert_unbiased(jnp.asarray(draws()), jnp.asarray(G), resolve=0.05)


def test_nan_is_no_agreement():
    x = draws()
    x[3, 1] = np.nan
    with pytest.raises(AssertionError, match=r"not finite: coordinate \[1\] has 1 such"):
        lt.testing.assert_unbiased(x, G, resolve=0.05)


@pytest.mark.parametrize(
    ("x", "truth", "match"),
    [
        (draws(), np.zeros(3), "0 everywhere"),
        (
            draws(),
            np.array([2.0, -1.0, np.nan]),
            r"needs finite numbers; got array\(\[ 2., -1., nan\]\)",
        ),
        (draws(np.zeros(0)), np.zeros(0), "needs one number at least"),
        (draws(), np.zeros(2), r"needs shape \(n ≥ 2, \*\(2,\)\); got \(20000, 3\)"),
        (draws(n=1), G, "n ≥ 2"),
        ({"a": draws()}, G, "needs a pytree like truth"),
    ],
)
def test_arguments(x, truth, match):
    with pytest.raises(ValueError, match=match):
        lt.testing.assert_unbiased(x, truth, resolve=0.05)


def test_a_truth_of_zero_with_its_own_scale():
    lt.testing.assert_unbiased(draws(np.zeros(3)), np.zeros(3), resolve=0.1, scale=1.0)
    with pytest.raises(AssertionError, match="biased"):
        lt.testing.assert_unbiased(draws(np.full(3, 0.1)), np.zeros(3), resolve=0.1, scale=1.0)

"""RLOO and GRPO: exact means, variances and biases over all groups of a small policy."""

import itertools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.rl.groups import moments

ROWS = [
    row
    for row in json.loads((pathlib.Path(__file__).parents[1] / "data" / "oracles.json").read_text())
    if row["id"].startswith("grpo/")
]
ONE = lt.rl.FixedDenominator(1.0)
LOSSES = {
    "rloo": lt.rl.rloo,
    "mean_centred": lambda lp, r: lt.rl.grpo(
        lp, r, advantage=lt.rl.MeanCenteredAdvantage(), aggregation=ONE
    ),
    "grpo_std": lambda lp, r: lt.rl.grpo(lp, r),
}


def logit(p):
    return jnp.log(p) - jnp.log1p(-p)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_moments_are_those_of_the_oracles(row, x64):
    p, size = row["params"]["p"], row["params"]["group"]
    loss = LOSSES[row["id"].split("/")[-1]]

    def of_group(theta, bits):
        return loss(bits * theta - jax.nn.softplus(theta), bits.astype(float))

    value, mean, variance = moments(of_group, logit(p), jnp.array([1 - p, p]), size)
    np.testing.assert_allclose(value, -p, rtol=1e-10)
    np.testing.assert_allclose(-mean, row["exact_mean"], rtol=1e-10)
    np.testing.assert_allclose(variance, row["exact_variance"], rtol=1e-10)


def test_there_are_nine_rows():
    assert len(ROWS) == 9


# A policy that writes one or two tokens: y = (1), (0, 1) or (0, 0); the reward is 1 unless y = (0, 0).
TOKENS = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
COUNTS = np.array([[True, False], [True, True], [True, True]])
REWARD = np.array([1.0, 1.0, 0.0])
P = 0.3


def token_log_probs(theta, index):
    padding = jnp.where(jnp.asarray(COUNTS)[index], 0.0, jnp.nan)
    return jnp.asarray(TOKENS)[index] * theta - jax.nn.softplus(theta) + padding


def sequence_probabilities(p):
    q = 1 - p
    return jnp.array([p, q * p, q * q])


def of_sequences(loss):
    def of_group(theta, index):
        rewards, counts = jnp.asarray(REWARD)[index], jnp.asarray(COUNTS)[index]
        return loss(token_log_probs(theta, index), rewards, mask=counts)

    return moments(of_group, logit(P), sequence_probabilities(P), 3)


def test_rloo_on_tokens_is_unbiased(x64):
    q = 1 - P
    value, mean, _ = of_sequences(lt.rl.rloo)
    np.testing.assert_allclose(value, -(1 - q**2), rtol=1e-10)
    np.testing.assert_allclose(-mean, 2 * P * q**2, rtol=1e-10)


def test_grpo_without_its_two_biases_is_rloo(x64):
    def grpo(log_probs, rewards, mask):
        return lt.rl.grpo(
            log_probs, rewards, mask=mask, advantage=lt.rl.LeaveOneOutAdvantage(), aggregation=ONE
        )

    for ours, theirs in zip(of_sequences(grpo), of_sequences(lt.rl.rloo)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_the_bias_of_the_sequence_mean_is_as_stated(x64):
    def grpo(log_probs, rewards, mask):
        return lt.rl.grpo(log_probs, rewards, mask=mask, advantage=lt.rl.LeaveOneOutAdvantage())

    q = 1 - P
    by_hand = P * q**3 + P * q**3 * (1 - 2 * P) / 2 + P * q**2 * (1 - q**2)
    assert abs(by_hand - 2 * P * q**2) > 0.05  # the bias
    np.testing.assert_allclose(-of_sequences(grpo)[1], by_hand, rtol=1e-10)


def test_the_token_mean_of_one_group_is_that_by_hand(x64):
    index = jnp.array([0, 2])
    lengths = 3.0
    rewards, counts = REWARD[index], COUNTS[index]

    def loss(theta):
        return lt.rl.grpo(
            token_log_probs(theta, index),
            rewards,
            mask=counts,
            advantage=lt.rl.LeaveOneOutAdvantage(),
            aggregation=lt.rl.TokenMean(),
        )

    by_hand = -(1.0 * (1 - P) + (-1.0) * (-2 * P)) / lengths
    np.testing.assert_allclose(jax.grad(loss)(logit(P)), by_hand, rtol=1e-10)


def test_the_bias_of_the_token_mean_is_as_stated(x64):
    """Over all 27 groups of three answers, each weighted by its probability, in NumPy."""

    def grpo(log_probs, rewards, mask):
        return lt.rl.grpo(
            log_probs,
            rewards,
            mask=mask,
            advantage=lt.rl.LeaveOneOutAdvantage(),
            aggregation=lt.rl.TokenMean(),
        )

    scores, lengths = np.sum((TOKENS - P) * COUNTS, 1), COUNTS.sum(1)
    probabilities = np.asarray(sequence_probabilities(P))
    by_hand = 0.0
    for group in itertools.product(range(3), repeat=3):
        group = list(group)
        rewards = REWARD[group]
        advantages = rewards - (rewards.sum() - rewards) / 2
        estimate = advantages @ scores[group] / lengths[group].sum()
        by_hand += probabilities[group].prod() * estimate
    mean_length = probabilities @ lengths
    unbiased_up_to_a_factor = 2 * P * (1 - P) ** 2 / mean_length
    assert by_hand > 1.02 * unbiased_up_to_a_factor  # the bias: .1778 for .1729
    np.testing.assert_allclose(-of_sequences(grpo)[1], by_hand, rtol=1e-10)


def off_policy(theta, index, max_weight=None):
    behavior = jnp.log(jnp.array([0.5, 0.5]))[index]
    return lt.rl.rloo(
        index * theta - jax.nn.softplus(theta),
        index.astype(float),
        behavior_log_probs=behavior,
        max_weight=max_weight,
    )


def test_importance_weights_are_unbiased(x64):
    theta = logit(0.8)
    value, mean, _ = moments(off_policy, theta, jnp.array([0.5, 0.5]), 3)
    np.testing.assert_allclose([value, mean], [-0.8, -0.16], rtol=1e-10)


def test_truncated_weights_are_biased_within_their_bound(x64):
    most, p = 1.2, 0.8  # w = 0.4 and 1.6
    value, mean, _ = moments(
        lambda t, i: off_policy(t, i, most), logit(p), jnp.array([0.5, 0.5]), 3
    )
    np.testing.assert_allclose(value, -0.5 * most, rtol=1e-10)
    missing = p * (1 - most / 1.6)
    np.testing.assert_allclose(value + p, missing, rtol=1e-10)
    assert 0 < abs(mean + 0.16) <= p * (1 + p)  # max|r ∇log π| · P(w > c), and the baseline's part


def test_second_derivatives_of_rloo_are_unbiased_and_of_grpo_refused(x64):
    theta, weights = logit(P), jnp.array([1 - P, P])

    def of_group(theta, bits):
        return lt.rl.rloo(bits * theta - jax.nn.softplus(theta), bits.astype(float))

    _, second, _ = moments(jax.grad(of_group), theta, weights, 2)
    np.testing.assert_allclose(-second, P * (1 - P) * (1 - 2 * P), rtol=1e-10)
    with pytest.raises(lt.DerivativeOrderError, match="first derivatives"):
        jax.hessian(lambda lp: lt.rl.grpo(lp, jnp.array([0.0, 1.0])))(jnp.zeros(2))


def test_equal_rewards_have_no_signal():
    rewards = jnp.full(7, 0.1)
    for loss in (lt.rl.rloo, lt.rl.grpo):
        np.testing.assert_allclose(
            jax.jit(jax.grad(lambda lp: loss(lp, rewards)))(jnp.zeros(7)), 0, atol=1e-7
        )
    assert jnp.isnan(lt.rl.fraction_without_signal(jnp.array([[jnp.nan] * 2, [0.0, 1.0]])))
    stacked = jnp.stack([rewards, rewards.at[0].set(1.0), rewards, rewards])
    assert lt.rl.fraction_without_signal(stacked) == 0.75


def test_an_offset_of_the_rewards_leaves_no_rounding_errors():
    rewards = jnp.array([1e8, 1e8, 1e8 + 8])  # float32 has no number in between
    assert lt.rl.LeaveOneOutAdvantage()(rewards).tolist() == [-4.0, -4.0, 8.0]
    mean_centered = lt.rl.MeanCenteredAdvantage()(rewards)
    np.testing.assert_allclose(mean_centered, [-8 / 3, -8 / 3, 16 / 3], rtol=1e-6)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_tiny_and_huge_rewards_are_standardized(size):
    """Their squares are 0 and inf in float32."""
    advantages = lt.rl.StandardizedAdvantage()(size * jnp.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(advantages, np.array([2.0, -1.0, -1.0]) / np.sqrt(2), rtol=1e-6)


def test_epsilon_is_added_to_the_standard_deviation():
    advantages = lt.rl.StandardizedAdvantage(0.5)(jnp.array([4.0, 0.0]))
    np.testing.assert_allclose(advantages, [2.0 / 2.5, -2.0 / 2.5], rtol=1e-6)


def test_an_advantage_or_weights_of_another_shape_are_refused():
    """They would be broadcast against the tokens of all sequences: here to a gradient of 0."""

    class Column(lt.rl.Advantage):
        def __call__(self, rewards):
            return (rewards - rewards.mean())[:, None]

    class Row(lt.rl.Aggregation):
        def weights(self, mask):
            return jnp.ones(mask.shape[1])

    for how, message in (
        ({"advantage": Column()}, r"Column needs to return shape \(2,\); got \(2, 1\)"),
        ({"aggregation": Row()}, r"Row needs to return shape \(2, 3\); got \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            lt.rl.grpo(jnp.zeros((2, 3)), jnp.array([1.0, 0.0]), **how)


def test_half_precision_is_summed_in_single():
    """Weights of long sequences: in bfloat16 a sum of 300 log-probs is known to 2 only."""
    rng = np.random.default_rng(0)
    log_probs = rng.normal(-1.2, 0.4, (4, 300))
    given = [
        jnp.array(x, jnp.bfloat16) for x in (log_probs, log_probs + rng.normal(0, 0.03, (4, 300)))
    ]
    rewards = jnp.array([1.0, 0.0, 0.0, 1.0])

    def gradient(log_probs, behavior):
        loss = lambda lp: lt.rl.rloo(lp, rewards, behavior_log_probs=behavior)
        return jax.grad(loss)(log_probs)[:, 0].astype(jnp.float32)

    exact = gradient(*(x.astype(jnp.float32) for x in given))
    # The result is rounded to bfloat16.
    np.testing.assert_allclose(gradient(*given), exact, rtol=0.005)


@pytest.mark.parametrize("loss", [lt.rl.rloo, lt.rl.grpo])
def test_an_answer_that_the_policy_cannot_give_has_a_nan_gradient(loss):
    rewards = jnp.array([1.0, 0.0])
    for bad in (jnp.nan, -jnp.inf):
        assert jnp.isnan(jax.grad(lambda lp: loss(lp, rewards))(jnp.array([bad, -1.0]))[0])


def test_boolean_and_integer_rewards_are_those_of_floats():
    exact = jax.grad(lambda lp: lt.rl.rloo(lp, jnp.array([1.0, 0.0])))(jnp.zeros(2))
    for rewards in ([True, False], [1, 0], np.array([1, 0]), jnp.array([True, False])):
        grad = jax.grad(lambda lp: lt.rl.rloo(lp, rewards))(jnp.zeros(2))
        np.testing.assert_array_equal(grad, exact)


def test_wrong_arrays_are_refused():
    two, square = jnp.zeros(2), jnp.zeros((2, 2))
    with pytest.raises(TypeError, match=r"\(advantage=…\) needs an lt.rl.Advantage; got the class"):
        lt.rl.grpo(two, two, advantage=lt.rl.LeaveOneOutAdvantage)
    with pytest.raises(TypeError, match=r"\(aggregation=…\) needs an lt.rl.Aggregation; got"):
        lt.rl.grpo(two, two, aggregation="token mean")
    with pytest.raises(ValueError, match=r"FixedDenominator\(denominator=…\) needs a positive"):
        lt.rl.FixedDenominator(0.0)
    with pytest.raises(ValueError, match=r"rloo\(max_weight=…\) needs a positive number"):
        lt.rl.rloo(two, two, behavior_log_probs=two, max_weight=-1.0)
    for loss in (lt.rl.rloo, lt.rl.grpo):
        with pytest.raises(ValueError, match=r"\(rewards=…\) needs at least two draws"):
            loss(jnp.zeros(1), jnp.ones(1))
        with pytest.raises(ValueError, match=r"\(rewards=…\) needs one reward for each sequence"):
            loss(square, square)
        with pytest.raises(ValueError, match=r"\(log_probs=…\) needs one row for each of the 2"):
            loss(jnp.zeros(3), two)
        with pytest.raises(ValueError, match=r"\(log_probs=…\) needs log-probs of sequences"):
            loss(jnp.zeros((2, 2, 2)), two)
        with pytest.raises(ValueError, match=r"\(mask=…\) needs one entry"):
            loss(square, two, mask=two)
    with pytest.raises(ValueError, match="needs behavior_log_probs"):
        lt.rl.rloo(two, two, max_weight=2.0)
    with pytest.raises(ValueError, match=r"\(behavior_log_probs=…\) needs the shape"):
        lt.rl.rloo(two, two, behavior_log_probs=jnp.zeros(3))
    with pytest.raises(ValueError, match=r"\(rewards=…\) needs the rewards of all groups"):
        lt.rl.fraction_without_signal(two)
    with pytest.raises(ValueError, match="at least two draws"):
        lt.rl.fraction_without_signal(jnp.zeros((3, 1)))

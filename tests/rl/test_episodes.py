"""REINFORCE and actor–critic: every episode of a small decision process, weighted by its probability."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt

ACTIONS = np.array(list(itertools.product((0.0, 1.0), repeat=3)))
DISCOUNT = 0.9
THETA = (0.4, -0.7)


def episode(theta, actions):
    """Log-probs, rewards and states (the last action) of one episode of three steps."""
    states = jnp.concatenate([jnp.zeros(1), actions[:-1]])
    logits = theta[0] + theta[1] * states
    log_probs = actions * logits - jax.nn.softplus(logits)
    rewards = jnp.array([1.0, 2.0, -1.5]) * actions + 0.5 * actions * states
    return log_probs, rewards, states


def all_episodes(theta):
    log_probs, rewards, states = jax.vmap(episode, (None, 0))(theta, ACTIONS)
    return jnp.exp(log_probs.sum(1)), log_probs, rewards, states


def expected_return(theta):
    probabilities, _, rewards, _ = all_episodes(theta)
    return probabilities @ (rewards @ DISCOUNT ** jnp.arange(3.0))


def expected_loss(loss):
    """The exact expectation of a loss (and, by differentiating it, of the loss's derivatives)."""

    def of(theta):
        probabilities = jax.lax.stop_gradient(all_episodes(theta)[0])
        return probabilities @ jax.vmap(lambda a: loss(*episode(theta, a)))(ACTIONS)

    return of


def with_baselines(log_probs, rewards, states):
    return lt.rl.reinforce(log_probs, rewards, discount=DISCOUNT, baselines=1.0 + states)


def without(log_probs, rewards, states):
    return lt.rl.reinforce(log_probs, rewards, discount=DISCOUNT)


@pytest.mark.parametrize("loss", [without, with_baselines])
def test_reinforce_at_orders_0_to_2(loss, x64):
    theta = jnp.array(THETA)
    ours, exact = expected_loss(loss), expected_return
    np.testing.assert_allclose(ours(theta), -exact(theta), rtol=1e-10)
    np.testing.assert_allclose(jax.grad(ours)(theta), -jax.grad(exact)(theta), rtol=1e-10)
    np.testing.assert_allclose(
        jax.hessian(ours)(theta), -jax.hessian(exact)(theta), rtol=1e-9, atol=1e-12
    )


def test_the_derivative_is_reward_to_go_minus_baseline(x64):
    log_probs, rewards, _ = episode(jnp.array(THETA), jnp.asarray(ACTIONS[6]))
    baselines = jnp.array([0.3, -0.2, 0.1])
    grad = jax.grad(
        lambda lp: lt.rl.reinforce(lp, rewards, discount=DISCOUNT, baselines=baselines)
    )(log_probs)
    r = rewards
    to_go = jnp.array([r[0] + 0.9 * r[1] + 0.81 * r[2], r[1] + 0.9 * r[2], r[2]])
    np.testing.assert_allclose(lt.rl.reward_to_go(r, discount=DISCOUNT), to_go, rtol=1e-12)
    np.testing.assert_allclose(grad, -(0.9 ** jnp.arange(3)) * (to_go - baselines), rtol=1e-12)


def test_actor_critic(x64):
    theta, w = jnp.array(THETA), jnp.array([0.2, 0.5])

    def loss(theta, w):
        return expected_loss(
            lambda lp, r, s: lt.rl.actor_critic(
                lp, r, w[0] + w[1] * s, discount=DISCOUNT, critic_weight=0.5
            )
        )(theta)

    actor, critic = jax.grad(loss, (0, 1))(theta, w)
    np.testing.assert_allclose(actor, -jax.grad(expected_return)(theta), rtol=1e-10)

    def regression(w):
        probabilities, _, rewards, states = all_episodes(theta)
        later = jnp.array([[1.0, 0.9, 0.81], [0.0, 1.0, 0.9], [0.0, 0.0, 1.0]])
        return 0.5 * probabilities @ jnp.sum((rewards @ later.T - w[0] - w[1] * states) ** 2, 1)

    np.testing.assert_allclose(critic, jax.grad(regression)(w), rtol=1e-10)


def test_padding_changes_nothing_even_if_it_is_nan(x64):
    log_probs, rewards, states = episode(jnp.array(THETA), jnp.asarray(ACTIONS[5]))
    nan, counts = jnp.full(2, jnp.nan), jnp.array([True] * 3 + [False] * 2)

    def short(lp, v):
        return lt.rl.actor_critic(lp, rewards, v, discount=DISCOUNT)

    def padded(lp, v):
        return lt.rl.actor_critic(
            jnp.concatenate([lp, nan]),
            jnp.concatenate([rewards, nan]),
            jnp.concatenate([v, nan]),
            discount=DISCOUNT,
            mask=counts,
        )

    a, b = (jax.value_and_grad(f, (0, 1))(log_probs, states) for f in (short, padded))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), a, b)


def test_integer_rewards_and_float32():
    grad = jax.grad(lambda lp: lt.rl.reinforce(lp, jnp.array([0, 1]), discount=0.5))(jnp.zeros(2))
    assert grad.dtype == jnp.float32
    np.testing.assert_allclose(grad, [-0.5, -0.5])


def test_refusals():
    three, square = jnp.zeros(3), jnp.zeros((2, 3))
    with pytest.raises(ValueError, match="ONE episode"):
        lt.rl.reinforce(square, square)
    with pytest.raises(ValueError, match=r"\(rewards=…\) needs one number for each step"):
        lt.rl.reinforce(three, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"\(baselines=…\) needs one number"):
        lt.rl.reinforce(three, three, baselines=jnp.zeros(2))
    with pytest.raises(ValueError, match=r"\(values=…\) needs one number"):
        lt.rl.actor_critic(three, three, jnp.zeros(2))
    with pytest.raises(ValueError, match=r"\(mask=…\) needs one entry"):
        lt.rl.reinforce(three, three, mask=jnp.ones(2))

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


def expected_return(theta, discount=DISCOUNT):
    probabilities, _, rewards, _ = all_episodes(theta)
    return probabilities @ (rewards @ jnp.array([1.0, discount, discount**2]))


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
def test_reinforce_is_unbiased_at_orders_0_to_2(loss, x64):
    theta = jnp.array(THETA)
    orders = lambda f: jax.jit(lambda t: (f(t), jax.grad(f)(t), jax.hessian(f)(t)))(theta)
    ours, exact = orders(expected_loss(loss)), orders(expected_return)
    np.testing.assert_allclose(ours[0], -exact[0], rtol=1e-10)
    np.testing.assert_allclose(ours[1], -exact[1], rtol=1e-10)
    np.testing.assert_allclose(ours[2], -exact[2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("discount", [0.0, 0.5, 1.0])
def test_any_discount_is_unbiased(discount, x64):
    theta = jnp.array(THETA)
    losses = expected_loss(lambda lp, r, s: loss_of_all(lp, r, s, discount))
    ours = jax.jit(jax.jacobian(losses))(theta)
    exact = jax.jit(jax.grad(lambda theta: expected_return(theta, discount)))(theta)
    np.testing.assert_allclose(ours, [-exact, -exact], rtol=1e-10, atol=1e-14)


def loss_of_all(log_probs, rewards, states, discount):
    """Two losses with the same expected derivative."""
    return jnp.stack(
        [
            lt.rl.reinforce(log_probs, rewards, discount=discount, baselines=0.3 - states),
            lt.rl.actor_critic(
                log_probs, rewards, jax.lax.stop_gradient(states), discount=discount
            ),
        ]
    )


def test_episodes_of_random_length_are_unbiased(x64):
    """An episode ends after its first action 0; what follows is padding of nan."""
    theta = jnp.array(THETA)

    def goes_on(actions):
        return jnp.concatenate([jnp.ones(1), jnp.cumprod(actions)[:-1]]) > 0

    def loss(theta, actions):
        log_probs, rewards, _ = episode(theta, actions)
        counts = goes_on(actions)
        padding = jnp.where(counts, 0.0, jnp.nan)
        return lt.rl.reinforce(
            log_probs + padding, rewards + padding, discount=DISCOUNT, mask=counts
        )

    def exact(theta):
        log_probs, rewards, _ = jax.vmap(episode, (None, 0))(theta, ACTIONS)
        counts = jax.vmap(goes_on)(jnp.asarray(ACTIONS))
        return jnp.exp(log_probs.sum(1)) @ ((rewards * counts) @ DISCOUNT ** jnp.arange(3.0))

    probabilities = all_episodes(theta)[0]
    ours = jax.value_and_grad(
        lambda theta: probabilities @ jax.vmap(loss, (None, 0))(theta, ACTIONS)
    )
    value, grad = ours(theta)
    np.testing.assert_allclose(value, -exact(theta), rtol=1e-10)
    np.testing.assert_allclose(grad, -jax.grad(exact)(theta), rtol=1e-10)


@pytest.mark.parametrize("counts", [(0, 0, 1, 1, 1), (1, 0, 1, 0, 1), (1, 1, 1, 0, 0)])
def test_steps_that_are_left_out_are_as_if_they_were_not_there(counts, x64):
    counts = np.array(counts, bool)
    log_probs, rewards, values = np.random.default_rng(0).normal(size=(3, 5))

    def loss(log_probs, values, rewards, mask=None):
        return lt.rl.actor_critic(log_probs, rewards, values, discount=0.5, mask=mask)

    there = [x[counts] for x in (log_probs, values, rewards)]
    value, grads = jax.value_and_grad(loss, (0, 1))(*there)
    wide, wide_grads = jax.value_and_grad(loss, (0, 1))(log_probs, values, rewards, counts)
    np.testing.assert_allclose(wide, value, rtol=1e-12)
    for grad, wide_grad in zip(grads, wide_grads):
        np.testing.assert_allclose(wide_grad[counts], grad, rtol=1e-12)
        assert not wide_grad[~counts].any()
    to_go = lt.rl.reward_to_go(rewards, discount=0.5, mask=counts)
    np.testing.assert_allclose(
        to_go[counts], lt.rl.reward_to_go(rewards[counts], discount=0.5), rtol=1e-12
    )


def test_half_precision_is_summed_in_single():
    ones = jnp.ones(300, jnp.bfloat16)  # a sum in bfloat16 stays at 256
    assert lt.rl.reward_to_go(ones)[0] == 300.0
    value, grad = jax.value_and_grad(lambda lp: lt.rl.reinforce(lp, ones))(-ones)
    assert value == -300.0 and value.dtype == jnp.float32
    assert grad.dtype == jnp.bfloat16


def test_an_action_that_the_policy_cannot_take_has_a_nan_gradient():
    log_probs, ones = jnp.array([-0.5, -jnp.inf]), jnp.ones(2)
    grad = jax.grad(lambda lp: lt.rl.reinforce(lp, ones))(log_probs)
    assert jnp.isnan(grad[1])


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


def test_actor_and_critic_have_their_exact_expected_derivatives(x64):
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


def test_an_episode_without_steps_has_loss_0():
    nothing = jnp.zeros(0)
    assert lt.rl.reward_to_go(nothing).shape == (0,)
    assert lt.rl.actor_critic(nothing, nothing, nothing) == 0.0


def test_integer_rewards_give_float32_gradients():
    grad = jax.grad(lambda lp: lt.rl.reinforce(lp, jnp.array([0, 1]), discount=0.5))(jnp.zeros(2))
    assert grad.dtype == jnp.float32
    np.testing.assert_allclose(grad, [-0.5, -0.5])


def test_wrong_arrays_are_refused():
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
    for loss in (lt.rl.reinforce, lambda lp, r, **how: lt.rl.reward_to_go(r, **how)):
        with pytest.raises(ValueError, match=r"\(discount=…\) needs one number; got shape \(3,\)"):
            loss(three, three, discount=jnp.full(3, 0.9))
    with pytest.raises(ValueError, match=r"actor_critic\(critic_weight=…\) needs one number"):
        lt.rl.actor_critic(three, three, three, critic_weight=three)

# %% [markdown]
# # Programs and time: CartPole solved by actor–critic
#
# A cart has to balance a pole by a push to the left or to the right, 50 times a second. The pushes are discrete and the
# episode ends when the pole falls, so that there is no derivative through the physics. In logtrick an episode is a
# **program**: a generator function that yields its draws and its costs. The score of a push is credited with the costs of
# its own and of later steps, and with nothing earlier, because the loop is a `lt.scan`.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import logtrick as lt

# %% [markdown]
# ## The physics
#
# The classic constants (Barto, Sutton & Anderson 1983). An episode lasts at most 200 steps and ends early when the pole
# leans more than 12 degrees or the cart leaves the track.

# %%
STEPS, TIME_STEP = 200, 0.02
GRAVITY, CART, POLE, HALF_LENGTH, FORCE = 9.8, 1.0, 0.1, 0.5, 10.0
MOST_LEAN, MOST_OFFSET = 12 * 2 * jnp.pi / 360, 2.4


def physics(state, push_right):
    """The state (offset, speed, lean, turning speed) one time step later."""
    _, speed, lean, turn = state
    force = jnp.where(push_right > 0, FORCE, -FORCE)
    sin, cos = jnp.sin(lean), jnp.cos(lean)
    total = CART + POLE
    pull = (force + POLE * HALF_LENGTH * turn**2 * sin) / total
    lean_acceleration = (GRAVITY * sin - cos * pull) / (
        HALF_LENGTH * (4.0 / 3.0 - POLE * cos**2 / total)
    )
    acceleration = pull - POLE * HALF_LENGTH * lean_acceleration * cos / total
    change = jnp.stack([speed, acceleration, turn, lean_acceleration])
    return state + TIME_STEP * change


def balanced(state):
    return (jnp.abs(state[0]) < MOST_OFFSET) & (jnp.abs(state[2]) < MOST_LEAN)


# %% [markdown]
# ## Actor, critic, and the episode as a program
#
# The actor is a linear policy. The critic predicts the cost to come from the state *before* the push, and is the baseline of
# the push: as it does not see the push, the actor's gradient is unbiased whatever the critic says. A cost of −1 is charged for
# each step in balance.


# %%
def critic(w, state, time):
    inputs = jnp.concatenate([state * jnp.array([0.4, 0.3, 5.0, 0.3]), time[None]])
    hidden = jnp.tanh(inputs @ w["in"] + w["bias"])
    return -100.0 * (hidden @ w["out"] + w["offset"])


def episode(params):
    key = yield lt.fresh_key()
    start = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)

    def step(carry, time):
        state, alive = carry
        value = lt.LearnedBaseline(lambda w: alive * critic(w, state, time), params["critic"])
        logit = params["actor"] @ state
        push = yield lt.sample(lt.Bernoulli(logit), lt.ScoreFunction(value))
        state = physics(state, push)
        alive = alive * balanced(state)
        yield lt.cost(-alive)
        return (state, alive), (state, alive)

    yield lt.scan(step, (start, 1.0), jnp.arange(STEPS) / STEPS)


# %% [markdown]
# The expected cost of a program is `lt.expect_program`, an ordinary number; `lt.minimize` trains actor and critic together
# (it adds the critic's regression, which arrives in `aux`, by itself). Each step sees 16 episodes.

# %%
keys = jax.random.split(jax.random.key(0), 2)
params = {
    "actor": jnp.zeros(4),
    "critic": {
        "in": jax.random.normal(keys[0], (5, 32)),
        "bias": 0.5 * jax.random.normal(keys[1], (32,)),
        "out": jnp.zeros(32),
        "offset": jnp.zeros(()),
    },
}


def objective(params, key):
    return lt.expect_program(key, episode, params, num_samples=16, has_aux=True)


optimizer = optax.adam(0.02)
fit = lt.minimize(jax.random.key(1), objective, params, optimizer, num_steps=350)
lengths = -fit.history.value
print(
    f"mean length: first 10 steps {lengths[:10].mean():.0f}, last 10 steps {lengths[-10:].mean():.0f}"
)
print("actor:", fit.params["actor"].round(2))


# %% [markdown]
# ## Is it solved?
#
# CartPole with 200 steps counts as solved at a mean length of 195. On 500 fresh episodes:


# %%
def roll_out(actor, key):
    """The states of one episode, and whether each was still in balance."""
    start_key, pushes = jax.random.split(key)
    start = jax.random.uniform(start_key, (4,), minval=-0.05, maxval=0.05)

    def step(carry, u):
        state, alive = carry
        state = physics(state, u < jax.nn.sigmoid(actor @ state))
        alive = alive * balanced(state)
        return (state, alive), (state, alive)

    return jax.lax.scan(step, (start, 1.0), jax.random.uniform(pushes, (STEPS,)))[1]


fresh = jax.random.split(jax.random.key(2), 500)
before, after = (
    jax.jit(jax.vmap(roll_out, (None, 0)))(actor, fresh)
    for actor in (params["actor"], fit.params["actor"])
)
mean_length = after[1].sum(1).mean()
print(f"mean length before {before[1].sum(1).mean():.1f}, after {mean_length:.1f}")
assert mean_length > 195.0

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.plot(lengths, color="C0", lw=1)
left.axhline(195, color="black", lw=0.8, ls=":")
left.text(2, 198, "solved: 195", va="bottom", fontsize=9)
left.set(
    xlabel="step of the optimizer",
    ylabel="mean length of 16 episodes",
    title="Learning",
    ylim=(0, 215),
)
for (states, alive), color, label in ((before, "C1", "before"), (after, "C0", "after")):
    lean = jnp.where(alive > 0, jnp.rad2deg(states[..., 2]), jnp.nan)[:20]
    right.plot(jnp.arange(STEPS) * TIME_STEP, lean.T, color=color, lw=0.7, alpha=0.6)
    right.plot([], [], color=color, label=f"{label} training")
right.axhspan(-12, 12, color="gray", alpha=0.1)
right.set(
    xlabel="seconds",
    ylabel="lean of the pole (degrees)",
    title="20 episodes before, 20 after",
    ylim=(-14, 14),
)
_ = right.legend(frameon=False, loc="lower right")

# %% [markdown]
# `lt.rl` has the same losses for episodes that were recorded elsewhere (REINFORCE, actor–critic, RLOO, GRPO, KL terms).

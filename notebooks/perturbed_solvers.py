# %% [markdown]
# # Perturbed solvers: a gradient through an argmax, a ranking, a shortest path
#
# A solver takes scores $\theta$ and returns the best discrete object: the largest entry, a ranking, a path. It is piecewise
# constant, so that its derivative is zero almost everywhere, and a network in front of it cannot be trained. Add noise to
# the scores and take the expectation of what the solver returns, and the result is smooth (Berthet et al., 2020):
#
# $$ y_\sigma(\theta) = \mathbb{E}_{x \sim p(\cdot - \theta)}\big[\text{solver}(x)\big] . $$
#
# That is an expectation whose distribution depends on $\theta$. The solver returns an array, not a number, so the call is
# `lt.expect_tree`: every entry is a cost of its own, with its own baseline, all from the same draws.

# %%
import functools
import itertools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.scipy.stats import norm

import logtrick as lt

FAST = bool(os.environ.get("LOGTRICK_FAST"))  # the tests take fewer steps

# %% [markdown]
# ## The argmax
#
# With Gumbel noise the argmax is a draw from the softmax, exactly: so $y_1(\theta) = \text{softmax}(\theta)$, and its Jacobian
# is that of the softmax. This is a check of everything that follows.


# %%
def winner(x):
    return jax.nn.one_hot(jnp.argmax(x), len(x))


def perturbed_winner(theta, key, n=20_000):
    return lt.expect_tree(key, winner, lt.Gumbel(theta, 1.0), num_samples=n)


theta = jnp.array([1.0, 0.0, -0.5])
jacobian = jax.jit(jax.jacobian(perturbed_winner))(theta, jax.random.key(0))
print("expected winner:", np.round(jax.jit(perturbed_winner)(theta, jax.random.key(0)), 3))
print("softmax, exact: ", np.round(jax.nn.softmax(theta), 3))
print("Jacobian, its error against that of the softmax:")
print(np.round(jacobian - jax.jacobian(jax.nn.softmax)(theta), 3))
assert jnp.abs(jacobian - jax.jacobian(jax.nn.softmax)(theta)).max() < 0.03


# %% [markdown]
# ## Ranks
#
# A sort gives ranks, integers. With normal noise the expected rank of an entry is a sum of probabilities to be beaten,
# $1 + \sum_{j \ne i} \Phi\big((\theta_j - \theta_i)/(\sigma \sqrt 2)\big)$. The figure moves one score past two others:
# the rank jumps, the perturbed rank glides, and it has a slope to learn from.


# %%
def ranks(x):
    """1 for the largest entry."""
    return 1.0 + jnp.sum(x[None, :] > x[:, None], 1)


SIGMA = 0.5
OTHERS = jnp.array([0.0, 1.5])


def rank_of_first(score, key, n=4000):
    x = lt.Normal(jnp.concatenate([score[None], OTHERS]), SIGMA)
    return lt.expect_tree(key, lambda x: ranks(x)[0], x, num_samples=n)


def exact_rank(score):
    return 1.0 + norm.cdf((OTHERS - score) / (SIGMA * 2**0.5)).sum()


at = jnp.linspace(-1.5, 3.0, 19)
keys = jax.random.split(jax.random.key(1), len(at))
values, slopes = jax.jit(jax.vmap(jax.value_and_grad(rank_of_first)))(at, keys)
grid = jnp.linspace(-1.5, 3.0, 300)
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
hard = [float(ranks(jnp.array([s, *OTHERS]))[0]) for s in np.asarray(grid)]
left.plot(grid, hard, color="0.6", lw=1, label="rank (1 is best)")
left.plot(grid, jax.vmap(exact_rank)(grid), color="black", lw=1.2, label="perturbed rank, exact")
left.plot(at, values, "o", ms=4, color="C0", label="perturbed rank, 4,000 draws")
left.set(
    xlabel="score of the first entry (others: 0 and 1.5)", ylabel="rank", title="Ranks that glide"
)
left.legend(frameon=False, loc="upper right")
right.plot(grid, jax.vmap(jax.grad(exact_rank))(grid), color="black", lw=1.2, label="exact")
right.plot(at, slopes, "o", ms=4, color="C0", label="score function, 4,000 draws")
right.axhline(0.0, color="0.6", lw=1, label="slope of the rank itself")
right.set(
    xlabel="score of the first entry",
    ylabel="slope of the rank",
    title="The slope of the perturbed rank",
    ylim=(-0.75, 0.35),
)
_ = right.legend(frameon=False, loc="upper left")
error = jnp.abs(slopes - jax.vmap(jax.grad(exact_rank))(at)).max()
print(f"largest error of the 19 slopes: {error:.3f}")
assert error < 0.15

# %% [markdown]
# ## A shortest path, learned
#
# A map of 5 × 5 fields; a path goes from the top left to the bottom right corner, right or down at each step, and wants
# the least total cost. We see maps (three colors a field) and the best paths that somebody walked. The costs of the colors are
# unknown and are to be learned **through the solver**.
#
# The loss for this is the Fenchel–Young loss of the perturbed solver. Its gradient in the scores $\theta$ is as simple as
# can be, the expected answer less the right one:
#
# $$ L(\theta; y) = \mathbb E\big[\max_{y'} \langle x, y' \rangle\big] - \langle \theta, y \rangle + \text{const}, \qquad
#    \nabla_\theta L = y_\sigma(\theta) - y . $$
#
# It is convex in $\theta$, and needs no derivative of the solver, only its optimum: $\max \langle x, y' \rangle$
# is differentiable almost everywhere, so that `lt.Pathwise()` gives this gradient, and so does the score function.

# %%
SIDE = 5
WAYS = list(itertools.combinations(range(2 * SIDE - 2), SIDE - 1))  # which of the 8 steps go down


def fields_of(down):
    row, column, visited = 0, 0, np.zeros((SIDE, SIDE), np.float32)
    visited[0, 0] = 1.0
    for step in range(2 * SIDE - 2):
        row, column = (row + 1, column) if step in down else (row, column + 1)
        visited[row, column] = 1.0
    return visited


PATHS = jnp.array([fields_of(down) for down in WAYS])  # all 70 paths: only to check the solver


def optimum(score):
    """The largest total score of a path, by dynamic programming."""
    best = {}
    for r, c in itertools.product(range(SIDE), range(SIDE)):
        before = [best[field] for field in ((r - 1, c), (r, c - 1)) if field in best]
        best[r, c] = score[r, c] + (functools.reduce(jnp.maximum, before) if before else 0.0)
    return best[SIDE - 1, SIDE - 1]


solver = jax.grad(optimum)  # 1 on the fields of the best path: what the optimum depends on


by_search = lambda score: PATHS[jnp.argmax(jnp.tensordot(PATHS, score, 2))]
scores = jax.random.normal(jax.random.key(2), (200, SIDE, SIDE))
same = jnp.all(jax.jit(jax.vmap(solver))(scores) == jax.vmap(by_search)(scores))
print(
    f"{len(PATHS)} paths; dynamic programming finds the best of all in 200 of 200 maps: {bool(same)}"
)
assert same

# %% [markdown]
# **The gradient, three ways**: the formula, pathwise through the maximum, and the score function.

# %%
WIDTH = 0.3


def fenchel_young(score, path, key, estimator, n):
    """E max ⟨x, y⟩ − ⟨score, path⟩, up to a constant."""
    noisy = lt.Normal(score, WIDTH)
    return lt.expect(key, optimum, noisy, estimator=estimator, num_samples=n) - jnp.sum(
        score * path
    )


score, path = scores[0], by_search(scores[1])
expected_path = jax.jit(
    lambda score, key: lt.expect_tree(key, solver, lt.Normal(score, WIDTH), num_samples=5000)
)
expected = expected_path(score, jax.random.key(3))
formula = expected - path
for name, estimator in (("pathwise", lt.Pathwise()), ("score function", lt.ScoreFunction())):
    g = jax.jit(jax.grad(lambda s, k: fenchel_young(s, path, k, estimator, 5000)))(
        score, jax.random.key(4)
    )
    print(f"{name:15s}largest difference from E solver − path: {jnp.abs(g - formula).max():.3f}")
    assert jnp.abs(g - formula).max() < 0.15

# %% [markdown]
# **Training.** 200 maps with the paths that are best at the true costs of the three colors, (0.2, 1.0, 2.5). The model is one
# number a color; a score is minus a cost. Costs are only determined up to a common factor and a common shift (all paths
# have nine fields), so the page compares them after standardizing. Fresh maps tell how often the path is exactly right.

# %%
COSTS = jnp.array([0.2, 1.0, 2.5])
STEPS = 60 if FAST else 300
colors = jax.random.randint(jax.random.key(5), (400, SIDE, SIDE), 0, 3)
cheapest = jax.jit(jax.vmap(lambda costs, c: by_search(-costs[c]), (None, 0)))
answers = cheapest(COSTS, colors)
best_cost = jnp.sum(COSTS[colors] * answers, (1, 2))


def loss(costs, key, batch):
    maps, paths = batch
    one = lambda key, c, y: fenchel_young(-costs[c], y, key, lt.Pathwise(), 4)
    return jnp.mean(jax.vmap(one)(jax.random.split(key, len(maps)), maps, paths))


fit = lt.minimize(
    jax.random.key(6),
    loss,
    jnp.zeros(3),
    optax.adam(0.05),
    num_steps=STEPS,
    data=(colors[:200], answers[:200]),
    batch_size=20,
)
standard = lambda c: (c - c.mean()) / c.std()
print("true costs, standardized:   ", np.round(standard(COSTS), 2))
print("learned costs, standardized:", np.round(standard(fit.params), 2))


def excess(costs):
    """How much more the chosen path costs than the best, over the 200 fresh maps; and how often it is as good."""
    chosen = cheapest(costs, colors)[200:]
    extra = jnp.sum(COSTS[colors[200:]] * chosen, (1, 2)) / best_cost[200:] - 1.0
    return abs(float(extra.mean())), float(jnp.mean(extra < 1e-5))


for name, costs in (("before", jnp.array([0.01, 0.0, 0.02])), ("after", fit.params)):
    extra, optimal = excess(costs)
    print(f"{name:7s}paths cost {extra:.1%} more than the best; {optimal:.0%} are best")
assert excess(fit.params)[0] < 0.02

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained", width_ratios=(1.3, 1, 1))
axes[0].plot(fit.history.value, color="C0", lw=1)
axes[0].set(
    xlabel="step", ylabel="loss, up to a constant", title="Fenchel–Young loss, 20 maps a step"
)
shown = colors[399]
for ax, y, title in (
    (axes[1], answers[399], "a fresh map, and its best path"),
    (
        axes[2],
        expected_path(-fit.params[shown], jax.random.key(7)),
        "expected path at the learned costs",
    ),
):
    image = ax.imshow(COSTS[shown], cmap="gray_r", vmin=0, vmax=4)
    for (r, c), share in np.ndenumerate(np.asarray(y)):
        ax.plot(c, r, "o", color="C1", ms=14 * float(share) ** 0.5)
    ax.set(title=title, xticks=[], yticks=[], xlabel="darker fields cost more")
_ = axes[2].set_xlabel("area of a dot: probability of the field")

# %% [markdown]
# **Where next:** `which_estimator.ipynb` has the same comparison of estimators for plain costs. Any solver may stand in
# the place of this one, also one in NumPy through `lt.black_box(f, result_shape=…)`: the score function only needs its answer.

# %% [markdown]
# # A simulator that you cannot differentiate
#
# An epidemic on a 20 × 20 grid of agents: each day an infected agent infects each of its eight neighbors with
# probability $\beta$, and recovers with probability $\gamma$. The simulator is plain NumPy, its events are discrete, and it
# has random numbers of its own. From one noisy curve of daily counts we want $\beta$ and $\gamma$, **and how sure we can be**.
# There is no derivative anywhere; the log-derivative trick needs none.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import logtrick as lt

FAST = bool(os.environ.get("LOGTRICK_FAST"))  # the tests take fewer steps
SIDE, DAYS, SURVEY_ERROR = 20, 30, 20.0
rng = np.random.default_rng(0)


def neighbors(infected):
    """How many of the eight neighbors are infected, on a grid whose opposite edges meet."""
    rows = infected + np.roll(infected, 1, 1) + np.roll(infected, -1, 1)
    return rows + np.roll(rows, 1, 2) + np.roll(rows, -1, 2) - infected


def simulate(z):
    """Daily counts of infected agents, (n, DAYS), for n rows of logits (β, γ)."""
    beta, gamma = (1.0 / (1.0 + np.exp(-z.astype(np.float32).T)))[:, :, None, None]
    infected = np.zeros((len(z), SIDE, SIDE), np.float32)
    infected[:, ::7, ::7] = 1.0  # nine agents, spread over the grid
    susceptible = 1.0 - infected
    counts = []
    for _ in range(DAYS):
        counts.append(infected.sum((1, 2)))
        hit = rng.random(infected.shape, np.float32) > (1.0 - beta) ** neighbors(infected)
        new = susceptible * hit
        cured = infected * (rng.random(infected.shape, np.float32) < gamma)
        infected, susceptible = infected + new - cured, susceptible - new
    return np.stack(counts, -1)


# %% [markdown]
# **The data**: one outbreak at $\beta = 0.08$, $\gamma = 0.15$, seen through a survey whose counts err by 20 agents.

# %%
TRUTH = np.array([0.08, 0.15])
logit = lambda p: np.log(p / (1.0 - p))
outbreaks = simulate(np.repeat(logit(TRUTH)[None], 200, 0))
print(f"standard deviation of the simulator itself: {outbreaks.std(0).max():.1f} agents at most")
surveys = outbreaks + SURVEY_ERROR * rng.normal(size=outbreaks.shape)
data = surveys[0]  # the other 199 are for a check at the end


TWINS = 8


def log_mean_exp(log_p, axis):
    return np.logaddexp.reduce(log_p, axis) - np.log(log_p.shape[axis])


def log_likelihood(z):
    """log of the mean of p(data | curve) over 8 simulated curves, for rows of logits; the survey's errors are normal."""
    curves = simulate(np.repeat(z, TWINS, 0)).reshape(len(z), TWINS, DAYS)
    return log_mean_exp(-0.5 * np.sum(((curves - data) / SURVEY_ERROR) ** 2, -1), -1)


simulator = lt.black_box(log_likelihood, batched=True)

# %% [markdown]
# ## Calibration with uncertainty
#
# Let $z$ be the logits of $(\beta, \gamma)$, with a wide normal prior, and $q$ a two-dimensional normal distribution that is to
# become the posterior. The likelihood of $z$ is itself a mean over simulated curves, $p(\text{data} \mid z) =
# \mathbb E_\text{curve}[p(\text{data} \mid \text{curve})]$, and eight curves estimate it. The lower bound of the evidence
#
# $$ \mathrm{ELBO}(q) = \mathbb{E}_{z \sim q}\,\mathbb{E}_\text{curves}\big[ \log \tfrac18 \textstyle\sum_{k=1}^{8}
#    p(\text{data} \mid \text{curve}_k) \big] + \mathbb{E}_{z \sim q}[\log p(z) - \log q(z)] $$
#
# is an expectation over draws of $z$ and over the simulator's own randomness. Its gradient by the score function needs only
# the number that the simulator returns. `lt.black_box` lets JAX call it: one call of NumPy for all draws of a step.


# %%
RLOO = lt.ScoreFunction()  # leave-one-out is its default baseline
PRIOR = lt.MultivariateNormal(jnp.array([-2.0, -2.0]), 1.5 * jnp.eye(2))


def guide(params):
    scale = jnp.diag(jnp.exp(params["log_diagonal"])).at[1, 0].set(params["below"])
    return lt.MultivariateNormal(params["mean"], scale)


def elbo(params, key, estimator=RLOO):
    q = guide(params)
    f = lambda z: simulator(z) + PRIOR.log_prob(z) - q.log_prob(z)
    return lt.expect(key, f, q, estimator=estimator, num_samples=16)


start = {
    "mean": jnp.array([-2.0, -2.0]),
    "log_diagonal": jnp.array([-1.0, -1.0]),
    "below": jnp.array(0.0),
}

# %% [markdown]
# **The baseline matters more than anything else here.** Far from the data the log-likelihood is a large negative number, and
# without a baseline that number multiplies the noise of every score. The standard deviation of one gradient of the means,
# from 16 draws of $z$:

# %%
keys = jax.random.split(jax.random.key(0), 40)
deviation = {}
for name, estimator in (
    ("no baseline", lt.ScoreFunction(lt.NoBaseline())),
    ("leave-one-out", RLOO),
):
    gradient = jax.jit(jax.vmap(jax.grad(lambda p, k: elbo(p, k, estimator)), (None, 0)))
    deviation[name] = np.asarray(gradient(start, keys)["mean"]).std(0)
    print(f"{name:14s}", *(f"{d:9.0f}" for d in deviation[name]))
assert np.all(deviation["no baseline"] > deviation["leave-one-out"])

# %%
STEPS = 100 if FAST else 300
optimizer = optax.adam(optax.cosine_decay_schedule(0.05, STEPS))
fit = lt.maximize(jax.random.key(1), elbo, start, optimizer, num_steps=STEPS)
q = guide(fit.params)
z = np.asarray(jax.vmap(q.sample)(jax.random.split(jax.random.key(2), 4000)), float)
found = 1.0 / (1.0 + np.exp(-z))

# %% [markdown]
# ## Is it right?
#
# With two parameters the same posterior can be computed by brute force: 32 simulations at each of 21 × 21 grid points, the
# mean likelihood there, times the prior, normalized over the grid. A grid over six parameters would have 21⁶ = 86 million
# points; the fit above would hardly notice.

# %%
POINTS, REPEATS = (13, 8) if FAST else (21, 32)
center, spread = z.mean(0), z.std(0)
axes = [np.linspace(c - 4 * s, c + 4 * s, POINTS) for c, s in zip(center, spread)]
grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
simulated = np.stack([simulate(grid) for _ in range(REPEATS)])  # (repeats, points, days)
log_prior = np.asarray(jax.vmap(PRIOR.log_prob)(jnp.asarray(grid, jnp.float32)))


def posterior_by_grid(survey, mean=log_mean_exp):
    log_p = mean(-0.5 * np.sum(((simulated - survey) / SURVEY_ERROR) ** 2, -1), 0) + log_prior
    weights = np.exp(log_p - log_p.max())
    return weights / weights.sum()


posterior = posterior_by_grid(data)
by_grid = posterior @ grid
grid_spread = np.sqrt(posterior @ (grid - by_grid) ** 2)
print(f"{'':20s}{'logit β':>16s}{'logit γ':>18s}")
for name, m, s in (("score function", center, spread), ("brute force", by_grid, grid_spread)):
    print(f"{name:20s}" + "".join(f"{a:10.2f} ± {b:.2f}  " for a, b in zip(m, s)))
print(f"{'truth':20s}" + "".join(f"{a:10.2f}         " for a in logit(TRUTH)))
for name, column, true in zip("βγ", found.T, TRUTH):
    low, high = np.quantile(column, [0.025, 0.975])
    print(f"{name}: {column.mean():.3f}, 95 % interval {low:.3f} to {high:.3f}; truth {true}")
assert np.all(np.abs(center - by_grid) < 3 * grid_spread)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.0), layout="constrained")
curves = simulate(z[:60])
left.plot(curves.T, color="C0", lw=0.6, alpha=0.35)
left.plot([], [], color="C0", label="simulations at draws of q")
left.plot(simulate(np.array([[-2.0, -2.0]] * 15)).T, color="C1", lw=0.6, alpha=0.5)
left.plot([], [], color="C1", label="simulations at the starting point")
left.errorbar(
    np.arange(DAYS), data, SURVEY_ERROR, fmt="k.", ms=4, lw=0.8, label="data ± survey error"
)
left.set(xlabel="day", ylabel="infected agents of 400", title="The outbreak")
left.legend(frameon=False, fontsize=8, loc="upper right")
covariance = (posterior * (grid - by_grid).T) @ (grid - by_grid)
circle = np.stack([np.cos(np.linspace(0, 2 * np.pi, 100)), np.sin(np.linspace(0, 2 * np.pi, 100))])
for share, style in ((0.5, "-"), (0.9, "--")):
    ellipse = (
        by_grid[:, None] + np.sqrt(-2 * np.log(1 - share)) * np.linalg.cholesky(covariance) @ circle
    )
    right.plot(*ellipse, color="black", ls=style, lw=1.2, label=f"brute force, {share:.0%} ellipse")
right.plot(z[:400, 0], z[:400, 1], ".", ms=3, color="C0", alpha=0.6, label="draws of q")
right.plot(*logit(TRUTH), "*", ms=12, color="C3", label="truth")
right.set(
    xlabel=r"logit of $\beta$",
    ylabel=r"logit of $\gamma$",
    title="The posterior, by score function and by grid",
)
right.set(ylim=(axes[1][0], axes[1][-1] + 0.2))
_ = right.legend(frameon=False, loc="upper left", fontsize=9)

# %% [markdown]
# ## Can the uncertainty be trusted?
#
# A 90 % interval should miss the truth once in ten outbreaks. Here are those of 100 outbreaks, by brute force. The second
# line is a warning: averaging the *log*-likelihood over the curves (which is what one simulation for each draw would do)
# takes the simulator's own spread for an error of the parameters, and its intervals are much too short.

# %%
around = [np.linspace(m - 0.6, m + 0.6, POINTS) for m in logit(TRUTH)]
grid = np.stack(np.meshgrid(*around, indexing="ij"), -1).reshape(-1, 2)
simulated = np.stack([simulate(grid) for _ in range(REPEATS)])
log_prior = np.asarray(jax.vmap(PRIOR.log_prob)(jnp.asarray(grid, jnp.float32)))
for name, mean in (("mean of the likelihood", log_mean_exp), ("mean of its logarithm", np.mean)):
    below = grid < logit(TRUTH)
    ranks = np.array([posterior_by_grid(survey, mean) @ below for survey in surveys[:100]])
    share = np.mean((ranks > 0.05) & (ranks < 0.95), 0)
    print(
        f"{name:24s}the 90 % intervals of β and γ hold the truth in", *(f"{c:.0%}" for c in share)
    )

# %% [markdown]
# The simulator draws from a generator of NumPy's, so that another version of NumPy gives another outbreak.
#
# **Where next:** `evolution_strategies.ipynb` uses the same gradient to minimize; `variational_inference.ipynb` fits posteriors
# whose log density can be differentiated, and judges them.

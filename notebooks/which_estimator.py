# %% [markdown]
# # Which estimator?
#
# Many estimators give the gradient of the same expectation. They differ in bias, in variance, and in how often they
# evaluate $f$. Which is best depends on the problem, so the answer is a measurement: `lt.compare_estimators` takes your
# objective with several estimators and prints a table. Here it is on two problems for which the exact gradient is known.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import logtrick as lt

# %% [markdown]
# ## Discrete draws: twelve coins
#
# $f$ penalizes neighbors that differ and rewards a pattern. Twelve bits have 4096 states, so that `lt.Enumerate()` is exact
# and serves as the reference. Every objective is a function of the parameters and a key; only the estimator changes.

# %%
PATTERN = jnp.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
logits = 1.5 * jnp.sin(jnp.arange(12.0))


def energy(x):
    return jnp.sum((x[1:] - x[:-1]) ** 2) + jnp.sum((x - PATTERN) ** 2) + 0.1 * jnp.sum(x) ** 2


def coins(estimator, n):
    return lambda logits, key: lt.expect(
        key, energy, lt.Bernoulli(logits), estimator=estimator, num_samples=n
    )


# About 8 evaluations of the energy in each gradient.
contenders = {
    "REINFORCE, no baseline": coins(lt.ScoreFunction(lt.NoBaseline()), 8),
    "leave-one-out (default)": coins(lt.ScoreFunction(), 8),
    "ARM": coins(lt.ARM(), 4),
    "DisARM": coins(lt.DisARM(), 4),
    "ARMS(8)": coins(lt.ARMS(8), 1),
    "straight-through": coins(lt.StraightThrough(), 8),
    "Gumbel-softmax(0.5)": coins(lt.GumbelSoftmax(0.5), 8),
}
exact = lambda logits: coins(lt.Enumerate(), 1)(logits, jax.random.key(0))
race = lt.compare_estimators(
    jax.random.key(1), contenders, logits, reference=exact, num_replicates=2000, num_timings=0
)
print(race)

# %% [markdown]
# Read it in this order. **Bias first**: a large |z| says that the mean over 2000 gradients is not the exact gradient.
# Straight-through and Gumbel-softmax are declared biased, and the table says so; the line below it says that Gumbel-softmax
# even has the value of another expectation, since it evaluates $f$ at relaxed draws and not at bits. **Then variance ×
# cost**: at a fixed budget of evaluations the estimator with the smaller product wins. (Time is left out here,
# since it differs from machine to machine; without `num_timings=0` the table has it.)
#
# The figure has both at once. The red square is how far the mean of 1000 gradients is from the exact one; where there is
# no bias, it lies near the black mark.

# %%
truth = jax.grad(exact)(logits)
keys = jax.random.split(jax.random.key(2), 1000)
errors = {}
for name, objective in contenders.items():
    draws = jax.jit(jax.vmap(jax.grad(objective), (None, 0)))(logits, keys)
    errors[name] = (jnp.linalg.norm(draws.mean(0) - truth), jnp.sqrt(draws.var(0).sum()))

fig, ax = plt.subplots(figsize=(7.6, 3.8), layout="constrained")
rows = np.arange(len(errors))
bias, noise = np.array(list(errors.values())).T
floor = noise / np.sqrt(1000)  # an unbiased mean of 1000 gradients is about this far off
ax.hlines(rows, floor, noise, color="0.85", lw=1, zorder=0)
ax.plot(noise, rows, "o", color="C0", label="standard deviation of one gradient")
ax.plot(bias, rows, "s", ms=5, color="C3", label="distance of their mean from the exact gradient")
ax.plot(floor, rows, "|", ms=12, color="black", label="the same if there is no bias")
ax.set_yticks(rows, list(errors))
ax.invert_yaxis()
ax.set_xscale("log")
ax.set_xlabel("Euclidean norm over the 12 logits; 1000 gradients")
ax.set_title("Twelve coins, about 8 evaluations a gradient")
_ = fig.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=3)
assert noise[1] < noise[0] and bias[1] < 5 * noise[1] / np.sqrt(1000)

# %% [markdown]
# ## Continuous draws: smooth is not enough for pathwise
#
# For $x \sim \mathcal N(\mu, 1)$ and a smooth $f$ the pathwise (reparameterization) gradient is the usual choice. But its
# variance is that of $f'$, which grows with the frequency of $f$; the score function's is that of $f$, which does not. For
# $f(x) = \cos kx$ the exact derivative is $-k \sin(k\mu)\, e^{-k^2/2}$, and the two lines cross. Measure-valued derivatives
# (three samples of five evaluations here) have the smallest variance for slow $f$; in the middle the score function has.

# %%
FREQUENCIES = jnp.array([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
MU = 0.7
ESTIMATORS = {
    "pathwise": (lt.Pathwise(), 16),
    "score function": (lt.ScoreFunction(), 16),
    "measure-valued": (lt.MeasureValued(), 3),  # five evaluations a sample
}
keys = jax.random.split(jax.random.key(3), 2000)


def deviation(estimator, n, k):
    def grad(key):
        value = lambda mu: lt.expect(
            key, lambda x: jnp.cos(k * x), lt.Normal(mu, 1.0), estimator=estimator, num_samples=n
        )
        return jax.grad(value)(MU)

    return jnp.std(jax.vmap(grad)(keys))


fig, ax = plt.subplots(figsize=(6.6, 3.8), layout="constrained")
curves = {}
for name, (estimator, n) in ESTIMATORS.items():
    curves[name] = jax.jit(jax.vmap(lambda k: deviation(estimator, n, k)))(FREQUENCIES)
    ax.loglog(FREQUENCIES, curves[name], "o-", label=name)
ax.set_xticks(FREQUENCIES, [f"{k:g}" for k in FREQUENCIES])
ax.set_yticks((0.03, 0.1, 0.3), ("0.03", "0.1", "0.3"))
ax.minorticks_off()
ax.set(
    xlabel="frequency k of f(x) = cos kx",
    ylabel="standard deviation of one gradient",
    title="About 16 evaluations a gradient: smooth is not enough",
)
_ = ax.legend(frameon=False)
assert curves["pathwise"][0] < curves["score function"][0]
assert curves["pathwise"][-1] > curves["score function"][-1]

# %% [markdown]
# ## And when f jumps
#
# $f(x) = 1[x > 1]$ has derivative 0 almost everywhere, so that pathwise gives exactly 0, with variance 0: the smallest
# variance of all, and wrong. The first column of the table says so, which is why it comes first.

# %%
jump = lambda x: jnp.where(x > 1.0, 1.0, 0.0)
tail = {
    name: (
        lambda mu, key, e=e, n=n: lt.expect(
            key, jump, lt.Normal(mu, 1.0), estimator=e, num_samples=n
        )
    )
    for name, (e, n) in ESTIMATORS.items()
}
density = float(jnp.exp(-0.5 * (1.0 - MU) ** 2) / jnp.sqrt(2 * jnp.pi))
print(
    lt.compare_estimators(
        jax.random.key(4), tail, MU, reference=density, num_replicates=2000, num_timings=0
    )
)

# %% [markdown]
# ## What to start with
#
# | your expectation | start with |
# |---|---|
# | few discrete states (D ≤ 10 bits, K ≤ 50 categories) | `Enumerate()`: exact |
# | Markov chains of discrete draws, of any length | `VariableElimination()`: exact |
# | many discrete draws, f a black box | `ScoreFunction()`, 4 or more samples: leave-one-out (RLOO) is free, unbiased |
# | factorized Bernoullis | `DisARM()`, from 3 draws on `ARMS(num_draws)` |
# | low entropy, or a large categorical | `UnorderedSet(num_draws)`, `SumAndSample(num_draws)` |
# | smooth f of a continuous draw | `Pathwise()`; the score function where f varies quickly |
# | the same, some E[h] known | `WithControlVariate(Pathwise(), h, expected_h)` |
# | discontinuous f, few parameters | `MeasureValued()` |
# | one draw a step is all you can afford | `ScoreFunction(MovingAverage())`, `LearnedBaseline` (NVIL, actor–critic) |
# | second derivatives (DiCE) | `ScoreFunction()`, `Enumerate()`, `Pathwise()`, `UnorderedSet(num_draws)` |
# | bias is acceptable | `StraightThroughGumbelSoftmax`, `ReinMax()`: cheap, and declared biased everywhere |
#
# Put the expectation where the randomness is local, too: one `lt.expect` for each data point, under `jax.vmap`, or a program
# with `lt.plate`. See `discrete_latents.ipynb`.
#
# **On your own problem**, put your objective in the place of these and read the same table. `lt.autoselect` races estimators
# by successive halving and returns the winner; `python -m logtrick bench` runs thirteen published problems.
#
# **Where next:** `discrete_latents.ipynb` uses the winners on models with hidden variables; `how_we_know.ipynb` says how the
# estimators are tested.

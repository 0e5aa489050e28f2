# %% [markdown]
# # Your own log-prob function
#
# A distribution in logtrick is two plain functions of **one** draw: `log_prob(params, x)`, a number, and
# `sample(key, params)`, a draw. `jax.grad` of the first is the score; nothing else is needed for a gradient. This page
# writes such a pair, checks that its two halves belong together, and shows what goes wrong where they do not.
#
# The example: how many callers wait at a help desk? With probability $\pi$ the lines are closed and nobody waits. When they
# are open, the queue has a geometric length (as queues with random arrivals have in the long run; $\rho < 1$ is the load).
# That law, a *zero-inflated geometric*, is not in the library:
#
# $$ p(0) = \pi + (1 - \pi)(1 - \rho), \qquad p(x) = (1 - \pi)\,(1 - \rho)\, \rho^x \quad (x = 1, 2, \dots). $$

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from jax.nn import log_sigmoid, sigmoid

import logtrick as lt


def log_prob(params, x):
    log_closed, log_open = log_sigmoid(params["closed"]), log_sigmoid(-params["closed"])
    log_geometric = log_sigmoid(-params["load"]) + x * log_sigmoid(params["load"])
    waiting = log_open + log_geometric
    return jnp.where(x == 0, jnp.logaddexp(log_closed, waiting), waiting)


def sample(key, params):
    coin, length = jax.random.split(key)
    closed = jax.random.uniform(coin) < sigmoid(params["closed"])
    u = jax.random.uniform(length, minval=1e-7)
    return jnp.where(closed, 0.0, jnp.floor(jnp.log(u) / log_sigmoid(params["load"])))


callers = lt.distribution(log_prob, sample)
params = {"closed": jnp.array(0.4), "load": jnp.array(0.5)}  # logits of π and ρ

# %% [markdown]
# `callers(params)` is a distribution like the ones that are shipped. The parameters are any pytree of real arrays. Here
# they are logits and live on the whole real line, so that an optimizer cannot push them out of their range.

# %%
dist = callers(params)
print("one draw:            ", dist.sample(jax.random.key(0)))
print("its log-probability: ", dist.log_prob(3.0))
print("the score at x = 3:  ", lt.score(log_prob, params, 3.0))

# %% [markdown]
# ## Check it before you use it
#
# Nothing in a gradient estimate looks at whether `sample` draws from `exp(log_prob)`. A pair that does not belong together
# gives a gradient, of the wrong thing. One call compares the two:

# %%
report = lt.testing.check_distribution(jax.random.key(1), callers, params)
for line in report.checked:
    print("holds:", line)

# %% [markdown]
# The check states two error rates. A right pair fails with a probability of at most $10^{-6}$ in each of its statistical parts.
# A wrong pair is seen when the deviation is about 6 standard errors; with the default of 10,000 draws that is, for example,
# an expected score of 6 % of its standard deviation. Smaller faults need more draws (`num_samples=`).
#
# ## Three bugs, planted
#
# Each of these is one plausible slip of the pen. Each of them runs, and trains.


# %%
def swapped(key, params):  # closed and open confused in the sampler
    return sample(key, {**params, "closed": -params["closed"]})


def unnormalized(params, x):  # the factor 1 − ρ of the geometric law forgotten
    waiting = log_sigmoid(-params["closed"]) + x * log_sigmoid(params["load"])
    return jnp.where(x == 0, jnp.logaddexp(log_sigmoid(params["closed"]), waiting), waiting)


def off_by_one(key, params):  # a queue begins at 1
    drawn = sample(key, params)
    return jnp.where(drawn > 0, drawn + 1.0, drawn)


BUGS = {
    "π and 1 − π swapped": lt.distribution(log_prob, swapped),
    "factor 1 − ρ forgotten": lt.distribution(unnormalized, sample),
    "queue off by one": lt.distribution(log_prob, off_by_one),
}
for name, family in BUGS.items():
    try:
        lt.testing.check_distribution(jax.random.key(1), family, params)
    except ValueError as error:
        print(f"{name}:")
        for line in str(error).splitlines()[1:]:
            print("   ", line.split(". The sampler and")[0])

# %% [markdown]
# ## What the bugs would have done to a gradient
#
# Three callers can be served at once; each further one waits: $f(x) = \max(x - 3, 0)$. The exact expectation is a sum over
# $x$, and so is its gradient. Below, 1,000 gradient estimates of 64 draws for the right pair and for each wrong one. All of
# them look equally healthy; only one is right. The last line of the cell is the library's own test of an estimate: it fails
# if the mean is off by more than chance allows ($10^{-6}$), and also if 1,000 estimates are too few to see a bias of 30 %.


# %%
def too_many(x):
    return jnp.maximum(x - 3.0, 0.0)


COUNTS = jnp.arange(200.0)
exact_cost = lambda params: jnp.sum(
    jnp.exp(jax.vmap(log_prob, (None, 0))(params, COUNTS)) * too_many(COUNTS)
)
truth = jax.jit(jax.grad(exact_cost))(params)
keys = jax.random.split(jax.random.key(2), 1000)


def gradients(family):
    value = lambda params, key: lt.expect(key, too_many, family(params), num_samples=64)
    return jax.jit(jax.vmap(jax.grad(value), (None, 0)))(params, keys)


estimates = {name: gradients(family) for name, family in {"right": callers, **BUGS}.items()}
print(f"{'':24s}{'d/d logit of π':>18s}{'d/d logit of ρ':>18s}")
print(f"{'exact':24s}{truth['closed']:12.3f}{truth['load']:18.3f}")
for name, g in estimates.items():
    cells = [f"{g[k].mean():.3f} ± {g[k].std() / 1000**0.5:.3f}" for k in ("closed", "load")]
    print(f"{name:24s}{cells[0]:>18s}{cells[1]:>18s}")
lt.testing.assert_unbiased(estimates["right"], truth, resolve=0.3)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.8), layout="constrained")
x = np.arange(11)
mass = jnp.exp(jax.vmap(log_prob, (None, 0))(params, jnp.array(x, float)))
left.bar(x, mass, color="0.85", label="exp(log_prob)")
for family, color, marker, name in (
    (callers, "C0", "o", "draws of the right sampler"),
    (BUGS["queue off by one"], "C3", "x", "draws, queue off by one"),
):
    drawn = jax.vmap(family(params).sample)(jax.random.split(jax.random.key(3), 10_000))
    share = np.bincount(np.array(drawn, int), minlength=11)[:11] / 10_000
    left.plot(x, share, marker, color=color, label=name)
left.set(xlabel="callers waiting x", ylabel="probability", title="The law, and 10,000 draws")
left.set_xticks(x[::2])
left.set_ylim(0.0, 0.11)
left.text(0.6, 0.104, f"p(0) = {mass[0]:.2f} is cut off", fontsize=9, va="center")
left.legend(frameon=False, loc="center right")
rows = np.arange(len(estimates))
means = [g["load"].mean() for g in estimates.values()]
spread = [g["load"].std() for g in estimates.values()]
right.errorbar(means, rows, xerr=spread, fmt="o", color="C0", capsize=3)
right.axvline(float(truth["load"]), color="black", lw=1)
right.text(float(truth["load"]), -0.62, " exact", fontsize=9, va="top")
right.set_yticks(rows, list(estimates))
right.set(
    xlabel="d/d logit of ρ: mean ± standard deviation",
    title="The same gradient from four pairs of functions",
)
_ = right.set_ylim(len(rows) - 0.5, -1.0)

# %% [markdown]
# ## What logtrick refuses
#
# A sampler has no useful derivative here, and differentiating through it would give 0 or half of the answer. A log-prob
# that returns an array would broadcast into a wrong number. Both are errors:

# %%
try:
    jax.grad(lambda params: too_many(callers(params).sample(jax.random.key(0))))(params)
except lt.UnaccountedRandomnessError as error:
    print("UnaccountedRandomnessError:", str(error)[:140], "…")

per_desk = lt.distribution(
    lambda rate, x: jnp.log(rate) - rate * x,
    lambda key, rate: jax.random.exponential(key, (2,)) / rate,
)
try:
    per_desk(jnp.array([1.0, 2.0])).log_prob(jnp.array([0.3, 0.7]))
except ValueError as error:
    print("ValueError:", str(error)[:140], "…")

# %% [markdown]
# ## A support that moves with the parameters
#
# One trap is left that no type can catch. Take $x$ uniform on $[0, w]$ and $f(x) = x^2$: the expectation is $w^2/3$ and its
# derivative $2w/3$. The density is $1/w$, so that the score is $-1/w$ for every draw: it says nothing about *where* $x$ lies.
# What is missing is the edge, which moves outward and takes in new values of $x$. The boundary's term is
# not part of $\mathbb E[f\, \nabla \log p]$, and no number of draws brings it back.

# %%
W = 2.0
wall = lt.distribution(
    lambda w, x: jnp.where((x >= 0) & (x <= w), -jnp.log(w), -jnp.inf),
    lambda key, w: w * jax.random.uniform(key),
)
square = lambda x: x**2
for name, baseline in (("no baseline", lt.NoBaseline()), ("leave-one-out", lt.LeaveOneOut())):
    value = lambda w: lt.expect(
        jax.random.key(4),
        square,
        wall(w),
        estimator=lt.ScoreFunction(baseline),
        num_samples=100_000,
    )
    print(f"score function, {name:14s}{jax.grad(value)(W):8.3f}   exact {2 * W / 3:.3f}")

try:
    lt.testing.check_distribution(jax.random.key(5), wall, W)
except ValueError as error:
    print(*str(error).splitlines()[1:], sep="\n")

# %% [markdown]
# Two ways out. `lt.Uniform` declares that its support moves, and is refused by the score function, but allowed with
# `lt.Pathwise()`. Or move the parameter out of the distribution and into $f$, where it is the direct term: draw
# $u$ on $[0, 1]$, which stands still, and let $f$ compute $x = w u$.

# %%
pathwise = lambda w: lt.expect(
    jax.random.key(6), square, lt.Uniform(0.0, w), estimator=lt.Pathwise(), num_samples=100_000
)
unit = lt.Uniform(0.0, 1.0)
moved = lambda w: lt.expect(jax.random.key(7), lambda u: square(w * u), unit, num_samples=100_000)
for name, value in (("lt.Uniform(0, w), pathwise", pathwise), ("w inside of f", moved)):
    print(f"{name:28s}{jax.grad(value)(W):.3f}   exact {2 * W / 3:.3f}")
    assert abs(jax.grad(value)(W) - 2 * W / 3) < 0.02

# %% [markdown]
# ## Higher derivatives and batches
#
# `lt.expect` is an ordinary number: `jax.hessian`, `jax.vmap` and `jax.jit` apply to it. Three desks with loads of their own,
# one `vmap`; and the second derivative at the second desk, which is right as well:

# %%
cost = lambda load, key: lt.expect(
    key, too_many, callers({"closed": 0.4, "load": load}), num_samples=50_000
)
loads = jnp.array([0.0, 0.5, 1.0])
slopes = jax.jit(jax.vmap(jax.grad(cost)))(loads, jax.random.split(jax.random.key(8), 3))
exact_slope = jax.grad(lambda load: exact_cost({"closed": jnp.array(0.4), "load": load}))
print("three desks, d/d load:", *(f"{slope:6.3f}" for slope in slopes))
print(
    "exact:                ", *(f"{slope:6.3f}" for slope in jax.jit(jax.vmap(exact_slope))(loads))
)
curvature = jax.jit(jax.grad(jax.grad(cost)))(loads[1], jax.random.key(9))
print(f"second derivative: {curvature:.2f}, exact {jax.jit(jax.grad(exact_slope))(loads[1]):.2f}")

# %% [markdown]
# **Where next:** `the_trick.ipynb` has the identity itself; `which_estimator.ipynb` says which estimator to take once the pair
# is right. A distribution of NumPyro, Distrax, TFP, FlowJAX or scipy.stats needs no pair: `lt.adapters` wraps it.

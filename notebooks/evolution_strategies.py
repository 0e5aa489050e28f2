# %% [markdown]
# # Evolution strategies from the parts
#
# An evolution strategy minimizes a function that it can only evaluate. It keeps a cloud of points around the present
# position $\theta$, evaluates all of them, and moves toward the better ones. No package is needed for that: the cloud is a
# normal distribution, and the move is the score-function gradient of an expectation,
#
# $$ F_\sigma(\theta) = \mathbb{E}_{x \sim \mathcal N(\theta, \sigma^2 I)}[f(x)], \qquad
#    \nabla F_\sigma(\theta) = \mathbb{E}\Big[f(x)\, \frac{x - \theta}{\sigma^2}\Big]. $$
#
# $F_\sigma$ is $f$ smoothed at the width $\sigma$. It is smooth even where $f$ jumps.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.scipy.stats import norm

import logtrick as lt

SIGMA = 0.2

# %% [markdown]
# ## What smoothing does
#
# The stairs $f(x) = \lfloor 3 |x| \rfloor$ have slope 0 almost everywhere: nothing that differentiates $f$ moves.
# Smoothed, they have a slope everywhere, and a closed form: each edge contributes a normal distribution function. The
# score function estimates that slope from values of $f$ alone.


# %%
def stairs(x):
    return jnp.sum(jnp.floor(3.0 * jnp.abs(x)))


def smoothed_stairs(theta):
    """E floor(3 |x|): the sum over the edges of the probability to be beyond them."""
    edges = jnp.arange(1, 40) / 3.0
    return jnp.sum(norm.cdf((theta - edges) / SIGMA) + norm.cdf((-theta - edges) / SIGMA))


def smoothed(f, theta, key, n=100):
    cloud = lt.Normal(theta, SIGMA)
    mirrored = lt.ScoreFunction(lt.NoBaseline(), plan=lt.Antithetic())
    return lt.expect(key, f, cloud, estimator=mirrored, num_samples=n)


at = jnp.linspace(-1.5, 1.5, 25)
estimate = jax.jit(jax.vmap(jax.value_and_grad(lambda t, key: smoothed(stairs, t, key, 2000))))
values, slopes = estimate(at, jax.random.split(jax.random.key(0), len(at)))
grid = jnp.linspace(-1.6, 1.6, 400)

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
left.plot(
    grid, jnp.floor(3 * jnp.abs(grid)), color="0.6", lw=1, label=r"$f(x) = \lfloor 3|x| \rfloor$"
)
left.plot(grid, jax.vmap(smoothed_stairs)(grid), color="black", lw=1.2, label=r"$F_\sigma$, exact")
left.plot(at, values, "o", ms=4, color="C0", label=r"$F_\sigma$, 2,000 evaluations")
left.set(xlabel=r"$\theta$", ylabel="value", title=r"Stairs, smoothed at $\sigma = 0.2$")
left.legend(frameon=False, loc="upper center")
right.plot(grid, jax.vmap(jax.grad(smoothed_stairs))(grid), color="black", lw=1.2, label="exact")
right.plot(at, slopes, "o", ms=4, color="C0", label="score function")
right.axhline(0.0, color="0.6", lw=1, label="the slope of f itself")
right.set(xlabel=r"$\theta$", ylabel=r"slope of $F_\sigma$", title="There is a slope to follow")
right.legend(frameon=False, loc="upper left", fontsize=9)
error = jnp.abs(slopes - jax.vmap(jax.grad(smoothed_stairs))(at))
print(f"largest error of the 25 slopes: {error.max():.2f}")
assert error.max() < 0.7

# %% [markdown]
# ## It is OpenAI's evolution strategy
#
# Salimans et al. (2017) publish the update as: draw $\epsilon_1, \dots, \epsilon_n$ in mirrored pairs $\pm\epsilon$, and take
#
# $$ g = \frac{1}{n \sigma} \sum_{i=1}^n f(\theta + \sigma \epsilon_i)\, \epsilon_i . $$
#
# Below, $g$ is computed by this formula from the very draws that `lt.expect` used (`aux.draws`). The two agree to rounding.
# The default baseline, leave-one-out, leaves out the whole pair here, and gives both members of the pair the same
# baseline; in $(f(\theta + \sigma\epsilon) - f(\theta - \sigma\epsilon))\, \epsilon$ it cancels, so that it changes
# nothing either.


# %%
def rosenbrock(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def gradient_by(baseline, theta, key, n=64):
    estimator = lt.ScoreFunction(baseline, plan=lt.Antithetic())
    value = lambda theta: lt.expect(
        key, rosenbrock, lt.Normal(theta, SIGMA), estimator=estimator, num_samples=n, has_aux=True
    )
    return jax.grad(value, has_aux=True)(theta)


theta, key = jnp.array([-0.5, 0.8, 0.3]), jax.random.key(1)
ours, aux = gradient_by(lt.NoBaseline(), theta, key)
eps = (aux.draws - theta[None]) / SIGMA
published = (jax.vmap(rosenbrock)(theta[None] + SIGMA * eps)[:, None] * eps).mean(0) / SIGMA
with_baseline, _ = gradient_by(lt.LeaveOneOut(), theta, key)
print("mirrored pairs:", bool(jnp.allclose(eps[0::2], -eps[1::2], atol=1e-5)))
for name, g in (
    ("lt.expect, no baseline", ours),
    ("the published formula", published),
    ("lt.expect, leave-one-out", with_baseline),
):
    print(f"{name:26s}", *(f"{c:10.3f}" for c in g))
np.testing.assert_allclose(ours, published, rtol=1e-4)
np.testing.assert_allclose(with_baseline, published, rtol=1e-3)

# %% [markdown]
# ## The natural gradient
#
# The cloud may learn its own shape. With parameters $\phi$ = (mean, triangular factor of the covariance) the plain gradient
# depends on how $\phi$ is written down; the *natural* gradient $\mathcal F^{-1} \nabla F$ does not. $\mathcal F$ is the
# Fisher matrix of the cloud, and `lt.fisher` estimates it from the same draws. For the mean of $\mathcal N(\theta,
# \sigma^2 I)$ it is $I/\sigma^2$:

# %%
draws = aux.draws
mean_log_prob = lambda theta, x: lt.Normal(theta, SIGMA).log_prob(x)
print("Fisher matrix by 64 draws, times σ²  (exact: the identity)")
fisher = np.asarray(lt.fisher(mean_log_prob, theta, draws).dense())
print(np.round(fisher * SIGMA**2, 2))


# %% [markdown]
# The step below is the natural gradient at a length that moves the cloud by a fixed Kullback–Leibler divergence,
# $\tfrac12 \delta^2$ (Wierstra et al., 2014, and trust-region methods since). It is three lines: gradient, solve, scale.


# %%
def cloud(params):
    scale = jnp.diag(jnp.exp(params["log_diagonal"])) + jnp.tril(params["below"], -1)
    return lt.MultivariateNormal(params["mean"], scale)


def natural_step(params, key, f, delta=0.5, n=64):
    mirrored = lt.ScoreFunction(plan=lt.Antithetic())
    value = lambda params: lt.expect(
        key, f, cloud(params), estimator=mirrored, num_samples=n, has_aux=True
    )
    gradient, aux = jax.grad(value, has_aux=True)(params)
    log_prob = lambda params, x: cloud(params).log_prob(x)
    direction = lt.fisher(log_prob, params, aux.draws, damping=1e-3).solve(gradient)
    length = jnp.sqrt(optax.tree.vdot(gradient, direction))
    new = jax.tree.map(lambda p, d: p - delta * d / (length + 1e-30), params, direction)
    return new, (f(new["mean"]), new["mean"])


# %% [markdown]
# ## Four functions
#
# The sphere $|x|^2$; Rosenbrock's curved valley; the stairs, which cannot be differentiated; and a noisy sphere, whose every
# evaluation adds a fresh normal number. The noise of the last one comes from `lt.fresh_key()` in a program: a key of its
# own for every sample. Plain: a cloud of fixed width and Adam, by `lt.minimize`. Natural: the step above. Both use 64
# evaluations a step and start at (−1.2, 1.0, …); what is shown is $f$ at the mean of the cloud.

# %%
STEPS, START = 300, jnp.array([-1.2, 1.0])
sphere = lambda x: jnp.sum(x**2)
FUNCTIONS = {"sphere": sphere, "Rosenbrock": rosenbrock, "stairs": stairs}


def noisy_sphere(params):
    x = yield lt.sample(lt.Normal(params, SIGMA), lt.ScoreFunction(plan=lt.Antithetic()))
    key = yield lt.fresh_key()
    yield lt.cost(sphere(x) + jax.random.normal(key))


def plain(name):
    if name == "noisy sphere":
        objective = lambda theta, key: lt.expect_program(key, noisy_sphere, theta, num_samples=64)
    else:
        objective = lambda theta, key: smoothed(FUNCTIONS[name], theta, key, 64)
    with_position = lambda theta, key: (objective(theta, key), {"0": theta[0], "1": theta[1]})
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, STEPS))
    fit = lt.minimize(jax.random.key(2), with_position, START, optimizer, num_steps=STEPS)
    return jnp.stack([fit.history.metrics["0"], fit.history.metrics["1"]], -1)


def natural(f):
    start = {"mean": START, "log_diagonal": jnp.zeros(2), "below": jnp.zeros((2, 2))}
    keys = jax.random.split(jax.random.key(3), STEPS)
    return jax.jit(lambda: jax.lax.scan(lambda p, k: natural_step(p, k, f), start, keys))()[1][1]


paths = {("plain", name): plain(name) for name in (*FUNCTIONS, "noisy sphere")}
paths |= {("natural", name): natural(FUNCTIONS[name]) for name in ("sphere", "Rosenbrock")}
print(f"{'f at the mean after':28s}" + "".join(f"{k:>12d}" for k in (0, 50, 150, 299)))
truth = {**FUNCTIONS, "noisy sphere": sphere}
curves = {}
for (way, name), path in paths.items():
    curves[way, name] = jax.vmap(truth[name])(path)
    shown = "".join(f"{curves[way, name][k]:12.2g}" for k in (0, 50, 150, 299))
    print(f"{name + ', ' + way:28s}{shown}")

# %% [markdown]
# On Rosenbrock the plain strategy stops early, and not by bad luck. It minimizes $F_\sigma$, not $f$, and for normal
# clouds $F_\sigma$ is known: its minimizer is $m_1 = 1/(1 + 400 \sigma^2)$, $m_2 = m_1^2 + \sigma^2$, far from (1, 1). The
# cloud that learns its shape can make itself narrow and long, and goes on along the valley, though slowly.

# %%
m = 1.0 / (1.0 + 400.0 * SIGMA**2)
smoothed_best = np.array([m, m**2 + SIGMA**2])
found = np.asarray(paths["plain", "Rosenbrock"][-1])
print(
    "minimizer of the smoothed Rosenbrock: exact", smoothed_best.round(3), "found", found.round(3)
)
assert np.abs(found - smoothed_best).max() < 0.1
assert curves["natural", "Rosenbrock"][-1] < 0.6 * curves["plain", "Rosenbrock"][-1]
assert curves["plain", "stairs"][-1] == 0.0 and curves["plain", "noisy sphere"][-1] < 0.02

fig, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.0), layout="constrained")
x, y = np.meshgrid(np.linspace(-1.6, 1.3, 200), np.linspace(-0.6, 1.8, 200))
valley = 100.0 * (y - x**2) ** 2 + (1.0 - x) ** 2
left.contour(x, y, np.log10(valley + 1e-3), levels=8, colors="0.75", linewidths=0.8)
for way, color in (("plain", "C0"), ("natural", "C1")):
    path = np.asarray(paths[way, "Rosenbrock"])
    left.plot(
        path[:, 0], path[:, 1], ".-", ms=3, lw=0.8, color=color, label=f"{way}, mean of the cloud"
    )
left.plot(
    *smoothed_best, "s", color="black", ms=6, mfc="none", label=r"minimizer of $F_\sigma$, exact"
)
left.plot(1.0, 1.0, "*", color="black", ms=10, label="minimizer of f")
left.set(xlabel=r"$x_1$", ylabel=r"$x_2$", title="Rosenbrock's valley", ylim=(-0.6, 1.8))
left.legend(frameon=False, fontsize=8, loc="lower left")
for (way, name), curve in curves.items():
    style = "-" if way == "plain" else "--"
    color = f"C{list(truth).index(name) + 2}"
    right.semilogy(np.maximum(curve, 1e-7), style, color=color, lw=1.2, label=f"{name}, {way}")
right.set(
    xlabel="step (64 evaluations each)",
    ylabel="f at the mean of the cloud (cut off at 1e-7)",
    title="Four functions, two strategies",
    ylim=(5e-8, 300),
)
_ = right.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")

# %% [markdown]
# **Where next:** `which_estimator.ipynb` compares the score function with measure-valued derivatives, which need fewer
# evaluations in few dimensions; `agent_based_model.ipynb` fits a simulator in this way.

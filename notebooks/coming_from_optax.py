# %% [markdown]
# # Coming from optax, NumPyro, TFP and others
#
# optax had a small module of gradient estimators, `optax.monte_carlo`, until it was removed in version 0.2.7. This page sets
# each of its functions beside the call that does the same here, and checks each call against a closed form. The second half
# translates NumPyro, TFP, storchastic and genjax, and shows a policy written with flax.nnx and with equinox.
#
# The problem is one for which everything is known: $x \sim \mathcal N(\mu, \sigma^2)$ with $\sigma = e^\ell$, and
# $f(x) = \cos x$. Then $F = \mathbb E f = \cos(\mu)\, e^{-\sigma^2/2}$, and
#
# $$ \frac{\partial F}{\partial \mu} = -\sin(\mu)\, e^{-\sigma^2/2}, \qquad
#    \frac{\partial F}{\partial \ell} = -\sigma^2 \cos(\mu)\, e^{-\sigma^2/2} . $$

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import logtrick as lt

PARAMS = (jnp.array(0.8), jnp.array(-0.2))  # μ and ℓ, as optax's multi_normal(mean, log_scale)
N = 4000


def normal(mean, log_scale):
    return lt.Normal(mean, jnp.exp(log_scale))


mu, sigma = float(PARAMS[0]), float(jnp.exp(PARAMS[1]))
EXACT = np.array([-np.sin(mu), -(sigma**2) * np.cos(mu)]) * np.exp(-(sigma**2) / 2)

# %% [markdown]
# ## The Jacobians
#
# optax's functions returned one Jacobian for each draw, with a leading axis `num_samples`, to be averaged by the caller:
#
# ```text
# jac = optax.monte_carlo.score_function_jacobians(jnp.cos, params, dist_builder, key, num_samples)
# ```
#
# Here the expectation is an ordinary number, and its `jax.grad` is the average. The name of the function has become the
# `estimator=` argument:


# %%
def value(params, key, estimator, n=N):
    return lt.expect(key, jnp.cos, normal(*params), estimator=estimator, num_samples=n)


gradient = jax.grad(value)(PARAMS, jax.random.key(0), lt.ScoreFunction(lt.NoBaseline()))
print("score function:", *(f"{g:.3f}" for g in gradient), "   exact:", *(f"{g:.3f}" for g in EXACT))

# %% [markdown]
# For one Jacobian a draw, as optax returned them (to see their variance), put the keys under `jax.vmap`. All of optax's
# functions in this way, with their standard errors:

# %%
CALLS = {
    "score_function_jacobians": lt.ScoreFunction(lt.NoBaseline()),
    "pathwise_jacobians": lt.Pathwise(),
    "measure_valued_jacobians, coupled": lt.MeasureValued(),
    "measure_valued_jacobians, not coupled": lt.MeasureValued(coupled=False),
    "control_delta_method, score function": lt.ScoreFunction(lt.DeltaMethod()),
}
keys = jax.random.split(jax.random.key(1), N)


def jacobians(estimator, keys, n=1):
    one = lambda key: jnp.stack(jax.grad(value)(PARAMS, key, estimator, n))
    return jax.jit(jax.vmap(one))(keys)


found = {name: jacobians(estimator, keys) for name, estimator in CALLS.items()}

# %% [markdown]
# `control_variates_jacobians` combined a control variate with an estimator, and with `estimate_cv_coeffs=True` regressed its
# coefficient on further draws. `lt.ControlVariate(h, expected_h)` takes any `h` of known expectation and regresses the
# coefficient on the *other* draws of the same call, which keeps the gradient unbiased and costs no evaluation of $f$ (it
# needs at least three draws). That is a baseline of the score function; `lt.WithControlVariate(estimator, h, expected_h)`
# does the same for the other estimators. Here $h(x) = x^2$, whose expectation is $\mu^2 + \sigma^2$. `lt.LeaveOneOut()`,
# the default of the score function, is the control variate that optax did not have.

# %%
square = (lambda x: x**2, lambda dist: dist.loc**2 + dist.scale**2)  # h, and its expectation
few = jax.random.split(jax.random.key(3), N // 8)
CONTROLLED = {
    "score function": lt.ScoreFunction(lt.ControlVariate(*square)),
    "pathwise": lt.WithControlVariate(lt.Pathwise(), *square),
    "measure-valued": lt.WithControlVariate(lt.MeasureValued(), *square),
}
for name, estimator in CONTROLLED.items():
    found[f"control_variates_jacobians, {name}, 8 draws"] = jacobians(estimator, few, 8)
found["(new) leave-one-out, 8 draws"] = jacobians(lt.ScoreFunction(), few, 8)

print(f"{'':52s}{'∂F/∂μ':>8s}{'∂F/∂ℓ':>17s}{'largest |z|':>21s}")
print(f"{'closed form':52s}{EXACT[0]:8.3f}{EXACT[1]:17.3f}")
summary = {}
for name, draws in found.items():
    draws = np.asarray(draws, float)
    mean, error = draws.mean(0), draws.std(0, ddof=1) / len(draws) ** 0.5
    z = np.abs(mean - EXACT) / error
    summary[name] = mean, error, z.max()
    print(
        f"{name:52s}"
        + " ".join(f"{m:8.3f} ± {e:.3f}" for m, e in zip(mean, error))
        + f"{z.max():11.1f}"
    )
assert max(z for *_, z in summary.values()) < 4.9  # 18 numbers

# %%
fig, axes = plt.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained", sharey=True)
rows = np.arange(len(summary))
for i, (ax, letter) in enumerate(zip(axes, "μℓ")):
    means = [mean[i] for mean, *_ in summary.values()]
    errors = [error[i] for _, error, _ in summary.values()]
    ax.axvline(EXACT[i], color="black", lw=1)
    ax.errorbar(means, rows, xerr=errors, fmt="o", color="C0", capsize=3)
    ax.text(EXACT[i], -0.65, " closed form", fontsize=9, va="center")
    ax.set(
        xlabel=f"∂F/∂{letter}: mean ± standard error", title=f"Derivative in {letter}, {N:,} draws"
    )
axes[0].set_yticks(rows, [name.replace(", ", ",\n", 1) for name in summary], fontsize=8)
_ = axes[0].set_ylim(len(rows) - 0.5, -1.0)

# %% [markdown]
# The bars are of different length: at the same number of draws, the variance depends on the estimator and on $f$. Which
# one is best for a problem of yours is measured by `lt.compare_estimators`; see `which_estimator.ipynb`.
#
# ## The moving-average baseline
#
# `moving_avg_baseline(function, decay, zero_debias, use_decay_early_training_heuristic)` subtracted a running mean of past
# costs. In optax 0.2.6 that mean was updated with the *current* costs before it was subtracted. With one draw a step, the
# part of the cost that is in its own baseline cancels: the expected gradient is the true one times the decay in use,
# $d_t = \min(0.99, (1 + t)/(10 + t))$, and exactly 0 in the first step (where the debiased mean *is* the cost).
#
# `lt.MovingAverage` is used as it stood before the draw. Below, both rules on $\mathbb E[x^2]$, $x \sim \mathcal N(1, 1)$,
# whose derivative in the mean is 2, with 20,000 independent runs of 50 steps each.

# %%
RUNS, STEPS = 20_000, 50


def mixed_in_first(carry, xs):
    """The rule of optax 0.2.6 with its defaults, one draw a step."""
    (mean, debias), (t, key) = carry, xs
    x = 1.0 + jax.random.normal(key)
    decay = jnp.minimum(0.99, (1.0 + t) / (10.0 + t))
    mean, debias = decay * mean + (1 - decay) * x**2, debias * decay
    baseline = jnp.where(t == 0, x**2, mean)  # debiased in the first step
    return (mean, debias), (x**2 - baseline) * (x - 1.0)


def as_it_stood(estimator, xs):
    def cost(loc):
        return lt.expect(
            xs[1], jnp.square, lt.Normal(loc, 1.0), estimator=estimator, num_samples=1, has_aux=True
        )

    gradient, aux = jax.grad(cost, has_aux=True)(1.0)
    return aux.estimator, gradient


def mean_gradients(rule, start):
    run = lambda key: jax.lax.scan(rule, start, (jnp.arange(STEPS), jax.random.split(key, STEPS)))[
        1
    ]
    gradients = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(2), RUNS))
    return np.asarray(gradients.mean(0)), np.asarray(gradients.std(0) / RUNS**0.5)


theirs, their_error = mean_gradients(mixed_in_first, (0.0, 1.0))
ours, our_error = mean_gradients(as_it_stood, lt.ScoreFunction(lt.MovingAverage(decay=0.99)))
t = np.arange(STEPS)
print("step          ", *(f"{s:7d}" for s in (0, 1, 5, 20, 49)))
print("mixed in first", *(f"{theirs[s]:7.2f}" for s in (0, 1, 5, 20, 49)))
print("as it stood   ", *(f"{ours[s]:7.2f}" for s in (0, 1, 5, 20, 49)), "   exact: 2")
assert np.all(np.abs(ours - 2.0) < 5.5 * our_error)

# %%
fig, ax = plt.subplots(figsize=(6.8, 3.7), layout="constrained")
ax.axhline(2.0, color="black", lw=1)
ax.text(STEPS - 1, 2.17, "exact", ha="right", fontsize=9)
ax.errorbar(
    t, ours, our_error, fmt=".", color="C0", label="lt.MovingAverage: the mean before the draw"
)
ax.errorbar(
    t, theirs, their_error, fmt=".", color="C3", label="mean with the current cost mixed in"
)
ax.plot(
    t[1:],
    2.0 * (1 + t[1:]) / (10 + t[1:]),
    color="C3",
    lw=0.8,
    label=r"formula: $2\, (1 + t)/(10 + t)$",
)
ax.set(
    xlabel="step t",
    ylabel="mean gradient of 20,000 runs",
    ylim=(-0.1, 2.6),
    title="One draw a step",
)
_ = ax.legend(frameon=False, loc="lower right", fontsize=9)

# %% [markdown]
# With two or more draws a step, `lt.LeaveOneOut()` needs no state at all and is usually better than a moving average. In a
# training loop the advanced estimator is carried by `lt.minimize` itself.
#
# ## From other libraries
#
# | there | here (`vi` is `logtrick.vi`, a *site* is one draw of a program) |
# |---|---|
# | **NumPyro**: `SVI` with `Trace_ELBO(num_particles=8)` | `vi.fit(key, log_density, q0, num_samples=8)` |
# | a NumPyro model | `lt.adapters.from_numpyro_model(model, *args)` |
# | a NumPyro distribution | `lt.adapters.from_numpyro(dist)` |
# | a guide with discrete sites (the score term is dropped, with a warning) | `lt.expect`, or a discrete guide of `vi` |
# | `TraceGraph_ELBO`: costs by dependency | `lt.expect_program`, right to higher orders as well |
# | **TFP**: `tfp.vi.monte_carlo_variational_loss` | `vi.loss`, or `vi.fit` |
# | `GradientEstimators.SCORE_FUNCTION`, `VIMCO`, `DOUBLY_REPARAMETERIZED` | `lt.ScoreFunction()`, `vi.VIMCO()`, `vi.DReG()` |
# | `tfp.monte_carlo.expectation(f, samples, log_prob)` | `lt.expect_given(samples, f, dist)` |
# | a TFP distribution | `lt.adapters.from_tfp(dist)` |
# | **storchastic**: `storch.method.ScoreFunction("z", n_samples=8)(dist)` | `z = yield lt.sample(dist)` |
# | `storch.add_cost(c, "c")`, `storch.backward()` | `yield lt.cost(c)`, `jax.grad` of `lt.expect_program` |
# | `baseline_factory="batch_average"` | `lt.ScoreFunction(lt.LeaveOneOut())` |
# | `baseline_factory="moving_average"` | `lt.ScoreFunction(lt.MovingAverage())` |
# | **genjax**: `adev.flip_reinforce(p)` | `yield lt.sample(lt.Bernoulli(probs=p))` |
# | `adev.flip_enum(p)` | `yield lt.sample(lt.Bernoulli(probs=p), lt.Enumerate())` |
# | `adev.normal_reparam(m, s)` | `yield lt.sample(lt.Normal(m, s), lt.Pathwise())` |
# | **mc_gradients** (the code of Mohamed et al., 2020) | the classes in the first half of this page |
#
# ## Policies with flax.nnx and equinox
#
# Parameters are any pytree of float arrays. A module of a neural-network library is such a pytree after its arrays have
# been split from the rest, in two lines. The two programs below run as they stand, with
# `pip install flax` or `pip install equinox`; each trains a policy that sees one of two signals and has to answer with the
# same action.
#
# ```python
# import jax, jax.numpy as jnp, logtrick as lt, optax
# from flax import nnx
#
# class Policy(nnx.Module):
#     def __init__(self, rngs):
#         self.hidden, self.out = nnx.Linear(2, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)
#
#     def __call__(self, signal):
#         return lt.Categorical(self.out(jnp.tanh(self.hidden(signal))))
#
# graph, params, rest = nnx.split(Policy(nnx.Rngs(0)), nnx.Param, ...)  # arrays to train, and all else
#
# def reward(params, key):
#     policy = nnx.merge(graph, params, rest)
#     one = lambda key, right: lt.expect(
#         key, lambda action: jnp.where(action == right, 1.0, 0.0), policy(jax.nn.one_hot(right, 2)))
#     return jax.vmap(one)(jax.random.split(key), jnp.arange(2)).mean()
#
# fit = lt.maximize(jax.random.key(0), reward, params, optax.adam(0.1), num_steps=100)
# policy = nnx.merge(graph, fit.params, rest)  # a module again
# assert reward(fit.params, jax.random.key(1)) > 0.9
# ```
#
# ```python
# import equinox as eqx, jax, jax.numpy as jnp, logtrick as lt, optax
#
# class Policy(eqx.Module):
#     layers: eqx.nn.MLP
#
#     def __call__(self, signal):
#         return lt.Categorical(self.layers(signal))
#
# policy = Policy(eqx.nn.MLP(2, 2, 8, 1, activation=jnp.tanh, key=jax.random.key(0)))
# params, static = eqx.partition(policy, eqx.is_inexact_array)  # arrays to train, and all else
#
# def reward(params, key):
#     policy = eqx.combine(params, static)
#     one = lambda key, right: lt.expect(
#         key, lambda action: jnp.where(action == right, 1.0, 0.0), policy(jax.nn.one_hot(right, 2)))
#     return jax.vmap(one)(jax.random.split(key), jnp.arange(2)).mean()
#
# fit = lt.maximize(jax.random.key(0), reward, params, optax.adam(0.1), num_steps=100)
# policy = eqx.combine(fit.params, static)  # a module again
# assert reward(fit.params, jax.random.key(1)) > 0.9
# ```

# %% [markdown]
# # Variational inference on a real posterior, and what its verdict is for
#
# Eight schools ran a coaching program for a test (Rubin 1981). Each reports an effect $y_j$ with its standard error
# $\sigma_j$. The hierarchical model lets the schools learn from each other:
#
# $$ \mu \sim \mathcal N(0, 5^2), \quad \tau \sim \text{HalfCauchy}(5), \quad
#    \theta_j \sim \mathcal N(\mu, \tau^2), \quad y_j \sim \mathcal N(\theta_j, \sigma_j^2). $$
#
# It is small and hard: where $\tau$ is small, all $\theta_j$ are squeezed together (the *funnel*), and no normal
# distribution has that shape. So this notebook is about the question that matters in practice: **the fit has converged;
# may I believe it?**

# %%
import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from jax.scipy.stats import norm

from logtrick import vi

EFFECTS = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

# %% [markdown]
# ## The model, a fit, and its verdict
#
# The model is a plain function: the log density of one value of all variables, in their own space. `vi.positive` says that
# $\tau > 0$; the change of variables is done for you.


# %%
def log_prior(mu, tau):
    return norm.logpdf(mu, 0.0, 5.0) - jnp.log1p((tau / 5.0) ** 2)  # HalfCauchy, up to a constant


def centered(z):
    effects = norm.logpdf(z["theta"], z["mu"], z["tau"]).sum()
    data = norm.logpdf(EFFECTS, z["theta"], ERRORS).sum()
    return log_prior(z["mu"], z["tau"]) + effects + data


def guide(name):
    like = {"mu": 0.0, "tau": 1.0, name: jnp.zeros(8)}
    return vi.FullRankNormal(like=like, support={"tau": vi.positive})


first = vi.fit(jax.random.key(0), centered, guide("theta"))
first_report = vi.diagnose(jax.random.key(1), centered, first.q)
print(first.status)
print(first_report)

# %% [markdown]
# The optimization has converged, which says nothing about the fit. The verdict looks at the importance weights
# $w = p/q$ of draws from $q$ and gives its reasons in words.
#
# ## What to do when it says "do not trust"
#
# First, change what is asked of the guide. The same model with $\theta_j = \mu + \tau \eta_j$, $\eta_j \sim \mathcal N(0, 1)$,
# has no funnel, and is closer to a normal distribution:


# %%
def noncentered(z):
    theta = z["mu"] + z["tau"] * z["eta"]
    effects = norm.logpdf(z["eta"]).sum()
    data = norm.logpdf(EFFECTS, theta, ERRORS).sum()
    return log_prior(z["mu"], z["tau"]) + effects + data


second = vi.fit(jax.random.key(0), noncentered, guide("eta"))
second_report = vi.diagnose(jax.random.key(1), noncentered, second.q)
print(second_report)

# %% [markdown]
# `good` is a statement about means, standard deviations and the bound, within the limits that the report states. It does
# not say that $q$ *is* the posterior: the effective sample size is half of the draws, and reweighting changes the standard
# deviation of $\tau$ by 13 %.
#
# Second, reweight: `vi.importance_sample` moves expectations from $q$ to the posterior, as far as $q$ reaches.

# %%
weighted = vi.importance_sample(jax.random.key(2), noncentered, second.q)
print("under q:         ", {k: round(float(second.q.mean()[k]), 2) for k in ("mu", "tau")})
print("after reweighting:", {k: round(float(weighted.mean()[k]), 2) for k in ("mu", "tau")})

# %% [markdown]
# ## Hand-off to NUTS
#
# Third, if the numbers matter, let the fit be the start of an exact method. `vi.mcmc_start` gives start points, an inverse
# mass matrix and the log density in unconstrained space; blackjax (or NumPyro) takes it from there. The warm-up that
# usually finds the mass matrix is not needed, and at a mass matrix that fits, a step size of about 0.4 works for most
# posteriors. Whether the chains may be believed is judged by their own means: divergences, $\hat R$ and the effective
# sample size of four chains.

# %%
start = vi.mcmc_start(jax.random.key(3), noncentered, second.q)
kernel = blackjax.nuts(start.log_density, 0.4, start.inverse_mass_matrix)


@jax.jit
def run_chains(key):
    def chain(key, position):
        def step(state, key):
            state, info = kernel.step(key, state)
            return state, (state.position, info.is_divergent)

        return jax.lax.scan(step, kernel.init(position), jax.random.split(key, 1050))[1]

    return jax.vmap(chain)(jax.random.split(key, 4), start.positions)


positions, divergent = run_chains(jax.random.key(4))
chains = {k: v[:, 50:] for k, v in jax.vmap(jax.vmap(start.constrain))(positions).items()}
nuts = {k: v.reshape(-1, *v.shape[2:]) for k, v in chains.items()}  # 4 × 1,000 draws
print(f"divergences: {int(divergent.sum())} of {divergent.size} steps")
log_tau = jnp.log(chains["tau"])
for name, x in (("mu", chains["mu"]), ("log tau", log_tau)):
    r_hat = float(blackjax.diagnostics.potential_scale_reduction(x))
    ess = float(blackjax.diagnostics.effective_sample_size(x))
    print(f"{name:8s} R-hat {r_hat:.3f}, effective sample size {ess:.0f}")
    assert r_hat < 1.05
print("NUTS:            ", {k: round(float(nuts[k].mean()), 2) for k in ("mu", "tau")})

# %% [markdown]
# The figure puts the three side by side, for the first school's effect against $\log \tau$.

# %%
panels = {}
z = jax.vmap(first.q.sample)(jax.random.split(jax.random.key(5), 1500))
panels[f"centered fit: {first_report.verdict}"] = (z["theta"][:, 0], z["tau"])
z = jax.vmap(second.q.sample)(jax.random.split(jax.random.key(5), 1500))
panels[f"non-centered fit: {second_report.verdict}"] = (
    z["mu"] + z["tau"] * z["eta"][:, 0],
    z["tau"],
)
panels["NUTS, started from the fit"] = (nuts["mu"] + nuts["tau"] * nuts["eta"][:, 0], nuts["tau"])

panels_tau = [tau for _, tau in panels.values()]
fig, axes = plt.subplots(1, 3, figsize=(10.5, 3.6), sharex=True, sharey=True, layout="constrained")
for ax, (title, (theta, tau)), color in zip(axes, panels.items(), ("C3", "C0", "black")):
    ax.scatter(theta, jnp.log(tau), s=3, alpha=0.3, color=color, linewidths=0)
    ax.set_title(title, fontsize=10)
    ax.set_xlabel(r"effect of the first school, $\theta_1$")
axes[0].set(ylabel=r"$\log \tau$", xlim=(-25, 45), ylim=(-5, 4.5))
shift = abs(float(weighted.mean()["mu"]) - float(nuts["mu"].mean()))
assert shift < 1.0, shift
for name, tau in zip(("centered fit", "non-centered fit", "NUTS"), panels_tau):
    print(f"probability of tau < 0.5, {name:17s}{(tau < 0.5).mean():.3f}")

# %% [markdown]
# The centered fit sits in the mouth of the funnel. The non-centered fit has the funnel's shape, but not its whole neck: a
# normal distribution of $\log\tau$ has a thinner lower tail than the posterior. Means and standard deviations do not suffer
# from that, a question such as "how probable is $\tau < 0.5$?" does; the last lines above are the three answers.
# Ask the verdict about what it judges, and NUTS, started from the fit, about the rest.
#
# **Where next:** `discrete_latents.ipynb` fits posteriors of discrete variables; `how_we_know.ipynb` says how the verdict and
# everything else is tested. `vi.fit(…, refine="flow")` is a further way out where no parameterization is good.

# %% [markdown]
# # Discrete latent variables: which cluster does each galaxy belong to?
#
# The velocities of 82 galaxies (Postman, Huchra & Geller 1986; Roeder 1990) fall into clusters. In a mixture model every
# galaxy has a hidden label $z_i \in \{0, 1, 2\}$, and a label has no derivative. Variational inference gives each galaxy its own
# distribution $q_i(z_i)$ and maximizes the evidence lower bound
#
# $$ \mathrm{ELBO} = \sum_i \mathbb{E}_{z_i \sim q_i}\big[\log w_{z_i} + \log \mathcal N(y_i; \mu_{z_i}, \sigma_{z_i}^2)
#    - \log q_i(z_i)\big] \;\le\; \sum_i \log p(y_i) . $$
#
# The labels are few, so that the right-hand side is known exactly and everything below can be checked against it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.scipy.stats import norm

import logtrick as lt

VELOCITIES = """
 9172  9350  9483  9558  9775 10227 10406 16084 16170 18419 18552 18600 18927 19052 19070 19330 19343 19349 19440 19473
19529 19541 19547 19663 19846 19856 19863 19914 19918 19973 19989 20166 20175 20179 20196 20215 20221 20415 20629 20795
20821 20846 20875 20986 21137 21492 21701 21814 21921 21960 22185 22209 22242 22249 22314 22374 22495 22746 22747 22888
22914 23206 23241 23263 23484 23538 23542 23666 23706 23711 24129 24285 24289 24366 24717 24990 25633 26960 26995 32065
32789 34279"""
y = jnp.array([float(v) for v in VELOCITIES.split()]) / 1000.0  # thousands of km/s

# %% [markdown]
# ## Put the expectation where the randomness is local
#
# A galaxy's label matters for its own term only. So there is one `lt.expect` for each galaxy, under `jax.vmap`. A single
# `lt.expect` over all 82 labels has the same mean, but multiplies the score of each label with everybody's terms.


# %%
def term(params, velocity, logits, z):
    """log w_z + log N(velocity; …) − log q(z) of one galaxy."""
    log_weight = jax.nn.log_softmax(params["weight"])[z]
    log_likelihood = norm.logpdf(velocity, params["mean"][z], jnp.exp(params["log_scale"][z]))
    return log_weight + log_likelihood - jax.nn.log_softmax(logits)[z]


SCORE_FUNCTION = lt.ScoreFunction()


def local(params, key, estimator=SCORE_FUNCTION):
    def one(key, velocity, logits):
        f = lambda z: term(params, velocity, logits, z)
        return lt.expect(key, f, lt.Categorical(logits), estimator=estimator, num_samples=4)

    return jax.vmap(one)(jax.random.split(key, len(y)), y, params["logits"]).sum()


def joint(params, key):
    def f(labels):
        return jax.vmap(lambda *row: term(params, *row))(y, params["logits"], labels).sum()

    return lt.expect(key, f, lt.Categorical(params["logits"]), num_samples=4)


params = {
    "mean": jnp.array([10.0, 20.0, 30.0]),
    "log_scale": jnp.ones(3),
    "weight": jnp.zeros(3),
    "logits": jnp.zeros((len(y), 3)),
}
exact = lambda params: local(params, jax.random.key(0), lt.Enumerate())
truth = jax.grad(exact)(params)["logits"]
keys = jax.random.split(jax.random.key(1), 500)
variance = {}
for name, objective in {"82 expectations": local, "one expectation": joint}.items():
    grads = jax.jit(jax.vmap(jax.grad(objective), (None, 0)))(params, keys)["logits"]
    variance[name] = jnp.var(grads, axis=0).mean()
    error = jnp.abs(grads.mean(0) - truth).mean()
    print(
        f"{name}: mean variance of a logit's gradient {variance[name]:.3f}, error of the mean {error:.4f}"
    )
print(f"ratio {variance['one expectation'] / variance['82 expectations']:.0f}")
assert variance["one expectation"] > 10 * variance["82 expectations"]

# %% [markdown]
# ## The fit
#
# Labels, means, scales and weights are trained together by one call, from 4 draws of each label a step.

# %%
fit = lt.maximize(jax.random.key(2), local, params, optax.adam(0.1), num_steps=600)


@jax.jit
def log_density(params, velocity):
    parts = norm.logpdf(velocity, params["mean"], jnp.exp(params["log_scale"]))
    return jax.nn.logsumexp(jax.nn.log_softmax(params["weight"]) + parts)


log_likelihood = jax.vmap(log_density, (None, 0))(fit.params, y).sum()
bound = exact(fit.params)
print(
    "means ", fit.params["mean"].round(1), " weights", jax.nn.softmax(fit.params["weight"]).round(2)
)
print(
    f"ELBO {bound:.2f} ≤ log-likelihood {log_likelihood:.2f}: the gap is what q misses of the labels"
)
assert 0.0 < log_likelihood - bound < 2.0

# %%
grid = jnp.linspace(5.0, 38.0, 400)
density = jnp.exp(jax.vmap(log_density, (None, 0))(fit.params, grid))
q = jax.nn.softmax(fit.params["logits"])
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.7), layout="constrained")
left.hist(y, bins=np.arange(5, 38, 1.0), density=True, color="0.85")
left.plot(grid, density, color="black", lw=1.2)
left.scatter(y, np.full(len(y), -0.008), c=np.clip(np.array(q), 0, 1), s=14, clip_on=False)
left.set(
    xlabel="velocity (1000 km/s)",
    ylabel="density",
    ylim=(-0.016, None),
    title="The mixture; each dot is a galaxy, colored by q",
)
right.plot(fit.history.value, color="C0", lw=0.7, label="ELBO estimate, 4 draws a label")
right.axhline(float(log_likelihood), color="black", lw=1, label="exact log-likelihood at the end")
right.set(
    xlabel="step", ylabel="nats", title="The bound rises to the log-likelihood", ylim=(-330, -190)
)
_ = right.legend(frameon=False, loc="lower right")

# %% [markdown]
# With three labels `lt.Enumerate()` would have been free of noise altogether; with many labels, or labels that depend on each
# other, the same code with `lt.ScoreFunction()` is what remains. `which_estimator.ipynb` compares the choices.

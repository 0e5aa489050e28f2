# %% [markdown]
# # The log-derivative trick
#
# An expectation whose *distribution* depends on the parameters,
#
# $$ F(\theta) = \mathbb{E}_{x \sim p_\theta}[f(x)] = \int p_\theta(x)\, f(x)\, dx , $$
#
# has a gradient that backpropagation through $f$ cannot see. **Isn't it just calculus?** The derivative goes under the
# integral, and that is indeed all there is to the first step:
#
# $$ \nabla F(\theta) = \int \nabla p_\theta(x)\, f(x)\, dx . $$
#
# But $\nabla p_\theta$ is no density: it is negative in places and integrates to 0, so nobody can draw from it. The chain
# rule, $\nabla \log p = \nabla p / p$, read from right to left,
#
# $$ \boxed{\;\nabla p_\theta = p_\theta \, \nabla \log p_\theta\;} $$
#
# puts the density back: $\nabla F = \mathbb{E}_{x \sim p_\theta}[f(x)\, \nabla \log p_\theta(x)]$. That is an expectation,
# and samples estimate it, with nothing but a sampler, a log-prob function and a black box $f$. logtrick is this one step,
# made right, low in variance and fast.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import logtrick as lt

# %% [markdown]
# ## When is the right-hand side easier?
#
# Whenever $p$ is a product or an exponential, which is nearly always: the logarithm makes a sum of a product. Two thousand
# exponential factors underflow as a product, and their derivative with them. In logarithms nothing happens at all.


# %%
def product(rate, x):
    return jnp.prod(rate * jnp.exp(-rate * x))


def log_product(rate, x):
    return jnp.sum(jnp.log(rate) - rate * x)


x = jnp.full(2000, 3.0)
print("derivative of the product:  ", jax.grad(product)(2.0, x))
print("score, ∇ log p:             ", lt.score(log_product, 2.0, x))
log_scale, p, dp = lt.density_and_grad(log_product, 2.0, x, scaled=True)
print(f"p = {p:.0f} · exp({log_scale:.0f}),  ∇p = {dp:.0f} · exp({log_scale:.0f})")

# %% [markdown]
# ## A gradient through a coin
#
# A coin with logit $\theta$ shows $x \in \{0, 1\}$ and costs $f(x) = (x - 0.45)^2$. With two outcomes everything is known:
# $F = p\,f(1) + (1 - p) f(0)$ and $F' = 0.1\, p (1 - p)$. A draw is a step function of $\theta$, so that differentiating
# through a sampler gives 0 without a word in most libraries. Here it is an error:


# %%
def f(x):
    return (x - 0.45) ** 2


try:
    jax.grad(lambda theta: f(lt.Bernoulli(theta).sample(jax.random.key(0))))(0.3)
except lt.UnaccountedRandomnessError as error:
    print(type(error).__name__, "-", str(error).splitlines()[0][:110], "…")

# %% [markdown]
# `lt.expect` is an ordinary number to JAX, and its derivative is the estimate of $F'$:


# %%
def F(theta, key, n=10_000):
    return lt.expect(key, f, lt.Bernoulli(theta), num_samples=n)


theta = 0.3
p = jax.nn.sigmoid(theta)
value, grad = jax.value_and_grad(F)(theta, jax.random.key(1))
print(f"value    {value:.4f}   exact {p * f(1.0) + (1 - p) * f(0.0):.4f}")
print(f"gradient {grad:.4f}   exact {0.1 * p * (1 - p):.4f}")


# %% [markdown]
# ## The Monte Carlo form, and why a baseline
#
# By hand, the estimate is three lines: draw, multiply cost and score, average.


# %%
def by_hand(key, n, baseline=0.0):
    x = (jax.random.uniform(key, (n,)) < p).astype(float)
    score = x - p  # ∇ log p of a coin, with respect to its logit
    return jnp.mean((f(x) - baseline) * score)


print("by hand, 10,000 draws:", by_hand(jax.random.key(2), 10_000))

# %% [markdown]
# Since $\mathbb{E}[\nabla \log p] = 0$, any constant may be subtracted from $f$. `lt.expect` subtracts the mean cost of the
# *other* draws (leave-one-out), which keeps the gradient unbiased and costs nothing. The figure shows the error of the gradient
# over 300 repetitions: both fall like $1/\sqrt n$, and the baseline moves the whole line (with four draws the mean of the
# other three is noisy itself, so that its line begins a little steeper).

# %%
NUMBERS = (4, 16, 64, 256, 1024)
keys = jax.random.split(jax.random.key(3), 300)
exact = 0.1 * p * (1 - p)


def spread(estimator, n):
    def grad(key):
        value = lambda t: lt.expect(key, f, lt.Bernoulli(t), estimator=estimator, num_samples=n)
        return jax.grad(value)(theta)

    return jnp.sqrt(jnp.mean((jax.jit(jax.vmap(grad))(keys) - exact) ** 2))


plain = [spread(lt.ScoreFunction(lt.NoBaseline()), n) for n in NUMBERS]
loo = [spread(lt.ScoreFunction(), n) for n in NUMBERS]

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.loglog(NUMBERS, plain, "o-", color="C1", label="no baseline (REINFORCE)")
ax.loglog(NUMBERS, loo, "o-", color="C0", label="leave-one-out (the default)")
ax.loglog(NUMBERS, 0.25 / np.sqrt(NUMBERS), ":", color="gray", label=r"slope of $1/\sqrt{n}$")
ax.axhline(float(exact), color="black", lw=0.8)
ax.annotate(
    "the gradient itself",
    (NUMBERS[-1], float(exact)),
    (0, 4),
    ha="right",
    textcoords="offset points",
    fontsize=9,
)
ax.set(
    xlabel="number of draws n",
    ylabel="root-mean-square error of the gradient",
    title="The error of one gradient estimate of the coin",
)
_ = ax.legend(frameon=False)

# %% [markdown]
# ## Minimize, and maximize
#
# A shop stocks 20 units and chooses its price; the demand is Poisson with mean $60\,e^{-\text{price}/4}$, and what is not in
# stock cannot be sold. The revenue jumps with the demand, the demand depends on the price, and the price appears in the
# revenue itself as well: `lt.expect` counts both parts. The exact curve, by summing over the demand, is only for the picture.

# %%
STOCK = 20.0


def demand(price):
    return lt.Poisson(60.0 * jnp.exp(-price / 4.0))


def revenue(price, key):
    return lt.expect(key, lambda d: price * jnp.minimum(d, STOCK), demand(price), num_samples=32)


fit = lt.maximize(jax.random.key(4), revenue, 1.0, optax.adam(0.1), num_steps=300)
print(f"price found: {fit.params:.2f}")

units = jnp.arange(150.0)
exact_revenue = jax.vmap(
    lambda price: jnp.sum(
        jnp.exp(jax.vmap(demand(price).log_prob)(units)) * price * jnp.minimum(units, STOCK)
    )
)
prices = jnp.linspace(0.5, 10.0, 200)
curve = exact_revenue(prices)
best = prices[jnp.argmax(curve)]
print(f"price of the exact maximum: {best:.2f}")
assert abs(fit.params - best) < 0.4

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.plot(prices, curve, color="black", lw=1.2, label="exact")
left.axvline(float(best), color="gray", ls=":", lw=1)
left.plot([1.0], exact_revenue(jnp.array([1.0])), "s", color="C1", label="start")
left.plot(
    [fit.params], exact_revenue(fit.params[None]), "o", color="C0", label="found by lt.maximize"
)
left.set(xlabel="price", ylabel="expected revenue", title="Revenue against price")
left.legend(frameon=False, loc="lower right")
right.plot(fit.history.value, color="C0", lw=0.8, alpha=0.7, label="estimate from 32 draws")
right.axhline(float(curve.max()), color="black", lw=1, label="exact maximum")
right.set(xlabel="step", ylabel="expected revenue", title="What the optimizer saw")
_ = right.legend(frameon=False, loc="lower right")

# %% [markdown]
# `lt.minimize` is the same call for a cost: here ten coins are asked to show three heads on average,
# with as little spread as possible, and the logits find out by themselves.


# %%
def cost(logits, key):
    return lt.expect(key, lambda x: (x.sum() - 3.0) ** 2, lt.Bernoulli(logits), num_samples=100)


fit = lt.minimize(jax.random.key(5), cost, jnp.zeros(10), optax.adam(0.1), num_steps=500)
heads = jax.nn.sigmoid(fit.params)
print(f"expected heads {heads.sum():.2f}; probabilities", np.round(np.sort(heads)[::-1], 2))
print(f"cost {fit.history.value[:10].mean():.2f} → {fit.history.value[-10:].mean():.2f}")
assert abs(heads.sum() - 3.0) < 0.2

# %% [markdown]
# **Where next:** `which_estimator.ipynb` races the estimators on one problem; `variational_inference.ipynb` fits a posterior.

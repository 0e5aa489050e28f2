# %% [markdown]
# # An energy model fitted by maximum likelihood, with blackjax's draws
#
# A density on the plane of which only the energy is known: two wells on the diagonal,
#
# $$ p_\theta(x) = \exp(\theta \cdot T(x)) / Z(\theta), \qquad T(x) = (x_1^2 + x_2^2,\; x_1 x_2,\; x_1^4 + x_2^4). $$
#
# Maximum likelihood asks that the model's moments m(θ) = E_θ[T(x)] equal those of the data. Newton's method needs m and its
# derivative, and both come from the same draws of Markov chains: the derivative of an expectation under an unnormalized
# density is a covariance, in which the unknown ∇log Z cancels,
#
# $$ \partial m_k / \partial\theta = \mathrm{Cov}_\theta(T_k, \nabla \log \tilde p_\theta). $$
#
# This is `lt.expect_given(…, normalized=False)`. blackjax makes the draws (`pip install "logtrick[mcmc]"`); two dimensions
# have quadrature, so that everything below has an exact number beside it.

# %%
import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from blackjax.mcmc.random_walk import normal

import logtrick as lt

NAMES = ("x₁² + x₂²", "x₁ x₂", "x₁⁴ + x₂⁴")


def statistics(x):
    return jnp.array([jnp.sum(x**2), x[0] * x[1], jnp.sum(x**4)])


def log_density(theta):
    return lambda x: theta @ statistics(x)  # without log Z(θ)


axis = jnp.linspace(-4.5, 4.5, 181)
GRID = jnp.stack(jnp.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
ON_GRID = jax.vmap(statistics)(GRID)


def exact_moments(theta):
    """By quadrature: the integrand and its derivatives vanish at the edge, so that the error is that of float32."""
    return jax.nn.softmax(ON_GRID @ theta) @ ON_GRID


def show(heading, **columns):
    print(heading)
    print(" " * 13 + "".join(f"{name:>22s}" for name in columns))
    for name, row in zip(NAMES, zip(*columns.values())):
        print(f"  {name:11s}" + "".join(f"{number:22.4f}" for number in row))


# %% [markdown]
# **Moments and their derivative from chains.** One function, whose value is m_k and whose derivative is ∂m_k/∂θ. The draws
# have axes (chains, draws), and `num_chains` says so.


# %%
def moments(theta, draws):
    def moment(k):
        return lt.expect_given(
            draws,
            lambda x: statistics(x)[k],
            log_density(theta),
            normalized=False,
            num_chains=len(draws),
        )

    return jnp.stack([moment(k) for k in range(len(NAMES))])


def run_chains(key, kernel, starts, length):
    """Draws (chains, length, 2) of blackjax's kernel, one chain from each start."""

    def chain(key, start):
        def step(state, key):
            state, _ = kernel.step(key, state)
            return state, state.position

        return jax.lax.scan(step, kernel.init(start), jax.random.split(key, length))[1]

    return jax.vmap(chain)(jax.random.split(key, len(starts)), starts)


CHAINS, LENGTH = 16, 2000


@jax.jit
def nuts_chains(key, theta, starts):
    kernel = blackjax.nuts(log_density(theta), step_size=0.6, inverse_mass_matrix=jnp.ones(2))
    return run_chains(key, kernel, starts, LENGTH)


@jax.jit
def moments_and_derivative(theta, draws):
    return moments(theta, draws), jax.jacobian(moments)(theta, draws)


TRUTH = jnp.array([0.3, 0.8, -0.25])
warm_up = nuts_chains(jax.random.key(0), TRUTH, jax.random.normal(jax.random.key(1), (CHAINS, 2)))
draws = nuts_chains(jax.random.key(2), TRUTH, warm_up[:, -1])
value, derivative = moments_and_derivative(TRUTH, draws)
exact, exact_derivative = exact_moments(TRUTH), jax.jacobian(exact_moments)(TRUTH)
show(f"moments, NUTS, {CHAINS} chains × {LENGTH:,} draws", expected=exact, obtained=value)
show(
    "their derivative in the second parameter",
    expected=exact_derivative[:, 1],
    obtained=derivative[:, 1],
)
error = jnp.max(jnp.abs(derivative - exact_derivative)) / jnp.max(jnp.abs(exact_derivative))
print(f"largest error of the 3 × 3 derivative: {error:.2%} of its largest entry\n")
assert error < 0.05

# %% [markdown]
# **Maximum likelihood.** 2,000 points of data from the true θ. The chains live on from step to step, as in persistent
# contrastive divergence; the step is Newton's, shortened while it is long. Beside it the exact maximum, by the same iteration
# with quadrature.

# %%
STEPS = 12
chosen = jax.random.categorical(jax.random.key(3), ON_GRID @ TRUTH, shape=(2000,))
data = jnp.mean(ON_GRID[chosen], 0)


def newton(theta, m, derivative):
    step = jnp.linalg.solve(derivative, data - m)
    return theta + step / jnp.maximum(1.0, jnp.linalg.norm(step) / 0.3)


@jax.jit
def exact_fit(theta):
    one = lambda _, theta: newton(theta, exact_moments(theta), jax.jacobian(exact_moments)(theta))
    return jax.lax.fori_loop(0, 50, one, theta)


theta = jnp.array([-0.5, 0.0, -0.1])
best = exact_fit(theta)
for i in range(STEPS):
    draws = nuts_chains(jax.random.key(10 + i), theta, draws[:, -1])
    theta = newton(theta, *moments_and_derivative(theta, draws))
    if i in (0, 2, 4, 6, STEPS - 1):
        print(f"step {i + 1:2d}: θ = " + " ".join(f"{t:7.3f}" for t in theta))

# %% [markdown]
# How far may θ be from the maximum because draws are random? The k-th coordinate of one more Newton step is the mean of one
# function, θ_k + (∂m/∂θ)⁻¹_k · (m_data − T(x)), and `aux.standard_error` of that function is its Monte Carlo error,
# autocorrelation included.


# %%
@jax.jit
def last_step(theta, draws, inverse):
    def coordinate(k):
        step = lambda x: theta[k] + inverse[k] @ (data - statistics(x))
        how = {"normalized": False, "num_chains": CHAINS, "has_aux": True}
        theta_k, aux = lt.expect_given(draws, step, log_density(theta), **how)
        return theta_k, aux.standard_error

    return tuple(jnp.stack(rows) for rows in zip(*[coordinate(k) for k in range(len(NAMES))]))


draws = nuts_chains(jax.random.key(100), theta, draws[:, -1])
inverse = jnp.linalg.inv(moments_and_derivative(theta, draws)[1])
found, error = last_step(theta, draws, inverse)
show(
    "maximum likelihood: θ of …",
    truth=TRUTH,
    exact_maximum=best,
    from_the_chains=found,
    Monte_Carlo_error=error,
)
print()
assert jnp.all(jnp.abs(found - best) < 4.5 * error) and jnp.max(error) < 0.03

fig, ax = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
last = draws[:, ::40].reshape(-1, 2)
ax.plot(last[:, 0], last[:, 1], ".", ms=3, alpha=0.5, label="draws of the chains, every 40th")
for parameter, style, label in ((best, "-", "exact maximum"), (found, ":", "from the chains")):
    density = jax.nn.softmax(ON_GRID @ parameter).reshape(len(axis), len(axis))
    levels = float(density.max()) * np.array([0.1, 0.4, 0.8])
    ax.contour(axis, axis, density.T, levels, colors="k", linestyles=style, linewidths=1)
    ax.plot([], [], color="k", ls=style, label=f"fitted density, {label}")
ax.set(xlabel="x₁", ylabel="x₂", xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
_ = ax.legend(frameon=False, loc="upper left", fontsize="small")

# %% [markdown]
# **Is that standard error right?** 400 repeats of 4 random-walk chains × 500 draws, which creep: each begins at an exact
# draw, and E[x₁ x₂] is estimated with its standard error. If it is right, its square is on average the variance of the 400
# estimates, and 5% of the estimates lie further than 2.0 standard errors from the truth (a little more, since the
# standard error is itself estimated, from few chains). Taken as independent draws, the same numbers claim far too little.

# %%
REPEATS, FEW, SHORT = 400, 4, 500


@jax.jit
def repeats(key):
    start_key, chains_key = jax.random.split(key)
    starts = GRID[jax.random.categorical(start_key, ON_GRID @ TRUTH, shape=(REPEATS * FEW,))]
    kernel = blackjax.additive_step_random_walk(log_density(TRUTH), normal(0.8 * jnp.ones(2)))
    draws = run_chains(chains_key, kernel, starts, SHORT).reshape(REPEATS, FEW, SHORT, 2)

    def one(draws, **how):
        product = lambda x: x[0] * x[1]
        value, aux = lt.expect_given(
            draws, product, log_density(TRUTH), normalized=False, has_aux=True, **how
        )
        return value, aux.standard_error, aux.autocorrelation_time

    as_chains = jax.vmap(lambda x: one(x, num_chains=FEW))(draws)
    return as_chains, jax.vmap(one)(draws.reshape(REPEATS, -1, 2))


(values, errors, times), (_, naive, _) = repeats(jax.random.key(6))
spread = jnp.std(values, ddof=1)
print(
    f"E[x₁ x₂]: expected {exact[1]:.4f}, obtained {values.mean():.4f} ± {spread / np.sqrt(REPEATS):.4f}"
)
print(
    f"autocorrelation time {times.mean():.0f}; standard deviation of the {REPEATS} estimates {spread:.4f}"
)
for name, e in (("chains × draws", errors), ("as if independent", naive)):
    missed = jnp.mean(jnp.abs(values - exact[1]) > 1.96 * e)
    print(
        f"  {name:18s} standard error {jnp.sqrt(jnp.mean(e**2)):.4f}; misses the truth by 1.96 of them: {missed:.1%}"
    )
ratio = jnp.sqrt(jnp.mean(errors**2)) / spread
assert 0.85 < ratio < 1.15  # the spread of 400 is known to 3.5%
assert (
    jnp.mean(jnp.abs(values - exact[1]) > 1.96 * errors)
    < 0.11
    < jnp.mean(jnp.abs(values - exact[1]) > 1.96 * naive)
)

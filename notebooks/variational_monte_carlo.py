# %% [markdown]
# # Variational Monte Carlo: a ground state from a density without its constant
#
# A chain of 8 spins in a transverse field at its critical point, periodic:
#
# $$ H = -\sum_i Z_i Z_{i+1} - h \sum_i X_i, \qquad h = 1. $$
#
# Of a trial state only log ψ_θ(s) is known, up to a constant, at spins s ∈ {−1, 1}⁸. Its energy is an expectation under
# p_θ = ψ² / Z(θ) of the local energy, and its gradient a covariance in which ∇log Z cancels:
#
# $$ E(\theta) = \mathbb{E}_p[e(s)], \qquad e(s) = (H\psi)(s) / \psi(s), \qquad
#    \nabla E = \mathrm{Cov}_p(e, \nabla \log \psi^2) = 2\, \mathrm{Cov}_p(e, \nabla \log \psi). $$
#
# (The derivative of e itself has mean zero, since H is Hermitian and ψ real: it is stopped.) Draws of p come from
# Metropolis chains, so this is the place of `lt.expect_given(…, normalized=False)`. Eight spins have 256 states: the exact
# ground state and the exact energy of every trial state are at hand to compare with.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import logtrick as lt

SITES, FIELD, FEATURES = 8, 1.0, 2
STATES = jnp.array([[1.0 - 2 * (i >> j & 1) for j in range(SITES)] for i in range(2**SITES)])


def ground_energy():
    """By exact diagonalization in float64; X_j flips bit j of a state's number."""
    spins = np.asarray(STATES, np.float64)
    hamiltonian = np.diag(-np.sum(spins * np.roll(spins, -1, axis=1), axis=1))
    index = np.arange(2**SITES)
    for j in range(SITES):
        hamiltonian[index, index ^ (1 << j)] -= FIELD
    return np.linalg.eigvalsh(hamiltonian)[0]


EXACT = ground_energy()
print(f"ground state, exact diagonalization: {EXACT:.6f}")

# %% [markdown]
# The trial state is a small restricted Boltzmann machine without biases, the same at every site: it has the symmetries of
# the ground state, translation and s → −s, and 16 parameters,
#
# $$ \log \psi(s) = \sum_k \sum_i \log \cosh\Big(\sum_j W_{kj}\, s_{i+j}\Big). $$

# %%
SHIFTS = (jnp.arange(SITES)[:, None] + jnp.arange(SITES)[None, :]) % SITES


def log_psi(w, s):
    activations = w @ s[SHIFTS].T  # of feature k at site i
    return jnp.sum(jnp.logaddexp(activations, -activations))


def local_energy(w, s):
    flipped = jnp.where(jnp.eye(SITES, dtype=bool), -s[None, :], s[None, :])
    ratios = jnp.exp(jax.vmap(log_psi, (None, 0))(w, flipped) - log_psi(w, s))
    return jax.lax.stop_gradient(-jnp.sum(s * jnp.roll(s, -1)) - FIELD * jnp.sum(ratios))


def energy_of(w, samples, **how):
    """E and, by its derivative, 2 Cov(e, ∇log ψ), from draws of ψ²."""
    log_density = lambda s: 2 * log_psi(w, s)
    return lt.expect_given(
        samples, lambda s: local_energy(w, s), log_density, normalized=False, **how
    )


@jax.jit
def exact_energy_of(w):
    """The same by the sum over all 256 states of the normalized distribution."""
    density = lt.Categorical(jax.vmap(lambda s: 2 * log_psi(w, s))(STATES))
    return lt.expect(
        jax.random.key(0),
        lambda i: local_energy(w, STATES[i]),
        density,
        estimator=lt.Enumerate(),
        num_samples=1,
    )


# %% [markdown]
# **The gradient is right.** On 2,000 independent batches of 64 exact draws the covariance form agrees with the exact
# gradient in every parameter, at a point where nothing is small. `assert_unbiased` fails also where the draws
# could not have shown a bias of a twentieth of the gradient's norm.

# %%
start = 0.1 * jax.random.normal(jax.random.key(1), (FEATURES, SITES))
far = 3 * start


@jax.jit
def gradients(w, key):
    logits = jax.vmap(lambda s: 2 * log_psi(w, s))(STATES)
    draws = STATES[jax.random.categorical(key, logits, shape=(2000, 64))]
    return jax.vmap(jax.grad(energy_of), (None, 0))(w, draws)


exact_gradient = jax.grad(exact_energy_of)(far)
norm = jnp.linalg.norm(exact_gradient)
lt.testing.assert_unbiased(
    gradients(far, jax.random.key(2)), exact_gradient, resolve=0.05, scale=float(norm)
)
print(f"gradient, norm {norm:.2f}: unbiased in every one of its {exact_gradient.size} coordinates")

# %% [markdown]
# **Training.** 256 Metropolis chains live through the whole run: two proposals a spin for each step of Adam.


# %%
def flip(key, w, s):
    """A proposal to flip one spin, accepted with min(1, ψ²(s') / ψ²(s))."""
    where, accept = jax.random.split(key)
    proposal = jnp.where(jnp.arange(SITES) == jax.random.randint(where, (), 0, SITES), -s, s)
    log_ratio = 2 * (log_psi(w, proposal) - log_psi(w, s))
    return jnp.where(jnp.log(jax.random.uniform(accept)) < log_ratio, proposal, s)


def flips(key, w, chains, count):
    """`count` proposals in every chain: the last states, and all of them, (chains, count, sites)."""

    def one(s, key):
        s = flip(key, w, s)
        return s, s

    keys = jax.vmap(lambda k: jax.random.split(k, count))(jax.random.split(key, len(chains)))
    return jax.vmap(lambda s, k: jax.lax.scan(one, s, k))(chains, keys)


STEPS, CHAINS = 250, 256
optimizer = optax.adam(optax.cosine_decay_schedule(0.03, STEPS))


@jax.jit
def train(w, key):
    def step(carry, key):
        w, state, chains = carry
        chains, _ = flips(key, w, chains, 2 * SITES)
        energy, gradient = jax.value_and_grad(energy_of)(w, chains)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(w, updates), state, chains), energy

    key, begin = jax.random.split(key)
    chains = jax.random.rademacher(begin, (CHAINS, SITES), float)
    carry = (w, optimizer.init(w), chains)
    return jax.lax.scan(step, carry, jax.random.split(key, STEPS))


(trained, _, chains), energies = train(start, jax.random.key(3))
for i in (0, 25, 50, 100, STEPS - 1):
    print(f"step {i:3d}: energy {energies[i]:9.4f}")

reached = exact_energy_of(trained).item()
relative_error = (reached - EXACT) / abs(EXACT)
print(
    f"the trained state, exactly: {reached:.6f}, above the ground state by {relative_error:.2e} of it"
)
assert -1e-6 < relative_error < 2e-3  # variational: never below, but for float32's rounding

fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.plot(energies, lw=0.8, label="energy of 256 chains")
ax.axhline(EXACT, color="k", ls="--", lw=1, label="ground state, exact")
ax.set(xlabel="step of the optimizer", ylabel="energy")
_ = ax.legend(frameon=False)

# %% [markdown]
# **The error bar.** A last long run of few chains, with a draw after every single proposal, so that the draws follow one
# another closely. Given as chains × draws, their standard error counts the autocorrelation; taken as independent draws,
# the same numbers claim an error that is too small.

# %%
LENGTH, FEW = 2000, 16
_, draws = jax.jit(flips, static_argnums=3)(jax.random.key(4), trained, chains[:FEW], LENGTH)
energy, aux = jax.jit(lambda w, x: energy_of(w, x, num_chains=FEW, has_aux=True))(trained, draws)
_, independent = jax.jit(lambda w, x: energy_of(w, x, has_aux=True))(
    trained, draws.reshape(-1, SITES)
)
print(
    f"{FEW} chains × {LENGTH} draws: {energy:.5f} ± {aux.standard_error:.5f}, exact {reached:.5f}"
)
print(
    f"autocorrelation time {aux.autocorrelation_time:.1f}, {aux.effective_sample_size:.0f} effective draws"
)
print(f"as if independent: ± {independent.standard_error:.5f}")
assert abs(energy - reached) < 5 * aux.standard_error < 0.01 * abs(reached)
assert aux.standard_error > 1.5 * independent.standard_error

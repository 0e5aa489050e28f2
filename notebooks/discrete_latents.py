# %% [markdown]
# # Discrete latent variables
#
# Three models whose hidden variables have no derivative: a mixture (with labels of its own for each observation, and with
# an encoder for all of them), variable selection, and a binary autoencoder (of bars, and of handwritten digits).
#
# ## A mixture: which cluster does each galaxy belong to?
#
# The velocities of 82 galaxies (Postman, Huchra & Geller 1986; Roeder 1990) fall into clusters. In a mixture model every
# galaxy has a hidden label $z_i \in \{0, 1, 2\}$, and a label has no derivative. Variational inference gives each galaxy
# its own distribution $q_i(z_i)$ and maximizes the evidence lower bound
#
# $$ \mathrm{ELBO} = \sum_i \mathbb{E}_{z_i \sim q_i}\big[\log w_{z_i} + \log \mathcal N(y_i; \mu_{z_i}, \sigma_{z_i}^2)
#    - \log q_i(z_i)\big] \;\le\; \sum_i \log p(y_i) . $$
#
# The labels are few, so that the right-hand side is known exactly and everything below can be checked against it.

# %%
import importlib.resources
import itertools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from jax.scipy.stats import norm

import logtrick as lt

FAST = bool(os.environ.get("LOGTRICK_FAST"))  # the tests take fewer steps

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
means, weights = np.asarray(fit.params["mean"]), np.asarray(jax.nn.softmax(fit.params["weight"]))
print("means ", means.round(1), " weights", weights.round(2))
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
for k, (name, color) in enumerate((("slow", "red"), ("middle", "lime"), ("fast", "blue"))):
    left.plot([], [], "o", ms=4, color=color, label=f"{name} cluster, weight {weights[k]:.2f}")
left.set(
    xlabel="velocity (1000 km/s)",
    ylabel="density",
    ylim=(-0.016, None),
    title="The mixture; each dot is a galaxy, colored by q",
)
left.legend(frameon=False, fontsize=8, loc="upper right")
right.plot(fit.history.value, color="C0", lw=0.7, label="ELBO, estimated from 4 draws a label")
right.axhline(float(log_likelihood), color="black", lw=1, label="exact log-likelihood at the end")
right.set(
    xlabel="step",
    ylabel="nats",
    title="The bound rises toward the log-likelihood",
    ylim=(-330, -190),
)
_ = right.legend(frameon=False, loc="lower right")

# %% [markdown]
# ## One encoder for all galaxies
#
# So far each galaxy has logits of its own, and a new galaxy would need a new fit. In an **amortized** mixture a small
# network reads the velocity and returns the logits; the network is trained in place of the 82 rows. One line differs, the
# one that says where the logits come from. The draws are still labels.


# %%
def encoder(net, velocity):
    hidden = jnp.tanh((velocity - 20.0) / 5.0 * net["in"] + net["bias"])
    return hidden @ net["out"]


def amortized(params, key, estimator=SCORE_FUNCTION):
    logits = jax.vmap(encoder, (None, 0))(params["net"], y)
    return local({**params, "logits": logits}, key, estimator)


mixture = {name: params[name] for name in ("mean", "log_scale", "weight")}
net = {
    "in": jnp.linspace(1.0, 4.0, 8),
    "bias": jnp.linspace(-4.0, 4.0, 8),
    "out": jnp.zeros((8, 3)),
}
encoded = lt.maximize(
    jax.random.key(9), amortized, {**mixture, "net": net}, optax.adam(0.05), num_steps=800
)
amortized_bound = amortized(encoded.params, jax.random.key(0), lt.Enumerate())
encoded_likelihood = jax.vmap(log_density, (None, 0))(encoded.params, y).sum()
print(f"with an encoder: ELBO {amortized_bound:.2f} ≤ log-likelihood {encoded_likelihood:.2f}")


def exact_labels(params, velocity):
    parts = norm.logpdf(velocity, params["mean"], jnp.exp(params["log_scale"]))
    return jax.nn.softmax(params["weight"] + parts)


print("galaxies that the fit has not seen: q of the label (in brackets the exact posterior)")
for velocity in (9.9, 13.0, 20.5, 27.0, 33.0):
    guess = jax.nn.softmax(encoder(encoded.params["net"], velocity))
    cells = (f"{a:.2f} ({b:.2f})" for a, b in zip(guess, exact_labels(encoded.params, velocity)))
    print(f"  {velocity:4.1f}  ", "   ".join(cells))
assert 0.0 < encoded_likelihood - amortized_bound < 4.0

# %% [markdown]
# The likelihood of a mixture has several maxima, and the two fits ended at different ones: each bound is to be compared with
# its own log-likelihood. Where there were galaxies the encoder agrees with the exact posterior. At 13.0, in the empty space
# between two clusters, it is sure of the wrong one: the bound is a sum over the data, and says nothing about other places.

# %% [markdown]
# With three labels `lt.Enumerate()` would have been free of noise altogether; with many labels, or labels that depend on each
# other, the same code with `lt.ScoreFunction()` is what remains. `which_estimator.ipynb` compares the choices.
#
# ## Which predictors matter? Variable selection
#
# 442 diabetes patients, ten measurements, and the progression of the disease one year later (Efron et al., 2004). A vector
# $\gamma \in \{0, 1\}^{10}$ says which measurements enter a linear regression. With Zellner's g-prior ($g = n$) the
# coefficients integrate out, and $\log p(y, \gamma)$ is a closed form in $R^2$, the share of the variance that the chosen
# ones explain:
#
# $$ \log \frac{p(y \mid \gamma)}{p(y \mid 0)} = \tfrac{n - 1 - k}{2} \log(1 + n) - \tfrac{n - 1}{2} \log(1 + n (1 - R^2)),
#    \qquad k = \textstyle\sum_j \gamma_j . $$
#
# $q$ has ten independent coins. The draws are discrete and $f$ jumps with each of them. There are 1024 models, so that the
# exact posterior is known as well.

# %%
TABLE = importlib.resources.files("logtrick._variable_selection").joinpath("diabetes.csv")
header, *rows = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
NAMES = header.split(",")[:-1]
columns = np.array([[float(cell) for cell in row.split(",")] for row in rows])
columns = (columns - columns.mean(0)) / columns.std(0) / len(columns) ** 0.5  # of length 1
PATIENTS = len(columns)
FACTOR = jnp.array(np.linalg.qr(columns).R)  # R² needs the correlations only


def log_joint(gamma):
    """log p(y, γ) − log p(y | no predictor): the chosen columns are taken out of the last, one by one."""

    def take_out(j, rest):
        direction = rest[:, j]
        weight = gamma[j] / jnp.sum(direction**2)
        return rest - weight * jnp.outer(direction, direction @ rest)

    unexplained = jnp.sum(jax.lax.fori_loop(0, 10, take_out, FACTOR)[:, -1] ** 2)
    ratio = jnp.log((1 + PATIENTS * unexplained) / (1 + PATIENTS))
    log_bayes = -0.5 * jnp.sum(gamma) * jnp.log(1.0 + PATIENTS) - 0.5 * (PATIENTS - 1) * ratio
    return log_bayes - 10 * jnp.log(2.0)


MODELS = jnp.array(list(itertools.product((0.0, 1.0), repeat=10)))
log_p = jax.jit(jax.vmap(log_joint))(MODELS)
log_evidence = jax.nn.logsumexp(log_p)
inclusion = jnp.exp(log_p - log_evidence) @ MODELS  # the exact posterior inclusion probabilities


def selection_bound(logits, key):
    q = lt.Bernoulli(logits)
    return lt.expect(key, lambda gamma: log_joint(gamma) - q.log_prob(gamma), q, num_samples=16)


selection = lt.maximize(
    jax.random.key(3),
    selection_bound,
    jnp.zeros(10),
    optax.adam(0.05),
    num_steps=300 if FAST else 1000,
)
found = jax.nn.sigmoid(selection.params)
print(" " * 16 + "".join(f"{name:>6s}" for name in NAMES))
print("exact           " + "".join(f"{p:6.2f}" for p in inclusion))
print("q               " + "".join(f"{p:6.2f}" for p in found))
bound = selection.history.value[-100:].mean()
print(f"ELBO {bound:.2f} ≤ log-evidence {log_evidence:.2f}")
assert log_evidence - 3.0 < bound < log_evidence + 0.1
assert jnp.all(found[inclusion > 0.9] > 0.9)

# %% [markdown]
# ## A binary variational autoencoder
#
# Images of 8 × 8 pixels show bars: each of the 8 rows and 8 columns is lit with probability 1/8, independently (Földiák,
# 1990). The model has 16 hidden bits and must find out by itself that the images are made of 16 parts. How good it can
# get is known: no code is shorter on average than the entropy of the images, at most $16\, H(1/8) = 6.03$ nats.
#
# The encoder gives each image a distribution of its own over the bits, so again there is one `lt.expect` for each image, and
# `jax.vmap` over the batch. `lt.DisARM()` is the estimator made for independent bits (two evaluations a sample).


# %%
def images_of(key, n):
    lit = jax.random.bernoulli(key, 1 / 8, (n, 2, 8))
    return jnp.maximum(lit[:, 0, :, None], lit[:, 1, None, :]).reshape(n, 64).astype(jnp.float32)


def bernoulli(logits, x):
    return jnp.sum(x * logits - jax.nn.softplus(logits))


def code_length(net, key, batch):
    """The negative ELBO: nats that this model needs for an image."""

    def one(key, image):
        logits = image @ net["encode"] + net["encode bias"]

        def f(z):
            log_p = bernoulli(net["prior"], z) + bernoulli(z @ net["decode"] + net["bias"], image)
            return bernoulli(logits, z) - log_p

        return lt.expect(key, f, lt.Bernoulli(logits), estimator=lt.DisARM(), num_samples=2)

    return jnp.mean(jax.vmap(one)(jax.random.split(key, len(batch)), batch))


def train(key, images, bits, steps, rate):
    """An autoencoder of 8 × 8 images through `bits` bits, linear in both directions."""
    encode_key, decode_key, fit_key = jax.random.split(key, 3)
    net = {
        "encode": 0.3 * jax.random.normal(encode_key, (64, bits)),
        "encode bias": jnp.full(bits, -2.0),
        "decode": 0.3 * jax.random.normal(decode_key, (bits, 64)),
        "bias": jnp.full(64, -2.0),
        "prior": jnp.full(bits, -2.0),
    }
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))
    return lt.minimize(
        fit_key, code_length, net, optimizer, num_steps=steps, data=images, batch_size=50
    )


STEPS = 200 if FAST else 2000
bars = train(jax.random.key(4), images_of(jax.random.key(6), 5000), 16, STEPS, 0.1)
fresh = images_of(jax.random.key(7), 2000)
entropy = -16 * (1 / 8 * np.log(1 / 8) + 7 / 8 * np.log(7 / 8))
length = jax.jit(code_length)(bars.params, jax.random.key(8), fresh)
print(f"code length of 2,000 fresh images: {length:.2f} nats; entropy of the bars {entropy:.2f}")
print(f"before training: {bars.history.value[0]:.1f} nats")

assert length > entropy and (FAST or length < 10.0)


# %%
def mosaic(images):
    """16 images of 8 × 8 as one picture, with gaps."""
    tiles = np.pad(
        np.asarray(images).reshape(4, 4, 8, 8),
        ((0, 0), (0, 0), (1, 1), (1, 1)),
        constant_values=0.5,
    )
    return tiles.transpose(0, 2, 1, 3).reshape(40, 40)


def reconstructed(net, image):
    bits = (image @ net["encode"] + net["encode bias"] > 0).astype(jnp.float32)
    return jax.nn.sigmoid(bits @ net["decode"] + net["bias"])


def show(history, reference, label, pictures):
    """The code length while it is learned, and rows of images."""
    _, axes = plt.subplots(
        1, 4, figsize=(12, 3.4), layout="constrained", width_ratios=(1.35, 1, 1, 1)
    )
    axes[0].plot(history.value, color="C0", lw=0.6, label="this model, 50 images a step")
    axes[0].axhline(reference, color="black", lw=1, label=label)
    axes[0].set(xlabel="step", ylabel="nats for an image", title="Code length", ylim=(0, 45))
    axes[0].legend(frameon=False)
    for ax, (title, images) in zip(axes[1:], pictures.items()):
        ax.imshow(mosaic(images), cmap="gray_r", vmin=0, vmax=1)
        ax.set(title=title, xticks=[], yticks=[])


by_use = jnp.argsort(-bars.params["prior"])
some = fresh[fresh.sum(1) > 0][:16]
show(
    bars.history,
    entropy,
    "entropy of the bars",
    {
        "16 fresh images": some,
        "the same, through 16 bits": jax.vmap(reconstructed, (None, 0))(bars.params, some),
        "what each bit adds": jax.nn.sigmoid(bars.params["decode"][by_use]),
    },
)

# %% [markdown]
# The bits have become bars, found from images alone; some stand for two bars. That, and an encoder that is linear, is the rest
# of the gap to the entropy.
#
# ## The same with handwritten digits
#
# 1,797 digits of 8 × 8 pixels come with scikit-learn (`pip install scikit-learn`; without it this section is left out). A
# pixel is black if it is above half of the largest value. 1,500 digits train a model of 32 bits, the other 297 judge it.
# The reference is a model without hidden bits, in which every pixel has a probability of its own.

# %%
try:
    from sklearn.datasets import load_digits
except ImportError:
    load_digits = None
    print("scikit-learn is not installed: no digits")

if load_digits is not None:
    pixels = jnp.array(load_digits().data > 8.0, jnp.float32)
    pixels = pixels[jax.random.permutation(jax.random.key(10), len(pixels))]
    seen, unseen = pixels[:1500], pixels[1500:]
    ink = jnp.clip(seen.mean(0), 1 / 3000, 1 - 1 / 3000)
    independent = -jnp.mean(unseen @ jnp.log(ink) + (1 - unseen) @ jnp.log(1 - ink))
    digits = train(jax.random.key(11), seen, 32, STEPS, 0.03)
    length = jax.jit(code_length)(digits.params, jax.random.key(12), unseen)
    print(f"297 unseen digits: {length:.2f} nats; with independent pixels {independent:.2f}")
    assert length < (independent if FAST else independent - 5.0)
    q = jax.nn.sigmoid(unseen @ digits.params["encode"] + digits.params["encode bias"][None])
    print(f"bits that q switches on, of 32: {q.sum(1).mean():.1f} for a digit")
    prior = jax.nn.sigmoid(digits.params["prior"])
    codes = jax.random.bernoulli(jax.random.key(13), prior[None], (16, 32)).astype(jnp.float32)
    show(
        digits.history,
        independent,
        "independent pixels",
        {
            "16 unseen digits": unseen[:16],
            "the same, through 32 bits": jax.vmap(reconstructed, (None, 0))(
                digits.params, unseen[:16]
            ),
            "drawn from the model": jax.nn.sigmoid(
                codes @ digits.params["decode"] + digits.params["bias"][None]
            ),
        },
    )

# %% [markdown]
# Digits come through 32 bits and stay readable. Draws from the model look like digits only now and then: its prior says that
# the bits are independent, and which strokes go together is just what makes a digit. A second layer of bits is the usual
# remedy.
#
# **Where next:** `which_estimator.ipynb` compares estimators for independent bits; `variational_inference.ipynb` treats
# continuous posteriors.

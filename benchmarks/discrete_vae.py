"""What ELBO does a binary autoencoder on handwritten digits reach by `lt.vi`, and what does a step cost against hand-written JAX?

scikit-learn's 1,797 digits (8 × 8 pixels, lit above half), 32 bits for each image, linear 64–32–64: an encoder, a decoder
and the bits' prior log odds. Leave-one-out with K = 4 draws an image, 100 images a step, Adam 5e-3, 3,000 steps. Expected is an
ELBO of −19.6 ± 0.3 nats an image; the seeds say how much of that is chance.

Ours is `vi.fit` of a `vi.Amortized` guide with a `vi.per_row` density, whose `model` is the decoder and the prior.
Hand-written is one `jax.random.uniform` a step, batched log-probs, the surrogate mean(stop(f − b) · log q − log p), a jitted
`lax.scan` over the steps. Whole fits, interleaved, the median of the ratios of their second calls.
`python benchmarks/discrete_vae.py [--steps 3000] [--seeds 3]`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import logtrick as lt
from logtrick import vi

stop = jax.lax.stop_gradient
BITS, BATCH, DRAWS = 32, 100, 4
IMAGES = jnp.asarray(load_digits().data / 16 > 0.5, jnp.float32)
PIXELS = IMAGES.shape[1]
OPTIMIZER = optax.adam(5e-3)
EXPECTED, WITHIN = -19.6, 0.3


def layer(key: jax.Array, inputs: int, outputs: int) -> Any:
    return {
        "weight": jax.random.normal(key, (inputs, outputs)) / inputs**0.5,
        "bias": jnp.zeros(outputs),
    }


def linear(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["weight"] + layer["bias"]


def start(seed: int) -> tuple[Any, Any]:
    """The encoder, and the model: decoder and prior."""
    up, down = jax.random.split(jax.random.key(seed))
    model = {"decoder": layer(down, BITS, PIXELS), "prior": jnp.zeros(BITS)}
    return layer(up, PIXELS, BITS), model


# --- ours


def encode(encoder: Any, image: jax.Array) -> vi.BernoulliProduct:
    return vi.BernoulliProduct(logits=linear(encoder, image))


def log_joint(bits: jax.Array, image: jax.Array, model: Any) -> jax.Array:
    pixels = lt.Bernoulli(linear(model["decoder"], bits))
    return lt.Bernoulli(model["prior"]).log_prob(bits) + pixels.log_prob(image)


def ours(seed: int, steps: int) -> tuple[Any, Any]:
    """The encoder and the model, as fitted."""
    encoder, model = start(seed)
    fit = vi.fit(
        jax.random.key(seed),
        vi.per_row(log_joint, IMAGES, BATCH, model=model),
        vi.Amortized(encode, encoder),
        estimator=lt.ScoreFunction(),
        optimizer=OPTIMIZER,
        num_samples=DRAWS,
        max_steps=steps,
    )
    return fit.q.params, fit.model


# --- by hand


def bernoulli(logits: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sum(x * logits - jax.nn.softplus(logits), -1)


def loss_by_hand(params: Any, key: jax.Array, images: jax.Array) -> jax.Array:
    encoder, model = params
    logits = linear(encoder, images)
    uniform = jax.random.uniform(key, (DRAWS, len(images), BITS))
    bits = stop((uniform < jax.nn.sigmoid(logits)).astype(jnp.float32))
    log_q = bernoulli(jnp.broadcast_to(logits, bits.shape), bits)
    pixels = bernoulli(
        linear(model["decoder"], bits), jnp.broadcast_to(images, (DRAWS, *images.shape))
    )
    log_p = bernoulli(jnp.broadcast_to(model["prior"], bits.shape), bits) + pixels
    f = stop(log_q - log_p)
    centered = (f - jnp.mean(f, 0)) * (DRAWS / (DRAWS - 1))
    surrogate = jnp.mean(centered * log_q - log_p)
    return surrogate + stop(jnp.mean(f) - surrogate)


def by_hand(seed: int, steps: int) -> tuple[Any, Any]:
    """The same fit without the library."""
    return _scan(start(seed), jax.random.split(jax.random.key(seed), steps))


@jax.jit
def _scan(params: Any, keys: jax.Array) -> Any:
    def step(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        row_key, draw_key = jax.random.split(key)
        rows = jax.random.randint(row_key, (BATCH,), 0, len(IMAGES))
        value, gradient = jax.value_and_grad(loss_by_hand)(params, draw_key, IMAGES[rows])
        updates, state = OPTIMIZER.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    return jax.lax.scan(step, (params, OPTIMIZER.init(params)), keys)[0][0]


# --- what they found


@jax.jit
def elbo(params: Any, key: jax.Array) -> jax.Array:
    """Nats an image, over all images and 20 draws of each."""
    each = jax.lax.map(lambda k: -loss_by_hand(params, k, IMAGES), jax.random.split(key, 5))
    return jnp.mean(each)


def timed(fit: Callable[[int, int], Any], seed: int, steps: int) -> tuple[Any, float]:
    began = time.perf_counter()
    found = jax.block_until_ready(fit(seed, steps))
    return found, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    fits = {"lt.vi": ours, "by hand": by_hand}
    for name, fit in fits.items():
        print(f"{name}: first call {timed(fit, 0, arguments.steps)[1]:.2f} s")
    ratios = []
    for seed in range(arguments.seeds):
        seconds = {}
        order = list(fits) if seed % 2 else list(fits)[::-1]
        for name in order:
            found, seconds[name] = timed(fits[name], seed, arguments.steps)
            value = float(elbo(found, jax.random.key(100)))
            mark = "" if value > EXPECTED - WITHIN else "   <-- below"
            step = 1e3 * seconds[name] / arguments.steps
            print(
                f"seed {seed}, {name}: ELBO {value:.2f} (expected {EXPECTED} ± {WITHIN}), {step:.3f} ms a step{mark}"
            )
        ratios.append(seconds["lt.vi"] / seconds["by hand"])
    print(f"step: lt.vi / by hand {statistics.median(ratios):.2f} (median of {len(ratios)} pairs)")


if __name__ == "__main__":
    main()

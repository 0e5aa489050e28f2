"""What does a training step of a two-layer discrete VAE cost, against hand-written JAX?

Bernoulli latents 200–200, handwritten digits (8 × 8, binarised; scikit-learn's), 200 images a step, K = 4 draws an image,
leave-one-out, Adam. Ours: `lt.expect_program` per image under `jax.vmap`, the randomness where it is local. Hand-written:
one `jax.random.uniform` a layer, batched log-probs, the surrogate. Both in a jitted `lax.scan` of 20 steps; interleaved
calls, the median of their ratios. `python benchmarks/discrete_vae.py [--pairs 25] [--train 1000]`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import logtrick as lt

stop = jax.lax.stop_gradient
WIDTH, BATCH, DRAWS, STEPS = 200, 200, 4, 20
IMAGES = jnp.asarray(load_digits().data > 7, jnp.float32)
PIXELS = IMAGES.shape[1]
OPTIMIZER = optax.adam(3e-3)


def start() -> Any:
    sizes = {
        "up1": (PIXELS, WIDTH),
        "up2": (WIDTH, WIDTH),
        "down2": (WIDTH, WIDTH),
        "down1": (WIDTH, PIXELS),
    }
    keys = jax.random.split(jax.random.key(0), len(sizes))
    layers = {
        name: (jax.random.normal(k, size) / size[0] ** 0.5, jnp.zeros(size[1]))
        for (name, size), k in zip(sizes.items(), keys, strict=True)
    }
    return {**layers, "prior": jnp.zeros(WIDTH)}


def linear(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer[0] + layer[1]


def negative_elbo(params: Any, key: jax.Array, images: jax.Array) -> jax.Array:
    """Ours: one program an image."""

    def program(x: jax.Array) -> Any:
        q1 = lt.Bernoulli(linear(params["up1"], x))
        z1 = yield lt.sample(q1)
        q2 = lt.Bernoulli(linear(params["up2"], z1))
        z2 = yield lt.sample(q2)
        log_p = (
            lt.Bernoulli(params["prior"]).log_prob(z2)
            + lt.Bernoulli(linear(params["down2"], z2)).log_prob(z1)
            + lt.Bernoulli(linear(params["down1"], z1)).log_prob(x)
        )
        yield lt.cost(q1.log_prob(z1) + q2.log_prob(z2) - log_p)

    one = lambda key, x: lt.expect_program(key, program, x, num_samples=DRAWS)
    return jnp.mean(jax.vmap(one)(jax.random.split(key, len(images)), images))


def bernoulli(logits: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sum(x * logits - jax.nn.softplus(logits), -1)


def hand_negative_elbo(params: Any, key: jax.Array, images: jax.Array) -> jax.Array:
    keys = jax.random.split(key)
    shape = (DRAWS, len(images), WIDTH)
    up1 = jnp.broadcast_to(linear(params["up1"], images), shape)
    z1 = stop((jax.random.uniform(keys[0], shape) < jax.nn.sigmoid(up1)).astype(jnp.float32))
    up2 = linear(params["up2"], z1)
    z2 = stop((jax.random.uniform(keys[1], shape) < jax.nn.sigmoid(up2)).astype(jnp.float32))
    log_q = bernoulli(up1, z1) + bernoulli(up2, z2)
    log_p = (
        bernoulli(params["prior"], z2)
        + bernoulli(linear(params["down2"], z2), z1)
        + bernoulli(linear(params["down1"], z1), images)
    )
    f = stop(log_q - log_p)
    centered = (f - jnp.mean(f, 0)) * (DRAWS / (DRAWS - 1))
    surrogate = jnp.mean(centered * log_q - log_p)
    return surrogate + stop(jnp.mean(f) - surrogate)


def steps_of(loss: Callable[..., jax.Array]) -> Callable[..., Any]:
    """A jitted chunk of training steps."""

    @jax.jit
    def run(carry: Any, key: jax.Array) -> Any:
        def step(carry: Any, key: jax.Array) -> Any:
            params, state = carry
            rows = jax.random.randint(jax.random.fold_in(key, 1), (BATCH,), 0, len(IMAGES))
            value, gradient = jax.value_and_grad(loss)(params, key, IMAGES[rows])
            updates, state = OPTIMIZER.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, carry, jax.random.split(key, STEPS))

    return run


def gradients_agree() -> float:
    """How many standard errors the means of the two gradients are apart, at most, in 100 random directions."""
    params, keys = start(), jax.random.split(jax.random.key(1), 64)
    leaves, tree = jax.tree.flatten(params)
    random = [
        jax.random.normal(jax.random.key(i), (100, leaf.size)) for i, leaf in enumerate(leaves)
    ]
    project = lambda g: sum(
        r @ leaf.ravel() for r, leaf in zip(random, tree.flatten_up_to(g), strict=True)
    )
    found = []
    for loss in (negative_elbo, hand_negative_elbo):
        one = jax.jit(lambda key, loss=loss: project(jax.grad(loss)(params, key, IMAGES[:BATCH])))
        found.append(np.array([one(key) for key in keys]))
    error = np.sqrt(sum(f.var(0, ddof=1) for f in found) / len(keys))
    return float(np.abs((found[0] - found[1]).mean(0) / error).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument(
        "--train", type=int, default=1000, help="steps of training to show the ELBO of"
    )
    args = parser.parse_args()
    runs = {"ours": steps_of(negative_elbo), "hand": steps_of(hand_negative_elbo)}
    carry = (start(), OPTIMIZER.init(start()))
    first: dict[str, float] = {}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for name, run in runs.items():
        begin = time.perf_counter()
        jax.block_until_ready(run(carry, jax.random.key(0)))
        first[name] = time.perf_counter() - begin
    for i in range(args.pairs):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            begin = time.perf_counter()
            jax.block_until_ready(runs[name](carry, jax.random.key(i)))
            seconds[name].append(time.perf_counter() - begin)
    ratio = statistics.median(a / b for a, b in zip(seconds["ours"], seconds["hand"], strict=True))
    step = {name: 1e3 * statistics.median(s) / STEPS for name, s in seconds.items()}
    print(f"step: ours {step['ours']:.2f} ms, hand {step['hand']:.2f} ms, ratio {ratio:.2f}")
    print(f"first call: ours {first['ours']:.2f} s, hand {first['hand']:.2f} s")
    print(
        f"gradients: means at most {gradients_agree():.1f} standard errors apart in 100 directions"
    )
    for name, run in runs.items():
        state = carry
        for i in range(args.train // STEPS):
            state, values = run(state, jax.random.key(1000 + i))
        print(f"{name}: ELBO {-float(jnp.mean(values)):.2f} after {args.train} steps")


if __name__ == "__main__":
    main()

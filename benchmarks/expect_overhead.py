"""What does one value-and-gradient of `lt.expect` cost against hand-written JAX on the same work?

Hand-written: one `jax.random` draw, the surrogate mean(stop(f − b) · log q), leave-one-out. Interleaved calls, the median of
their ratios; run it several times. `python benchmarks/expect_overhead.py [--pairs 25] [--only normal-100-1000]`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import logtrick as lt

stop = jax.lax.stop_gradient
CASES = [
    *(("normal", d, n) for d in (1, 30, 100, 1000) for n in (16, 256, 4096)),
    *(("bernoulli", 200, n) for n in (16, 256, 4096)),
    ("normal", 100, 100_000),
]


def cost(x: jax.Array) -> jax.Array:
    return jnp.sum((x - 0.45) ** 2)


def leave_one_out_surrogate(x: jax.Array, log_q: Callable[[jax.Array], jax.Array]) -> jax.Array:
    f = jax.vmap(cost)(x)
    baseline = (jnp.sum(f) - f) / (f.shape[0] - 1)
    surrogate = jnp.mean(stop(f - baseline) * log_q(x))
    return surrogate + stop(jnp.mean(f) - surrogate)


def hand_normal(params: Any, key: jax.Array, dim: int, n: int) -> jax.Array:
    loc, log_scale = params
    scale = jnp.exp(log_scale)
    x = stop(loc + scale * jax.random.normal(key, (n, dim)))
    constant = 0.5 * jnp.log(2 * jnp.pi)
    return leave_one_out_surrogate(
        x, lambda x: jnp.sum(-0.5 * ((x - loc) / scale) ** 2 - log_scale - constant, axis=1)
    )


def hand_bernoulli(params: Any, key: jax.Array, dim: int, n: int) -> jax.Array:
    (logits,) = params
    x = stop((jax.random.uniform(key, (n, dim)) < jax.nn.sigmoid(logits)).astype(logits.dtype))
    return leave_one_out_surrogate(
        x,
        lambda x: jnp.sum(
            x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits), axis=1
        ),
    )


def ours_normal(params: Any, key: jax.Array, dim: int, n: int) -> jax.Array:
    loc, log_scale = params
    return lt.expect(key, cost, lt.Normal(loc, jnp.exp(log_scale)), num_samples=n)


def ours_bernoulli(params: Any, key: jax.Array, dim: int, n: int) -> jax.Array:
    return lt.expect(key, cost, lt.Bernoulli(params[0]), num_samples=n)


def case(family: str, dim: int) -> tuple[Any, Any, Any]:
    """The parameters, ours and the hand-written expectation of a family."""
    if family == "normal":
        return (jnp.full(dim, 0.1), jnp.zeros(dim)), ours_normal, hand_normal
    return (jnp.linspace(-1.0, 1.0, dim),), ours_bernoulli, hand_bernoulli


def compiled(transform: Any, function: Any, params: Any, dim: int, n: int) -> tuple[Any, float]:
    start = time.perf_counter()
    run = (
        jax.jit(transform(lambda p, k: function(p, k, dim, n)))
        .lower(params, jax.random.key(0))
        .compile()
    )
    return run, time.perf_counter() - start


def ratio(ours: Any, hand: Any, params: Any, pairs: int) -> tuple[float, float]:
    """The median of interleaved ratios ours / hand, and hand's median seconds a call."""

    def seconds(run: Any, key: jax.Array, repeat: int) -> float:
        start = time.perf_counter()
        for _ in range(repeat):
            jax.block_until_ready(run(params, key))
        return (time.perf_counter() - start) / repeat

    key = jax.random.key(1)
    seconds(ours, key, 3)
    repeat = max(1, round(0.02 / max(seconds(hand, key, 3), 1e-6)))
    times = []
    for i in range(pairs):
        first, second = (ours, hand) if i % 2 else (hand, ours)
        a, b = seconds(first, key, repeat), seconds(second, key, repeat)
        times.append((a, b) if i % 2 else (b, a))
    return statistics.median(o / h for o, h in times), statistics.median(h for _, h in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--only", default="", help="a case, as family-dim-draws, or a part of it")
    args = parser.parse_args()
    print(f"{'case':22s} {'what':15s} {'ours/hand':>9s} {'hand [µs]':>10s} {'compile':>8s}")
    for family, dim, n in CASES:
        name = f"{family}-{dim}-{n}"
        if args.only not in name:
            continue
        params, ours, hand = case(family, dim)
        for what, transform in (("value and grad", jax.value_and_grad), ("grad", jax.grad)):
            hand_run, hand_compile = compiled(transform, hand, params, dim, n)
            our_run, our_compile = compiled(transform, ours, params, dim, n)
            r, seconds = ratio(our_run, hand_run, params, args.pairs)
            print(
                f"{name:22s} {what:15s} {r:9.2f} {seconds * 1e6:10.1f} {our_compile / hand_compile:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

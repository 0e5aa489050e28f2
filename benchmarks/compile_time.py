"""What does a program of many sites cost to trace and to compile, against the hand-written one?

A chain: each bit's logit depends on the sum of those before, and each bit has a cost. Ours: `lt.expect_program`, score function
with leave-one-out, credit found by dependency. Hand-written: a Python loop over the sites, one `jax.random.uniform`,
reward-to-go, the surrogate. Seconds of one process's CPU, after the imports and a small program; nothing is cached.
`python benchmarks/compile_time.py [--sites 20 50 100 200]`.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import logtrick as lt

stop = jax.lax.stop_gradient
DRAWS = 8


def chain(logits: jax.Array) -> Any:
    """A program: each bit depends on the sum of those before, and has a cost."""
    z: Any = 0.0
    for logit in logits:
        bit = yield lt.sample(lt.Bernoulli(logit + 0.1 * z))
        z = z + bit
        yield lt.cost((bit - 0.45) ** 2)


def ours(logits: jax.Array, key: jax.Array) -> jax.Array:
    return lt.expect_program(key, chain, logits, num_samples=DRAWS)


def hand(logits: jax.Array, key: jax.Array) -> jax.Array:
    uniforms = jax.random.uniform(key, (len(logits), DRAWS))
    z, log_probs, costs = jnp.zeros(DRAWS), [], []
    for logit, u in zip(logits, uniforms, strict=True):
        at = logit + 0.1 * z
        bit = stop((u < jax.nn.sigmoid(at)).astype(jnp.float32))
        log_probs.append(bit * jax.nn.log_sigmoid(at) + (1 - bit) * jax.nn.log_sigmoid(-at))
        z = z + bit
        costs.append((bit - 0.45) ** 2)
    to_go, surrogate, value = jnp.zeros(DRAWS), jnp.zeros(()), jnp.zeros(())
    for log_prob, cost in zip(reversed(log_probs), reversed(costs), strict=True):
        to_go = to_go + cost
        others = (jnp.sum(to_go) - to_go) / (DRAWS - 1)
        surrogate = surrogate + jnp.mean(stop(to_go - others) * log_prob)
        value = value + jnp.mean(cost)
    return surrogate + stop(value - surrogate)


def seconds(program: Callable[..., jax.Array], sites: int) -> tuple[float, float]:
    """CPU seconds to trace value and gradient, and to lower and compile them."""
    jax.clear_caches()
    start = time.process_time()
    traced = jax.jit(jax.value_and_grad(program)).trace(jnp.zeros(sites), jax.random.key(0))
    between = time.process_time()
    traced.lower().compile()
    return between - start, time.process_time() - between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="+", default=[20, 50, 100, 200])
    args = parser.parse_args()
    for program in (ours, hand):
        seconds(program, 3)
    print(
        f"{'sites':>5s} {'trace: ours':>12s} {'hand':>6s} {'compile: ours':>14s} {'hand':>6s} {'ratio':>6s}"
    )
    for sites in args.sites:
        (our_trace, our_compile), (hand_trace, hand_compile) = (
            seconds(program, sites) for program in (ours, hand)
        )
        print(
            f"{sites:5d} {our_trace:10.2f} s {hand_trace:4.2f} s {our_compile:12.2f} s {hand_compile:4.1f} s "
            f"{our_compile / hand_compile:6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

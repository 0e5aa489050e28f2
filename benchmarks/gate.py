"""The regression gate: five ratios against hand-written JAX, each within 1.3 after at most three tries.

`python benchmarks/gate.py`: under a minute on two cores; exit code 1 where a ratio stays beyond.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import workloads
from expect_overhead import case
from timing import interleaved

LIMIT, TRIES, STEPS = 1.3, 3, 1000
Pair = dict[str, Callable[[], Any]]


def cases() -> Iterator[tuple[str, Callable[[], Pair]]]:
    """What is compared: the name, and what makes the two compiled calls."""
    yield "expect, normal, 30 × 16", lambda: _expect("normal", 30, 16)
    yield "expect, normal, 100 × 1,000", lambda: _expect("normal", 100, 1000)
    yield "expect, Bernoulli, 200 × 256", lambda: _expect("bernoulli", 200, 256)
    yield "minimize, logistic regression, score function", lambda: _fit(False)
    yield "minimize, logistic regression, pathwise", lambda: _fit(True)


def _expect(family: str, dim: int, n: int) -> Pair:
    params, *functions = case(family, dim, n)
    ours, hand = map(jax.jit, functions)
    key = jax.random.key(1)
    return {"ours": lambda: ours(params, key), "hand": lambda: hand(params, key)}


def _fit(pathwise: bool) -> Pair:
    data, key = workloads.synthetic(), jax.random.key(0)
    first = workloads.start(data)
    ours, hand = workloads.our_fit(STEPS, pathwise), workloads.hand_fit(STEPS, pathwise)
    return {"ours": lambda: ours(first, key, data), "hand": lambda: hand(first, key, data)}


def main() -> int:
    failed = 0
    began = time.perf_counter()
    for name, make in cases():
        pair = make()
        for _ in range(TRIES):
            timing = interleaved(pair, "hand", rounds=15)["ours"]
            if timing.ratio <= LIMIT:
                break
        over = timing.ratio > LIMIT
        failed += over
        word = f"over {LIMIT}" if over else "ok"
        print(f"{name:<56} {timing.ratio:5.2f}  {word}", flush=True)
    print(f"{failed} over the limit, {time.perf_counter() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

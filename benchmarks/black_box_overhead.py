"""What does a call of a host function through `lt.black_box` cost beside calling it directly?

Three timings, interleaved, medians: the NumPy function on the draws already there (a loop over them where it is not
batched); value and gradient of `lt.expect` with a cheap JAX cost; the same with the function in a black box. Overhead is the
third less the other two, per call of the host function. `python benchmarks/black_box_overhead.py [--rounds 31]`.
"""

import argparse
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved

import logtrick as lt

DIM = 10
CASES = [(batched, n) for batched in (True, False) for n in (16, 256, 4096)]


class Simulator:
    """A cheap host function that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: np.ndarray) -> Any:
        self.calls += 1
        return np.floor(np.exp(x)).sum(-1)


def gradient(cost: Callable[[Any], Any], n: int) -> Any:
    """Value and gradient of the expected cost under ten normals, compiled."""
    value = lambda loc, key: lt.expect(key, cost, lt.Normal(loc, 0.5), num_samples=n)
    return jax.jit(jax.value_and_grad(value))


def measure(batched: bool, n: int, rounds: int) -> dict[str, float]:
    """Microseconds of the three, host calls in one of the third, and overhead a host call."""
    simulator, key, loc = Simulator(), jax.random.key(0), jnp.zeros(DIM)
    points = np.asarray(0.5 * jax.random.normal(key, (n, DIM)))
    in_jax, in_box = gradient(jnp.sum, n), gradient(lt.black_box(simulator, batched=batched), n)
    jax.block_until_ready(in_box(loc, key))
    calls = simulator.calls
    directly = (lambda: simulator(points)) if batched else (lambda: [simulator(x) for x in points])
    functions = {
        "direct": directly,
        "jax": lambda: in_jax(loc, key),
        "box": lambda: in_box(loc, key),
    }
    timed = interleaved(functions, "box", rounds)
    found = {name: 1e6 * timing.seconds for name, timing in timed.items()}
    overhead = (found["box"] - found["jax"] - found["direct"]) / calls
    return {"calls": calls, **found, "overhead": overhead}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    args = parser.parse_args()
    print(
        "microseconds      draws  calls   direct  expect, JAX cost  expect, black box  overhead a call"
    )
    for batched, n in CASES:
        r = measure(batched, n, args.rounds)
        print(
            f"{'batched' if batched else 'one by one':15s} {n:7d} {r['calls']:6.0f} {r['direct']:8.0f} {r['jax']:17.0f}"
            f" {r['box']:18.0f} {r['overhead']:16.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()

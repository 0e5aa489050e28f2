"""How far is the library from its performance goals, against hand-written JAX? One line per goal, measured and wanted.

`python benchmarks/goals.py [--only step size first-call delta eager] [--pairs 25] [--cpu]`: interleaved ratios, medians with
their quartiles. A ratio is judged within 10 %; run it in three processes before a claim. Temporaries are XLA's own account.
`--cpu` compares the time of the processors instead of that of the clock: for a machine that other work shares.
"""

import argparse
import os
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import expect_overhead as expect
import jax
import jax.numpy as jnp
import workloads
from timing import Timing, interleaved as by_clock

import logtrick as lt

STEPS = 500
CLOCK: list[Callable[[], float]] = [time.perf_counter]  # set by --cpu


def interleaved(
    calls: dict[str, Callable[[], Any]], reference: str, rounds: int
) -> dict[str, Timing]:
    return by_clock(calls, reference, rounds, clock=CLOCK[0])


def report(name: str, timing: Timing, goal: float, more: str = "") -> None:
    word = "ok" if timing.ratio <= 1.1 * goal else "over"
    spread = f"[{timing.low:.2f}, {timing.high:.2f}]"
    print(f"{name:<58} {timing.ratio:6.2f} {spread:>14}  goal ≤ {goal:<5} {word}{more}", flush=True)


def step(pairs: int) -> None:
    """A training step against the same loop by hand, and against that loop without random numbers."""
    data, key = workloads.synthetic(), jax.random.key(0)
    first = workloads.start(data)
    for pathwise in (False, True):
        runs = {
            "ours": workloads.our_fit(STEPS, pathwise),
            "hand": workloads.hand_fit(STEPS, pathwise),
            "no random numbers": workloads.hand_fit(STEPS, pathwise, random=False),
        }
        calls = {name: lambda run=run: run(first, key, data) for name, run in runs.items()}
        kind = "pathwise" if pathwise else "score function"
        floor = interleaved(calls, "no random numbers", pairs)
        report(f"step, {kind}, / without random numbers", floor["ours"], 1.25)
        report(f"step, {kind}, hand / without random numbers", floor["hand"], 99.0)
        by_hand = {name: calls[name] for name in ("ours", "hand")}
        report(f"step, {kind}, / hand", interleaved(by_hand, "hand", pairs)["ours"], 0.65)


def size(pairs: int) -> None:
    """A value and gradient at a growing number of random elements, and its temporaries."""
    for dim, n, goal in (
        (10, 100, 1.05),
        (100, 100, 1.05),
        (100, 1000, 1.05),
        (100, 10_000, 0.75),
        (100, 100_000, 0.55),
    ):
        params, ours, hand = expect.case("normal", dim)
        key = jax.random.key(1)
        runs = {
            name: jax.jit(jax.value_and_grad(lambda p, k, of=of: of(p, k, dim, n)))
            .lower(params, key)
            .compile()
            for name, of in (("ours", ours), ("hand", hand))
        }
        calls = {name: lambda run=run: run(params, key) for name, run in runs.items()}
        rounds = pairs if n < 100_000 else min(pairs, 9)
        temporary = {name: megabytes(run) for name, run in runs.items()}
        more = f", temporaries {temporary['ours']:.1f} MB, by hand {temporary['hand']:.1f} MB"
        name = f"expect, {dim} × {n:,} = {dim * n:.0e} elements, / hand"
        report(name, interleaved(calls, "hand", rounds)["ours"], goal, more)


def megabytes(compiled: Any) -> float:
    """Temporary memory of a compiled program; nan where the backend does not tell."""
    analysis = compiled.memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20


def delta(pairs: int) -> None:
    """The delta method's control variate against leave-one-out."""
    data, key = workloads.synthetic(), jax.random.key(0)
    first = workloads.start(data)
    estimators = {
        "leave-one-out": lt.ScoreFunction(),
        "delta, second order": lt.ScoreFunction(lt.DeltaMethod()),
        "delta, first order": lt.ScoreFunction(lt.DeltaMethod(1)),
    }
    calls = {}
    for name, estimator in estimators.items():
        gradient = jax.grad(workloads.our_objective(False, estimator))
        run = jax.jit(lambda p, keys, g=gradient: _descended(g, p, keys, data))
        keys = jax.random.split(key, 100)
        calls[name] = lambda run=run, keys=keys: run(first, keys)
    found = interleaved(calls, "leave-one-out", pairs)
    for name in list(estimators)[1:]:
        report(f"step with {name}, / leave-one-out", found[name], 5.0)


def _descended(gradient: Callable[..., Any], params: Any, keys: Any, data: Any) -> Any:
    def step(params: Any, key: Any) -> Any:
        change = gradient(params, key, data)
        return jax.tree.map(lambda p, g: p - 1e-4 * g, params, change), None

    return jax.lax.scan(step, params, keys)[0]


def first_call(pairs: int) -> None:
    """Tracing and compiling, CPU seconds, against the hand-written program; the caches are emptied before each."""
    del pairs
    jax.config.update(
        "jax_enable_compilation_cache", False
    )  # the one on disk, which nothing empties
    data, key = workloads.synthetic(), jax.random.key(0)
    first = workloads.start(data)
    params, ours, hand = expect.case("normal", 100)
    gradient = lambda of: (
        lambda: jax.jit(jax.value_and_grad(lambda p, k: of(p, k, 100, 256)))(params, key)
    )
    fits = {
        "ours": lambda: workloads.our_fit(STEPS, False)(first, key, data),
        "hand": lambda: workloads.hand_fit(STEPS, False)(first, key, data),
    }
    cases = {
        "expect": {"ours": gradient(ours), "hand": gradient(hand)},
        "minimize": fits,
    }
    for name, pair in cases.items():
        ratios = sorted(_cold(pair["ours"]) / _cold(pair["hand"]) for _ in range(5))
        report(f"first call, {name}, / hand", Timing(0, ratios[2], ratios[1], ratios[3]), 1.15)


def _cold(function: Callable[[], Any]) -> float:
    jax.clear_caches()
    began = time.process_time()
    jax.block_until_ready(function())
    return time.process_time() - began


def eager(pairs: int) -> None:
    """An eager `jax.grad(lt.expect)` after the first call, milliseconds."""
    params, ours, hand = expect.case("normal", 100)
    key = jax.random.key(1)
    calls = {
        "ours": lambda: jax.grad(lambda p: ours(p, key, 100, 256))(params),
        "hand": lambda: jax.grad(lambda p: hand(p, key, 100, 256))(params),
    }
    timing = interleaved(calls, "hand", pairs)["ours"]
    report("eager grad of expect, / eager by hand", timing, 1.0, f", {1e3 * timing.seconds:.1f} ms")


GOALS: dict[str, Callable[[int], None]] = {
    "step": step,
    "size": size,
    "delta": delta,
    "first-call": first_call,
    "eager": eager,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=sorted(GOALS), default=list(GOALS))
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--cpu", action="store_true", help="time of the processors")
    arguments = parser.parse_args()
    if arguments.cpu:
        CLOCK[0] = time.process_time
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(
        f"load averages {load}, {os.cpu_count()} cores, {'CPU time' if arguments.cpu else 'time'}"
    )
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {jnp.float32.__name__}")
    for name in arguments.only:
        GOALS[name](arguments.pairs)


if __name__ == "__main__":
    main()

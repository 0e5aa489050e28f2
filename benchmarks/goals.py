"""How far is the library from its performance goals, against hand-written JAX? One line per goal, measured and wanted.

`python benchmarks/goals.py [--only step size first-call delta eager] [--pairs 25] [--cpu]`: interleaved ratios, medians with
their quartiles. A ratio is judged within 10 %; run it in three processes before a claim. Temporaries are XLA's own account.
`--cpu` compares the time of the processors instead of that of the clock: for a machine that other work shares.
"""

import argparse
import functools
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import workloads
from expect_overhead import case
from timing import Timing, interleaved

import logtrick as lt

STEPS = 500
Clock = Callable[[], float]


def report(name: str, timing: Timing, goal: float | None, more: str = "") -> None:
    """One line; a ratio without a goal is printed for comparison."""
    spread = f"[{timing.low:.2f}, {timing.high:.2f}]"
    line = f"{name:<58} {timing.ratio:6.2f} {spread:>14}"
    if goal is not None:
        line += f"  goal ≤ {goal:<5} {'ok' if timing.ratio <= 1.1 * goal else 'over'}"
    print(line + more, flush=True)


def step(pairs: int, clock: Clock) -> None:
    """A training step against the same loop by hand, and against that loop without random numbers."""
    data, key = workloads.synthetic(), jax.random.key(0)
    first = workloads.start(data)
    for pathwise in (False, True):
        runs = {
            "ours": workloads.our_fit(STEPS, pathwise),
            "hand": workloads.hand_fit(STEPS, pathwise),
            "no random numbers": workloads.hand_fit(STEPS, pathwise, random=False),
        }
        calls = {name: functools.partial(run, first, key, data) for name, run in runs.items()}
        kind = "pathwise" if pathwise else "score function"
        floor = interleaved(calls, "no random numbers", pairs, clock=clock)
        report(f"step, {kind}, / without random numbers", floor["ours"], 1.25)
        report(f"step, {kind}, hand / without random numbers", floor["hand"], None)
        del calls["no random numbers"]
        by_hand = interleaved(calls, "hand", pairs, clock=clock)
        report(f"step, {kind}, / hand", by_hand["ours"], 0.65)


def size(pairs: int, clock: Clock) -> None:
    """A value and gradient at a growing number of random elements, and its temporaries."""
    for dim, n, goal in (
        (10, 100, 1.05),
        (100, 100, 1.05),
        (100, 1000, 1.05),
        (100, 10_000, 0.75),
        (100, 100_000, 0.55),
    ):
        params, ours, hand = case("normal", dim, n)
        key = jax.random.key(1)
        runs = {
            name: jax.jit(function).lower(params, key).compile()
            for name, function in (("ours", ours), ("hand", hand))
        }
        calls = {name: functools.partial(run, params, key) for name, run in runs.items()}
        rounds = pairs if n < 100_000 else min(pairs, 9)
        temporary = {name: megabytes(run) for name, run in runs.items()}
        more = f", temporaries {temporary['ours']:.1f} MB, by hand {temporary['hand']:.1f} MB"
        name = f"expect, {dim} × {n:,} = {dim * n:.0e} elements, / hand"
        report(name, interleaved(calls, "hand", rounds, clock=clock)["ours"], goal, more)


def megabytes(compiled: Any) -> float:
    """Temporary memory of a compiled program; nan where the backend does not tell."""
    analysis = compiled.memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 2**20


def delta(pairs: int, clock: Clock) -> None:
    """The delta method's control variate against leave-one-out."""
    data, keys = workloads.synthetic(), jax.random.split(jax.random.key(0), 100)
    first = workloads.start(data)
    estimators = {
        "leave-one-out": lt.ScoreFunction(),
        "delta, second order": lt.ScoreFunction(lt.DeltaMethod()),
        "delta, first order": lt.ScoreFunction(lt.DeltaMethod(1)),
    }
    calls = {}
    for name, estimator in estimators.items():
        gradient = jax.grad(workloads.our_objective(False, estimator))
        run = jax.jit(functools.partial(_descended, gradient))
        calls[name] = functools.partial(run, first, keys, data)
    found = interleaved(calls, "leave-one-out", pairs, clock=clock)
    for name in list(estimators)[1:]:
        report(f"step with {name}, / leave-one-out", found[name], 5.0)


def _descended(gradient: Callable[..., Any], params: Any, keys: Any, data: Any) -> Any:
    def step(params: Any, key: Any) -> Any:
        change = gradient(params, key, data)
        return jax.tree.map(lambda p, g: p - 1e-4 * g, params, change), None

    return jax.lax.scan(step, params, keys)[0]


def first_call(pairs: int, clock: Clock) -> None:
    """Tracing and compiling, CPU seconds of five calls, against the hand-written program; the caches are emptied before each."""
    # the cache on disk, which `jax.clear_caches` leaves
    jax.config.update("jax_enable_compilation_cache", False)
    data, key = workloads.synthetic(), jax.random.key(0)
    first = workloads.start(data)
    params, ours, hand = case("normal", 100, 256)
    cases = {
        "expect": (lambda: jax.jit(ours)(params, key), lambda: jax.jit(hand)(params, key)),
        "minimize": (
            lambda: workloads.our_fit(STEPS, False)(first, key, data),
            lambda: workloads.hand_fit(STEPS, False)(first, key, data),
        ),
    }
    for name, (one, other) in cases.items():
        ratios = sorted(_cold(one) / _cold(other) for _ in range(5))
        report(f"first call, {name}, / hand", Timing(0, ratios[2], ratios[1], ratios[3]), 1.15)


def _cold(function: Callable[[], Any]) -> float:
    jax.clear_caches()
    began = time.process_time()
    jax.block_until_ready(function())
    return time.process_time() - began


def eager(pairs: int, clock: Clock) -> None:
    """An eager value and gradient of `lt.expect` after the first call, milliseconds."""
    params, ours, hand = case("normal", 100, 256)
    key = jax.random.key(1)
    calls = {"ours": lambda: ours(params, key), "hand": lambda: hand(params, key)}
    timing = interleaved(calls, "hand", pairs, clock=clock)["ours"]
    report("eager grad of expect, / eager by hand", timing, 1.0, f", {1e3 * timing.seconds:.1f} ms")


GOALS: dict[str, Callable[[int, Clock], None]] = {
    "step": step,
    "size": size,
    "delta": delta,
    "first-call": first_call,
    "eager": eager,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=sorted(GOALS), default=list(GOALS))
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--cpu", action="store_true", help="time of the processors")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.cpu else time.perf_counter
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    kind = "CPU time" if arguments.cpu else "time"
    print(f"load averages {load}, {os.cpu_count()} cores, {kind}")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, float32")
    for name in arguments.only:
        GOALS[name](arguments.pairs, clock)


if __name__ == "__main__":
    main()

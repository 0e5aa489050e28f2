"""What does a fit by `lt.minimize` cost against plainer loops, on Bayesian logistic regression (569 × 31)?

The workload is that of `workloads.py`. "hand": the loop by hand. "bare": a `lax.scan` of the steps of our objective, keys made
before, without metrics, checks or a host. "listening": `lt.minimize` with progress, history, metrics, a callback and checkpoints.
"loop": calls of the compiled steps of `lt.minimize`, 512 steps each as the bare loop beside it, without the host's part.
Interleaved calls, the median of their ratios of CPU time (`--wall`: of wall time), which other work on the machine disturbs less.
`--slow` adds work until a step takes about a millisecond. First calls are compared by `goals.py --only first-call`.
`python benchmarks/training_loop.py [--pairs 25] [--steps 2000] [--slow] [--wall]`.
"""

import argparse
import functools
import io
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import workloads
from timing import interleaved

import logtrick as lt
from logtrick.training._feed import Feed
from logtrick.training._program import CAPACITY, PROGRAMS
from logtrick.training._step import Task

stop = jax.lax.stop_gradient
OPTIMIZER = workloads.OPTIMIZER
DATA = workloads.synthetic()
START = workloads.start(DATA)
KEY = jax.random.key(0)
Objective = Callable[..., jax.Array]


def fit(objective: Objective, steps: int, **options: Any) -> Any:
    """The parameters as `lt.minimize` finds them."""
    found = lt.minimize(KEY, objective, START, OPTIMIZER, num_steps=steps, data=DATA, **options)
    return found.params


def listening_fit(objective: Objective, steps: int) -> Any:
    """The same, with everything that listens."""
    with tempfile.TemporaryDirectory() as folder:
        return fit(
            objective,
            steps,
            progress=lt.training.ProgressBar(file=io.StringIO()),
            checkpoint=lt.training.Checkpoint(folder, seconds=1.0),
            listeners=(lt.training.JSONLines(f"{folder}/metrics.jsonl"),),
            callback=lambda fit: None,
        )


def bare_fit(objective: Objective, steps: int) -> Callable[[], Any]:
    """Our objective in the plainest loop."""

    @jax.jit
    def run(params: Any, key: jax.Array, data: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> Any:
            params, state = carry
            value, grad = jax.value_and_grad(objective)(params, key, data)
            updates, state = OPTIMIZER.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), value

        keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.fold_in(key, t), 1))
        carry = (params, OPTIMIZER.init(params))
        return jax.lax.scan(step, carry, keys(jnp.arange(steps)))

    return lambda: run(START, KEY, DATA)


def compiled_loop(objective: Objective) -> Callable[[], Any]:
    """Calls of the compiled steps alone, 512 at a time."""
    program = PROGRAMS.find(
        Task("loop", objective, optax.with_extra_args_support(OPTIMIZER), feed=Feed("all"))
    )
    state = program.begin(START, jax.random.key_data(KEY), None, key_impl=jax.random.key_impl(KEY))
    kept = [state]

    def run() -> Any:
        kept[0], _, skipped = program.advance(kept[0], DATA, np.int32(CAPACITY))
        return skipped

    return run


def slowed(objective: Objective, size: int) -> Objective:
    """The objective with a chain of matrix products that adds about a millisecond."""
    matrix = jnp.eye(size) * 0.5

    def slow(params: Any, key: jax.Array, data: Any) -> jax.Array:
        chain = jax.lax.fori_loop(0, 8, lambda i, x: x @ matrix, matrix + stop(params[0][0]))
        return objective(params, key, data) + 0.0 * stop(jnp.sum(chain))

    return slow


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--wall", action="store_true", help="wall time instead of CPU time")
    args = parser.parse_args()
    clock = time.perf_counter if args.wall else time.process_time
    compared = functools.partial(interleaved, rounds=args.pairs, clock=clock)
    steps = args.steps // 10 if args.slow else args.steps
    for pathwise in (False, True):
        objective = workloads.our_objective(pathwise)
        if args.slow:
            objective = slowed(objective, 180)
        hand = workloads.hand_fit(steps, pathwise)
        calls = {
            "ours": lambda: fit(objective, steps),
            "listening": lambda: listening_fit(objective, steps),
            "bare": bare_fit(objective, steps),
        }
        found = compared(calls, "bare")
        by_hand = compared({"ours": calls["ours"], "hand": lambda: hand(START, KEY, DATA)}, "hand")
        loops = {"loop": compiled_loop(objective), "bare": bare_fit(objective, CAPACITY)}
        step = 1e6 * found["bare"].seconds / steps
        print(
            f"{'pathwise' if pathwise else 'score function'}: ours/bare {found['ours'].ratio:.3f}, "
            f"listening/bare {found['listening'].ratio:.3f}, ours/hand {by_hand['ours'].ratio:.3f}, "
            f"loop/bare {compared(loops, 'bare')['loop'].ratio:.3f} "
            f"({steps} steps of {step:.0f} µs, {args.pairs} pairs)",
            flush=True,
        )


if __name__ == "__main__":
    main()

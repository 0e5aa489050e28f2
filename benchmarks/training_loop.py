"""What does a fit by `lt.minimize` cost against the hand-written loop, on Bayesian logistic regression (569 × 30)?

Mean-field normal, 16 draws, Adam 1e-2, 2,000 steps. Hand-written: keys split before one `lax.scan`, one draw a step, the
leave-one-out surrogate (or pathwise). "bare": a `lax.scan` of the same steps of our objective, keys made before, without
metrics, checks or a host. "listening": with progress, history, metrics, a callback and checkpoints. "loop": calls of the
compiled steps of `lt.minimize`, 512 steps each as the bare loop beside it, without the host's part. Interleaved calls, the
median of their ratios of CPU time (`--wall`: of wall time), which other work on the machine disturbs less; compile times are
seconds of CPU too. `--slow` adds work until a step takes about a millisecond.
`python benchmarks/training_loop.py [--pairs 25] [--steps 2000] [--slow] [--wall]`.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import logtrick as lt
from logtrick.training._feed import Feed
from logtrick.training._program import CAPACITY, PROGRAMS
from logtrick.training._step import Task

stop = jax.lax.stop_gradient
ROWS, DIM, DRAWS = 569, 30, 16


def problem() -> tuple[jax.Array, jax.Array]:
    key = jax.random.key(3)
    features = jax.random.normal(key, (ROWS, DIM))
    labels = jax.random.uniform(jax.random.fold_in(key, 1), (ROWS,)) < jax.nn.sigmoid(
        features @ jnp.linspace(-1, 1, DIM)
    )
    return features, jnp.where(labels, 1.0, -1.0)


def log_joint(w: jax.Array, data: Any) -> jax.Array:
    features, signs = data
    return jnp.sum(jax.nn.log_sigmoid(signs * (features @ w))) + jnp.sum(
        jax.scipy.stats.norm.logpdf(w)
    )


def log_q(params: Any, w: jax.Array) -> jax.Array:
    loc, log_scale = params
    return jnp.sum(jax.scipy.stats.norm.logpdf((w - loc) / jnp.exp(log_scale)) - log_scale)


def hand_loss(params: Any, key: jax.Array, data: Any, pathwise: bool) -> jax.Array:
    loc, log_scale = params
    w = loc + jnp.exp(log_scale) * jax.random.normal(key, (DRAWS, DIM))
    if pathwise:
        return jnp.mean(jax.vmap(lambda w: log_q(params, w) - log_joint(w, data))(w))
    w = stop(w)
    scores = jax.vmap(lambda w: log_q(params, w))(w)
    f = stop(scores - jax.vmap(lambda w: log_joint(w, data))(w))
    surrogate = jnp.mean((f - (jnp.sum(f) - f) / (DRAWS - 1)) * scores)
    return surrogate + stop(jnp.mean(f) - surrogate)


def hand_fit(optimizer: Any, steps: int, pathwise: bool) -> Callable[..., Any]:
    @jax.jit
    def run(params: Any, key: jax.Array, data: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> Any:
            params, state = carry
            value, grad = jax.value_and_grad(hand_loss)(params, key, data, pathwise)
            updates, state = optimizer.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), value

        (params, _), values = jax.lax.scan(
            step, (params, optimizer.init(params)), jax.random.split(key, steps)
        )
        return params, values

    return run


def our_objective(pathwise: bool) -> Callable[..., jax.Array]:
    estimator = lt.Pathwise() if pathwise else lt.ScoreFunction()

    def objective(params: Any, key: jax.Array, data: Any) -> jax.Array:
        held = (
            params if pathwise else stop(params)
        )  # the mean of the score is 0, as the hand-written surrogate knows
        cost = lambda w: log_q(held, w) - log_joint(w, data)
        return lt.expect(
            key,
            cost,
            lt.Normal(params[0], jnp.exp(params[1])),
            estimator=estimator,
            num_samples=DRAWS,
        )

    return objective


def bare_fit(optimizer: Any, steps: int, objective: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Our objective in the plainest loop."""

    @jax.jit
    def run(params: Any, key: jax.Array, data: Any) -> Any:
        def step(carry: Any, key: jax.Array) -> Any:
            params, state = carry
            value, grad = jax.value_and_grad(objective)(params, key, data)
            updates, state = optimizer.update(grad, state, params)
            return (optax.apply_updates(params, updates), state), value

        keys = jax.vmap(lambda t: jax.random.fold_in(jax.random.fold_in(key, t), 1))
        carry = (params, optimizer.init(params))
        return jax.lax.scan(step, carry, keys(jnp.arange(steps)))

    return run


def compiled_loop(
    objective: Callable[..., jax.Array], optimizer: Any, start: Any, data: Any
) -> Any:
    """Calls of the compiled steps alone, 512 at a time."""
    program = PROGRAMS.find(
        Task("loop", objective, optax.with_extra_args_support(optimizer), feed=Feed("all"))
    )
    key = jax.random.key(0)
    state = program.begin(start, jax.random.key_data(key), None, key_impl=jax.random.key_impl(key))
    kept = [state]

    def run(key: jax.Array) -> Any:
        kept[0], _, skipped = program.advance(kept[0], data, np.int32(CAPACITY))
        return jax.block_until_ready(skipped)

    return run


def slowed(objective: Callable[..., jax.Array], size: int) -> Callable[..., jax.Array]:
    """The objective with a chain of matrix products that adds about a millisecond."""
    matrix = jnp.eye(size) * 0.5

    def slow(params: Any, key: jax.Array, data: Any) -> jax.Array:
        chain = jax.lax.fori_loop(0, 8, lambda i, x: x @ matrix, matrix + stop(params[0][0]))
        return objective(params, key, data) + 0.0 * stop(jnp.sum(chain))

    return slow


def timed(run: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    begin = clock()
    run()
    return clock() - begin


def compared(
    runs: dict[str, Callable[[jax.Array], Any]], pairs: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each run, interleaved in alternating order."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(pairs):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            seconds[name].append(timed(lambda: runs[name](jax.random.key(i)), clock))
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def compile_seconds(make: Callable[[], Callable[[], Any]], repeats: int) -> float:
    """CPU seconds of a first call, caches cleared."""
    found = []
    for _ in range(repeats):
        jax.clear_caches()
        found.append(timed(make(), time.process_time))
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--wall", action="store_true", help="wall time instead of CPU time")
    parser.add_argument("--compile", type=int, default=3, help="repeats of the first call")
    args = parser.parse_args()
    data, start = problem(), (jnp.zeros(DIM), jnp.full(DIM, -2.0))
    optimizer = optax.adam(1e-2)
    steps = args.steps // 10 if args.slow else args.steps
    for pathwise in (False, True):
        objective = our_objective(pathwise)
        if args.slow:
            objective = slowed(objective, 180)
        hand, bare = hand_fit(optimizer, steps, pathwise), bare_fit(optimizer, steps, objective)

        def ours(key: jax.Array, **options: Any) -> Any:
            fit = lt.minimize(
                key, objective, start, optimizer, num_steps=steps, data=data, **options
            )
            return jax.block_until_ready(fit.params)

        def listening(key: jax.Array) -> Any:
            with tempfile.TemporaryDirectory() as folder:
                bar = lt.training.ProgressBar(file=io.StringIO())
                saver = lt.training.Checkpoint(folder, seconds=1.0)
                writer = lt.training.JSONLines(f"{folder}/metrics.jsonl")
                return ours(
                    key,
                    progress=bar,
                    checkpoint=saver,
                    listeners=(writer,),
                    callback=lambda fit: None,
                )

        runs = {
            "ours": ours,
            "listening": listening,
            "bare": lambda key: jax.block_until_ready(bare(start, key, data)),
            "hand": lambda key: jax.block_until_ready(hand(start, key, data)),
        }
        for run in runs.values():
            run(jax.random.key(0))
        clock = time.perf_counter if args.wall else time.process_time
        seconds = compared(runs, args.pairs, clock)
        short = bare_fit(optimizer, CAPACITY, objective)
        loops = {
            "loop": compiled_loop(objective, optimizer, start, data),
            "bare": lambda key: jax.block_until_ready(short(start, key, data)),
        }
        for run in loops.values():
            run(jax.random.key(0))
        loop = ratio(compared(loops, args.pairs, clock), "loop", "bare")
        step = 1e6 * statistics.median(seconds["bare"]) / steps
        name = "pathwise" if pathwise else "score function"
        print(
            f"{name}: ours/bare {ratio(seconds, 'ours', 'bare'):.3f}, listening/bare "
            f"{ratio(seconds, 'listening', 'bare'):.3f}, ours/hand {ratio(seconds, 'ours', 'hand'):.3f}, loop/bare {loop:.3f} "
            f"({steps} steps of {step:.0f} µs, {args.pairs} pairs)"
        )
        if args.slow:
            continue
        first = jax.random.key(0)
        makes = {
            "ours": lambda: lambda: ours(first),  # the caches that are cleared are those of JAX
            "bare": lambda: lambda: bare_fit(optimizer, steps, objective)(start, first, data),
            "hand": lambda: lambda: hand_fit(optimizer, steps, pathwise)(start, first, data),
        }
        compiled = {kind: compile_seconds(make, args.compile) for kind, make in makes.items()}
        elbo = -float(
            jnp.mean(
                lt.minimize(
                    first, objective, start, optimizer, num_steps=steps, data=data
                ).history.value[-100:]
            )
        )
        print(
            f"  first call: ours {compiled['ours']:.2f} s of CPU, bare {compiled['bare']:.2f}, hand "
            f"{compiled['hand']:.2f}; ELBO {elbo:.2f}"
        )


if __name__ == "__main__":
    main()

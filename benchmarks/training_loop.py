"""What does a fit by `lt.minimize` cost against the hand-written loop, on Bayesian logistic regression (569 × 30)?

Mean-field normal, 16 draws, Adam 1e-2, 2,000 steps. Hand-written: keys split before one `lax.scan`, one draw a step, the
leave-one-out surrogate (or pathwise). "bare": a `lax.scan` of the same steps of our objective, keys made before, without
metrics, checks or a host. "listening": with progress, history, metrics, a callback and checkpoints. Interleaved calls, the
median of their ratios; compile times are seconds of CPU, interleaved too. `--slow` adds work until a step takes about a
millisecond. `python benchmarks/training_loop.py [--pairs 25] [--steps 2000] [--slow]`.
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
import optax

import logtrick as lt

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


def compared(runs: dict[str, Callable[[jax.Array], Any]], pairs: int) -> dict[str, list[float]]:
    """Seconds of each run, interleaved in alternating order."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(pairs):
        for name in list(runs)[:: 1 if i % 2 else -1]:
            seconds[name].append(timed(lambda: runs[name](jax.random.key(i))))
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
        seconds = compared(runs, args.pairs)
        step = 1e6 * statistics.median(seconds["bare"]) / steps
        name = "pathwise" if pathwise else "score function"
        print(
            f"{name}: ours/bare {ratio(seconds, 'ours', 'bare'):.3f}, listening/bare "
            f"{ratio(seconds, 'listening', 'bare'):.3f}, ours/hand {ratio(seconds, 'ours', 'hand'):.3f} "
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

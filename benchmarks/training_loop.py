"""What does a fit by `lt.minimize` cost against the hand-written loop, on Bayesian logistic regression (569 × 30)?

Mean-field normal, 16 draws, Adam 1e-2, 2,000 steps. Hand-written: keys split before one `lax.scan`, one draw a step, the
leave-one-out surrogate (or pathwise). Second calls, interleaved, the median of their ratios; the first call compiles.
`python benchmarks/training_loop.py [--pairs 25] [--steps 2000]`.
"""

import argparse
import statistics
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    data, start = problem(), (jnp.zeros(DIM), jnp.full(DIM, -2.0))
    optimizer = optax.adam(1e-2)
    for pathwise in (False, True):
        objective, hand = our_objective(pathwise), hand_fit(optimizer, args.steps, pathwise)
        ours = lambda key: lt.minimize(
            key, objective, start, optimizer, num_steps=args.steps, data=data
        )
        runs = (
            lambda key: jax.block_until_ready(ours(key).params),
            lambda key: jax.block_until_ready(hand(start, key, data)),
        )
        first, pairs = [], []
        for run in runs:
            begin = time.perf_counter()
            run(jax.random.key(0))
            first.append(time.perf_counter() - begin)
        for i in range(args.pairs):
            seconds = {}
            for j in (0, 1) if i % 2 else (1, 0):
                begin = time.perf_counter()
                runs[j](jax.random.key(i))
                seconds[j] = time.perf_counter() - begin
            pairs.append((seconds[0], seconds[1]))
        ratio = statistics.median(a / b for a, b in pairs)
        name = "pathwise" if pathwise else "score function"
        elbo = -float(jnp.mean(ours(jax.random.key(0)).history.value[-100:]))
        print(
            f"{name:15s} second call ours/hand {ratio:.2f} (hand {statistics.median(b for _, b in pairs):.3f} s for "
            f"{args.steps} steps), first call ours {first[0]:.2f} s, hand {first[1]:.2f} s; ELBO {elbo:.2f}"
        )


if __name__ == "__main__":
    main()

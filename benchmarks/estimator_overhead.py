"""What does a value and gradient cost under DisARM, UnorderedSet, RELAX and MeasureValued, against hand-written JAX?

Interleaved calls, the median of their ratios; run it several times. `python benchmarks/estimator_overhead.py [--pairs 25]`.
Hand-written: the estimator's formula, its noise by one `jax.random.uniform`, its gradient returned as it is; the unordered
set with P(S) summed over the orders of the k draws.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import logtrick as lt

stop = jax.lax.stop_gradient
D, N, K, CLASSES, COORDINATES = 200, 256, 4, 50, 20
MATRIX = jnp.asarray(np.random.default_rng(0).normal(size=(D, 64)), jnp.float32) / D**0.5
LEVELS = jnp.asarray(np.random.default_rng(1).normal(size=(CLASSES, 64)), jnp.float32)


def cost(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.tanh(x @ MATRIX) ** 2)


def class_cost(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.tanh(LEVELS[x]))


def surrogate(w: Any, y: jax.Array) -> jax.Array:
    return w[1] @ jnp.tanh(w[0] @ y)


def hand_disarm(logits: jax.Array, key: jax.Array) -> Any:
    u, p = jax.random.uniform(key, (N, D)), jax.nn.sigmoid(logits)
    b, b_ = (1 - u < p).astype(float), (u < p).astype(float)
    f, f_ = jax.vmap(cost)(b), jax.vmap(cost)(b_)
    grad = 0.5 * (f - f_)[:, None] * (b - b_) * jax.nn.sigmoid(jnp.abs(logits))
    return 0.5 * jnp.mean(f + f_), jnp.mean(grad, 0)


def hand_unordered(logits: jax.Array, key: jax.Array) -> Any:
    log_p = jax.nn.log_softmax(logits)
    orders = {m: list(itertools.permutations(range(m))) for m in (K, K - 1, K - 2)}

    def probability(p: jax.Array, taken: jax.Array, m: int) -> jax.Array:
        sequences = p[jnp.array(orders[m])]
        before = taken + jnp.cumsum(sequences, 1) - sequences
        return jnp.sum(jnp.prod(sequences / (1 - before), 1))

    def one(u: jax.Array) -> Any:
        index = jax.lax.top_k(log_p - jnp.log(-jnp.log(u)), K)[1]
        p, f = jnp.exp(log_p[index]), jax.vmap(class_cost)(index)
        whole = probability(p, jnp.zeros(()), K)
        without = jnp.array([[j for j in range(K) if j != i] for i in range(K)])
        single = jax.vmap(lambda i: probability(p[without[i]], p[i], K - 1))(jnp.arange(K))
        rows = []
        for i in range(K):
            row = [
                jnp.ones(()) * single[i]
                if i == j
                else probability(
                    p[jnp.array([m for m in range(K) if m not in (i, j)])], p[i] + p[j], K - 2
                )
                for j in range(K)
            ]
            rows.append(jnp.stack(row) / single[i])
        weights = p * single / whole
        coefficient = weights * (f - jnp.stack(rows) @ (p * f))
        score = jax.nn.one_hot(index, CLASSES) - jnp.exp(log_p)
        return weights @ f, coefficient @ score

    value, grad = jax.vmap(one)(jax.random.uniform(key, (N, CLASSES), minval=1e-7))
    return jnp.mean(value), jnp.mean(grad, 0)


def weights() -> Any:
    return (jnp.full((10, D), 0.01), jnp.full(10, 0.1))


def hand_relax(logits: jax.Array, key: jax.Array) -> Any:
    p, w = jax.nn.sigmoid(logits), weights()

    def one(u: jax.Array) -> Any:
        z = logits + jnp.log(u[0]) - jnp.log1p(-u[0])
        b = (z > 0).astype(float)
        v = jnp.where(b == 1, u[1] * p + 1 - p, u[1] * (1 - p))

        def c(l: jax.Array, free: jax.Array) -> jax.Array:
            return surrogate(w, jax.nn.sigmoid((l + jnp.log(free) - jnp.log1p(-free)) / 0.5))

        def tilde(l: jax.Array) -> jax.Array:
            q = jax.nn.sigmoid(l)
            return c(l, jnp.where(b == 1, u[1] * q + 1 - q, u[1] * (1 - q)))

        f = cost(b)
        grad = (f - c(logits, v)) * (b - p) + jax.grad(c)(logits, u[0]) - jax.grad(tilde)(logits)
        return f, grad

    value, grad = jax.vmap(one)(jax.random.uniform(key, (N, 2, D), minval=1e-7))
    return jnp.mean(value), jnp.mean(grad, 0)


def normal_cost(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.tanh(x @ MATRIX[:COORDINATES]) ** 2)


def hand_measure_valued(params: jax.Array, key: jax.Array) -> Any:
    loc, scale = params, jnp.exp(params)
    keys = jax.random.split(key, 4)
    shape = (N, COORDINATES)
    above = jnp.sqrt(-2 * jnp.log1p(-jax.random.uniform(keys[0], shape)))
    gaussians = jax.random.normal(keys[1], (*shape, 3))
    wide = jnp.sign(gaussians[..., 0]) * jnp.linalg.norm(gaussians, axis=-1)
    narrow = wide * jax.random.uniform(keys[2], shape)
    x = loc + scale * jax.random.normal(keys[3], shape)

    def one(x: jax.Array, *replacements: jax.Array) -> Any:
        moved = [
            jnp.where(jnp.eye(COORDINATES, dtype=bool), loc + scale * z, x) for z in replacements
        ]
        f = jax.vmap(normal_cost)(jnp.concatenate([x[None], *moved]))
        up, down, far, near = f[1:].reshape(4, COORDINATES)
        in_loc, in_scale = (up - down) / (scale * (2 * jnp.pi) ** 0.5), (far - near) / scale
        return f[0], in_loc + in_scale * scale  # scale = exp(params)

    value, grad = jax.vmap(one)(x, above, -above, wide, narrow)
    return jnp.mean(value), jnp.mean(grad, 0)


def ours(f: Any, dist: Any, estimator: Any) -> Callable[..., Any]:
    def value(params: jax.Array, key: jax.Array) -> Any:
        out = lt.expect(
            key, f, dist(params), estimator=estimator, num_samples=N, has_aux=estimator.adaptive
        )
        return out[0] if estimator.adaptive else out

    return jax.value_and_grad(value)


CASES = {
    "DisARM": (ours(cost, lt.Bernoulli, lt.DisARM()), hand_disarm, D),
    "UnorderedSet": (ours(class_cost, lt.Categorical, lt.UnorderedSet(K)), hand_unordered, CLASSES),
    "RELAX": (ours(cost, lt.Bernoulli, lt.RELAX(surrogate, weights())), hand_relax, D),
    "MeasureValued": (
        ours(normal_cost, lambda params: lt.Normal(params, jnp.exp(params)), lt.MeasureValued()),
        hand_measure_valued,
        COORDINATES,
    ),
}


def seconds(function: Any, *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    pairs = parser.parse_args().pairs
    for name, (mine, hand, size) in CASES.items():
        a, b, params = jax.jit(mine), jax.jit(hand), jnp.linspace(-1.5, 1.5, size)
        keys = jax.block_until_ready(list(jax.random.split(jax.random.key(0), 200)))
        grads = [np.array([f(params, k)[1] for k in keys]) for f in (a, b)]
        spread = np.sqrt(sum(g.var(0, ddof=1) for g in grads) / len(keys))
        apart = float(
            np.abs((grads[0] - grads[1]).mean(0) / spread).max()
        )  # the same expectation, of other draws
        times = []
        for i, k in enumerate(keys[:pairs]):  # each of the two goes first as often
            second = seconds(b, params, k) if i % 2 else None
            first = seconds(a, params, k)
            times.append((first, seconds(b, params, k) if second is None else second))
        ratio = statistics.median(x / y for x, y in times)
        print(
            f"{name:<13} {statistics.median(x for x, _ in times) * 1e3:8.3f} ms, ratio {ratio:.2f}, "
            f"means {apart:.1f} standard errors apart at most"
        )


if __name__ == "__main__":
    main()

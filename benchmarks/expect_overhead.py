"""What does one value and gradient of `lt.expect` cost against hand-written JAX on the same work?

By hand, normal and Bernoulli draws: one `jax.random` draw, the surrogate mean(stop(f − b) · log q), leave-one-out. By hand, the
other estimators: the estimator's formula, its noise by one `jax.random.uniform`, its gradient returned as it is; of the unordered
set with P(S) summed over the orders of the k draws.

`python benchmarks/expect_overhead.py [--pairs 25] [--only normal-100-1000 DisARM …] [--check]`: interleaved calls, the median of
their ratios; run it several times. With --check the mean gradients of the two over 200 keys are compared, too: they estimate the
same from different draws.
"""

import argparse
import functools
import itertools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from timing import interleaved

import logtrick as lt

stop = jax.lax.stop_gradient
Array = jax.Array


class Case(NamedTuple):
    """The same work twice.

    Attributes:
      params: where the gradient is taken.
      ours: `ours(params, key) -> (value, gradient)`.
      hand: the same without the library.
    """

    params: Any
    ours: Callable[..., Any]
    hand: Callable[..., Any]


# --- the score function with leave-one-out, by family, dimensions and draws


def cost(x: Array) -> Array:
    return jnp.sum((x - 0.45) ** 2)


def leave_one_out_surrogate(x: Array, log_q: Callable[[Array], Array]) -> Array:
    f = jax.vmap(cost)(x)
    baseline = (jnp.sum(f) - f) / (f.shape[0] - 1)
    surrogate = jnp.mean(stop(f - baseline) * log_q(x))
    return surrogate + stop(jnp.mean(f) - surrogate)


def hand_normal(params: Any, key: Array, dim: int, n: int) -> Array:
    loc, log_scale = params
    scale = jnp.exp(log_scale)
    x = stop(loc + scale * jax.random.normal(key, (n, dim)))
    constant = 0.5 * jnp.log(2 * jnp.pi)
    terms = lambda x: -0.5 * ((x - loc) / scale) ** 2 - log_scale - constant
    return leave_one_out_surrogate(x, lambda x: jnp.sum(terms(x), axis=1))


def hand_bernoulli(params: Any, key: Array, dim: int, n: int) -> Array:
    (logits,) = params
    x = stop((jax.random.uniform(key, (n, dim)) < jax.nn.sigmoid(logits)).astype(logits.dtype))
    terms = lambda x: x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits)
    return leave_one_out_surrogate(x, lambda x: jnp.sum(terms(x), axis=1))


def case(family: str, dim: int, n: int) -> Case:
    """The expectation of a square under "normal" or "bernoulli" draws."""
    if family == "normal":
        params: Any = (jnp.full(dim, 0.1), jnp.zeros(dim))
        dist, hand = lambda p: lt.Normal(p[0], jnp.exp(p[1])), hand_normal
    else:
        params = (jnp.linspace(-1.0, 1.0, dim),)
        dist, hand = lambda p: lt.Bernoulli(p[0]), hand_bernoulli
    ours = lambda params, key: lt.expect(key, cost, dist(params), num_samples=n)
    by_hand = functools.partial(hand, dim=dim, n=n)
    return Case(params, jax.value_and_grad(ours), jax.value_and_grad(by_hand))


# --- other estimators

D, N, K, CLASSES, COORDINATES = 200, 256, 4, 50, 20
MATRIX = jnp.asarray(np.random.default_rng(0).normal(size=(D, 64)), jnp.float32) / D**0.5
LEVELS = jnp.asarray(np.random.default_rng(1).normal(size=(CLASSES, 64)), jnp.float32)


def bits_cost(x: Array) -> Array:
    return jnp.sum(jnp.tanh(x @ MATRIX) ** 2)


def class_cost(x: Array) -> Array:
    return jnp.sum(jnp.tanh(LEVELS[x]))


def normal_cost(x: Array) -> Array:
    return jnp.sum(jnp.tanh(x @ MATRIX[:COORDINATES]) ** 2)


def surrogate(w: Any, y: Array) -> Array:
    return w[1] @ jnp.tanh(w[0] @ y)


def surrogate_weights() -> Any:
    return (jnp.full((10, D), 0.01), jnp.full(10, 0.1))


def hand_disarm(logits: Array, key: Array) -> Any:
    u, p = jax.random.uniform(key, (N, D)), jax.nn.sigmoid(logits)
    b, b_ = (1 - u < p).astype(float), (u < p).astype(float)
    f, f_ = jax.vmap(bits_cost)(b), jax.vmap(bits_cost)(b_)
    grad = 0.5 * (f - f_)[:, None] * (b - b_) * jax.nn.sigmoid(jnp.abs(logits))
    return 0.5 * jnp.mean(f + f_), jnp.mean(grad, 0)


def hand_unordered(logits: Array, key: Array) -> Any:
    log_p = jax.nn.log_softmax(logits)
    orders = {m: list(itertools.permutations(range(m))) for m in (K, K - 1, K - 2)}

    def probability(p: Array, taken: Array, m: int) -> Array:
        sequences = p[jnp.array(orders[m])]
        before = taken + jnp.cumsum(sequences, 1) - sequences
        return jnp.sum(jnp.prod(sequences / (1 - before), 1))

    def without_both(p: Array, i: int, j: int) -> Array:
        rest = jnp.array([m for m in range(K) if m not in (i, j)])
        return probability(p[rest], p[i] + p[j], K - 2)

    def one(u: Array) -> Any:
        index = jax.lax.top_k(log_p - jnp.log(-jnp.log(u)), K)[1]
        p, f = jnp.exp(log_p[index]), jax.vmap(class_cost)(index)
        whole = probability(p, jnp.zeros(()), K)
        without = jnp.array([[j for j in range(K) if j != i] for i in range(K)])
        single = jax.vmap(lambda i: probability(p[without[i]], p[i], K - 1))(jnp.arange(K))
        rows = []
        for i in range(K):
            row = [single[i] if i == j else without_both(p, i, j) for j in range(K)]
            rows.append(jnp.stack(row) / single[i])
        weights = p * single / whole
        coefficient = weights * (f - jnp.stack(rows) @ (p * f))
        score = jax.nn.one_hot(index, CLASSES) - jnp.exp(log_p)
        return weights @ f, coefficient @ score

    value, grad = jax.vmap(one)(jax.random.uniform(key, (N, CLASSES), minval=1e-7))
    return jnp.mean(value), jnp.mean(grad, 0)


def hand_relax(logits: Array, key: Array) -> Any:
    p, w = jax.nn.sigmoid(logits), surrogate_weights()

    def one(u: Array) -> Any:
        z = logits + jnp.log(u[0]) - jnp.log1p(-u[0])
        b = (z > 0).astype(float)
        v = jnp.where(b == 1, u[1] * p + 1 - p, u[1] * (1 - p))

        def c(l: Array, free: Array) -> Array:
            return surrogate(w, jax.nn.sigmoid((l + jnp.log(free) - jnp.log1p(-free)) / 0.5))

        def tilde(l: Array) -> Array:
            q = jax.nn.sigmoid(l)
            return c(l, jnp.where(b == 1, u[1] * q + 1 - q, u[1] * (1 - q)))

        f = bits_cost(b)
        grad = (f - c(logits, v)) * (b - p) + jax.grad(c)(logits, u[0]) - jax.grad(tilde)(logits)
        return f, grad

    value, grad = jax.vmap(one)(jax.random.uniform(key, (N, 2, D), minval=1e-7))
    return jnp.mean(value), jnp.mean(grad, 0)


def hand_measure_valued(params: Array, key: Array) -> Any:
    loc, scale = params, jnp.exp(params)
    keys = jax.random.split(key, 4)
    shape = (N, COORDINATES)
    above = jnp.sqrt(-2 * jnp.log1p(-jax.random.uniform(keys[0], shape)))
    gaussians = jax.random.normal(keys[1], (*shape, 3))
    wide = jnp.sign(gaussians[..., 0]) * jnp.linalg.norm(gaussians, axis=-1)
    narrow = wide * jax.random.uniform(keys[2], shape)
    x = loc + scale * jax.random.normal(keys[3], shape)

    def one(x: Array, *replacements: Array) -> Any:
        moved = [
            jnp.where(jnp.eye(COORDINATES, dtype=bool), loc + scale * z, x) for z in replacements
        ]
        f = jax.vmap(normal_cost)(jnp.concatenate([x[None], *moved]))
        up, down, far, near = f[1:].reshape(4, COORDINATES)
        in_loc, in_scale = (up - down) / (scale * (2 * jnp.pi) ** 0.5), (far - near) / scale
        return f[0], in_loc + in_scale * scale  # scale = exp(params)

    value, grad = jax.vmap(one)(x, above, -above, wide, narrow)
    return jnp.mean(value), jnp.mean(grad, 0)


def estimator_case(
    f: Any, dist: Callable[[Array], Any], estimator: Any, hand: Callable[..., Any], size: int
) -> Case:
    def value(params: Array, key: Array) -> Any:
        call = functools.partial(lt.expect, key, f, dist(params), estimator=estimator)
        if not estimator.adaptive:
            return call(num_samples=N)
        return call(num_samples=N, has_aux=True)[0]

    return Case(jnp.linspace(-1.5, 1.5, size), jax.value_and_grad(value), hand)


def _diagonal(params: Array) -> Any:
    return lt.Normal(params, jnp.exp(params))


SIZES = [
    *(("normal", d, n) for d in (1, 30, 100, 1000) for n in (16, 256, 4096)),
    *(("bernoulli", 200, n) for n in (16, 256, 4096)),
    ("normal", 100, 100_000),
]
CASES: dict[str, Callable[[], Case]] = {
    **{f"{f}-{d}-{n}": functools.partial(case, f, d, n) for f, d, n in SIZES},
    "DisARM": lambda: estimator_case(bits_cost, lt.Bernoulli, lt.DisARM(), hand_disarm, D),
    "UnorderedSet": lambda: estimator_case(
        class_cost, lt.Categorical, lt.UnorderedSet(K), hand_unordered, CLASSES
    ),
    "RELAX": lambda: estimator_case(
        bits_cost, lt.Bernoulli, lt.RELAX(surrogate, surrogate_weights()), hand_relax, D
    ),
    "MeasureValued": lambda: estimator_case(
        normal_cost, _diagonal, lt.MeasureValued(), hand_measure_valued, COORDINATES
    ),
}


# --- what is measured


def compiled(function: Any, params: Any) -> tuple[Any, float]:
    """The compiled function, and the seconds that it took."""
    began = time.perf_counter()
    run = jax.jit(function).lower(params, jax.random.key(0)).compile()
    return run, time.perf_counter() - began


def apart(ours: Any, hand: Any, params: Any) -> float:
    """The largest difference of the mean gradients of 200 keys, in standard errors of the difference."""
    keys = jax.random.split(jax.random.key(0), 200)

    def gradients(run: Any) -> np.ndarray:
        rows = [jax.tree.leaves(run(params, key)[1]) for key in keys]
        return np.array([np.concatenate([np.ravel(leaf) for leaf in row]) for row in rows])

    one, other = gradients(ours), gradients(hand)
    spread = np.sqrt((one.var(0, ddof=1) + other.var(0, ddof=1)) / len(keys))
    return float(np.abs((one - other).mean(0) / spread).max())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--only", nargs="+", default=[""], help="cases, or parts of their names")
    parser.add_argument("--check", action="store_true", help="compare the mean gradients, too")
    arguments = parser.parse_args()
    print(f"{'case':<20} {'ours/hand':>9} {'quartiles':>14} {'hand [µs]':>11} {'compile':>8}")
    for name, make in CASES.items():
        if not any(part.lower() in name.lower() for part in arguments.only):
            continue
        params, ours, hand = make()
        hand_run, hand_compile = compiled(hand, params)
        our_run, our_compile = compiled(ours, params)
        key = jax.random.key(1)
        calls = {"ours": lambda: our_run(params, key), "hand": lambda: hand_run(params, key)}
        timing = interleaved(calls, "hand", arguments.pairs)
        ratio, by_hand = timing["ours"], 1e6 * timing["hand"].seconds
        spread = f"[{ratio.low:.2f}, {ratio.high:.2f}]"
        line = f"{name:<20} {ratio.ratio:9.2f} {spread:>14} {by_hand:11.1f} "
        line += f"{our_compile / hand_compile:8.2f}"
        if arguments.check:
            line += f"  means at most {apart(our_run, hand_run, params):.1f} standard errors apart"
        print(line, flush=True)


if __name__ == "__main__":
    main()

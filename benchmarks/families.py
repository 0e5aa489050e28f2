"""What do a family's draws, log-prob and score cost against the bare `jax.random` and `jax.scipy.stats` calls?

Events of 100 coordinates (rows of ten where a family has rows), 10,000 draws, float32; ours drawn as the estimators draw them.
Interleaved calls, the median of their ratios; run it several times. `python benchmarks/families.py [--pairs 25] [--only Beta]`.
"""

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import random
from jax.scipy import stats
from timing import interleaved

import logtrick as lt
from logtrick.noise import rows

N, D, K = 10_000, 100, 10


class Case(NamedTuple):
    family: Callable[..., lt.Distribution]
    params: tuple[jax.Array, ...]
    sample: Callable[..., jax.Array]  # (key, *params) -> (N, *event)
    log_prob: Callable[..., jax.Array]  # (x, *params) -> (N, *event), or (N,)


ones, spread = jnp.ones(D), jnp.linspace(0.5, 3.0, D)
logits, weights = jnp.linspace(-2.0, 2.0, D), jnp.linspace(-1.0, 1.0, D).reshape(D // K, K)
many = (N, D)


def one_hot_log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
    row = lambda x, p: stats.multinomial.logpmf(x.astype(int), 1, p)
    return jax.vmap(jax.vmap(row), (0, None))(x, jax.nn.softmax(logits))


def categorical_log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
    return jnp.take_along_axis(jax.nn.log_softmax(logits)[None], x[..., None], axis=-1)[..., 0]


def plackett_luce_log_prob(x: jax.Array, logits: jax.Array) -> jax.Array:
    ranked = logits[x]
    return ranked - jax.lax.cumlogsumexp(ranked, axis=1, reverse=True)


def multivariate_normal(key: jax.Array, loc: jax.Array, tril: jax.Array) -> jax.Array:
    return loc + random.normal(key, (N, K)) @ tril.T


def multivariate_normal_log_prob(x: jax.Array, loc: jax.Array, tril: jax.Array) -> jax.Array:
    z = jax.scipy.linalg.solve_triangular(tril, (x - loc).T, lower=True)
    constant = 0.5 * K * jnp.log(2 * jnp.pi) + jnp.sum(jnp.log(jnp.diagonal(tril)))
    return -0.5 * jnp.sum(z**2, axis=0) - constant


tril = jnp.eye(K) + 0.1 * jnp.tril(jnp.ones((K, K)), -1)
CASES = {
    "Normal": Case(
        lt.Normal, (ones, spread), lambda k, m, s: m + s * random.normal(k, many), stats.norm.logpdf
    ),
    "MultivariateNormal": Case(
        lt.MultivariateNormal, (ones[:K], tril), multivariate_normal, multivariate_normal_log_prob
    ),
    "LogNormal": Case(
        lt.LogNormal,
        (ones, spread),
        lambda k, m, s: jnp.exp(m + s * random.normal(k, many)),
        lambda x, m, s: jnp.where(
            x > 0, stats.norm.logpdf(jnp.log(x), m, s) - jnp.log(x), -jnp.inf
        ),
    ),
    "Laplace": Case(
        lt.Laplace,
        (ones, spread),
        lambda k, m, s: m + s * random.laplace(k, many),
        stats.laplace.logpdf,
    ),
    "Cauchy": Case(
        lt.Cauchy,
        (ones, spread),
        lambda k, m, s: m + s * random.cauchy(k, many),
        stats.cauchy.logpdf,
    ),
    "StudentT": Case(
        lt.StudentT,
        (2 + spread, ones, spread),
        lambda k, d, m, s: m + s * random.t(k, d, many),
        stats.t.logpdf,
    ),
    "Uniform": Case(
        lt.Uniform,
        (ones, 1 + spread),
        lambda k, a, b: a + (b - a) * random.uniform(k, many),
        lambda x, a, b: stats.uniform.logpdf(x, a, b - a),
    ),
    "Exponential": Case(
        lt.Exponential,
        (spread,),
        lambda k, r: random.exponential(k, many) / r,
        lambda x, r: stats.expon.logpdf(x, scale=1 / r),
    ),
    "Gamma": Case(
        lt.Gamma,
        (spread, spread),
        lambda k, a, r: random.gamma(k, a, many) / r,
        lambda x, a, r: stats.gamma.logpdf(x, a, scale=1 / r),
    ),
    "Beta": Case(
        lt.Beta,
        (spread, spread[::-1]),
        lambda k, a, b: random.beta(k, a, b, many),
        stats.beta.logpdf,
    ),
    "Dirichlet": Case(
        lt.Dirichlet,
        (spread.reshape(-1, K),),
        lambda k, a: random.dirichlet(k, a, (N, D // K)),
        lambda x, a: jax.vmap(jax.vmap(stats.dirichlet.logpdf), (0, None))(x, a),
    ),
    "Bernoulli": Case(
        lt.Bernoulli,
        (logits,),
        lambda k, l: (random.uniform(k, many) < jax.nn.sigmoid(l)).astype(l.dtype),
        lambda x, l: x * jax.nn.log_sigmoid(l) + (1 - x) * jax.nn.log_sigmoid(-l),
    ),
    "Categorical": Case(
        lt.Categorical,
        (weights,),
        lambda k, l: random.categorical(k, l, shape=(N, D // K)),
        categorical_log_prob,
    ),
    "OneHotCategorical": Case(
        lt.OneHotCategorical,
        (weights,),
        lambda k, l: jax.nn.one_hot(random.categorical(k, l, shape=(N, D // K)), K),
        one_hot_log_prob,
    ),
    "Poisson": Case(
        lt.Poisson,
        (spread,),
        lambda k, r: random.poisson(k, r, many).astype(r.dtype),
        stats.poisson.logpmf,
    ),
    "Binomial": Case(
        lambda l: lt.Binomial(9, l),
        (logits,),
        lambda k, l: random.binomial(k, 9, jax.nn.sigmoid(l), many),
        lambda x, l: stats.binom.logpmf(x, 9, jax.nn.sigmoid(l)),
    ),
    "Geometric": Case(
        lt.Geometric,
        (logits,),
        lambda k, l: random.geometric(k, jax.nn.sigmoid(l), many) - 1.0,
        lambda x, l: stats.geom.logpmf(x, jax.nn.sigmoid(l), loc=-1),
    ),
    "NegativeBinomial": Case(
        lt.NegativeBinomial,
        (3 * spread, logits),
        lambda k, r, l: random.poisson(
            k, random.gamma(random.fold_in(k, 1), r, many) * jnp.exp(l)
        ).astype(l.dtype),
        lambda x, r, l: stats.nbinom.logpmf(x, r, jax.nn.sigmoid(-l)),
    ),
    "PlackettLuce": Case(
        lt.PlackettLuce,
        (weights[0],),
        lambda k, l: jnp.argsort(-(l + random.gumbel(k, (N, K))), axis=-1),
        plackett_luce_log_prob,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--only", default="", help="a family, or a part of its name")
    args = parser.parse_args()
    print(f"{'family':20s} {'what':10s} {'ours/bare':>9s} {'bare [µs]':>10s}")
    for name, case in CASES.items():
        if args.only.lower() not in name.lower():
            continue

        def draw(given: Any, key: jax.Array) -> Any:
            dist = case.family(*given[0])
            return jax.vmap(dist.draw)(rows(dist.noise_spec, key, 0, N, N))

        given = (case.params, jax.jit(draw)((case.params, None), jax.random.key(0)))
        ours_log_prob = lambda given, key: jax.vmap(case.family(*given[0]).log_prob)(given[1])
        bare_log_prob = lambda given, key: jnp.sum(
            case.log_prob(given[1], *given[0]).reshape(N, -1), axis=1
        )
        score = lambda f: (
            lambda given, key: jax.grad(lambda p: jnp.sum(f((p, given[1]), key)))(given[0])
        )
        pairs = {
            "sample": (draw, lambda given, key: case.sample(key, *given[0])),
            "log_prob": (ours_log_prob, bare_log_prob),
            "score": (score(ours_log_prob), score(bare_log_prob)),
        }
        for what, (ours, bare) in pairs.items():
            key, a, b = jax.random.key(1), jax.jit(ours), jax.jit(bare)
            calls = {"ours": lambda: a(given, key), "bare": lambda: b(given, key)}
            timing = interleaved(calls, "bare", args.pairs)
            ratio, micro = timing["ours"].ratio, 1e6 * timing["bare"].seconds
            print(f"{name:20s} {what:10s} {ratio:9.2f} {micro:10.1f}", flush=True)


if __name__ == "__main__":
    main()

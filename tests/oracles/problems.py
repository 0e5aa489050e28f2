"""Oracle rows as problems: the row's distribution and cost, exact moments for its baselines, and the check of a row.

Rows: tests/data/oracles.json, exact gradients and exact variances of ONE call, each confirmed when it was made by an
independent Monte Carlo run. The check of a row: M independent calls, |mean − exact_mean| <= 5 sqrt(var / M) (false alarm
6e-7) and |var̂ / var − 1| <= the row's tolerance; rows of zero variance: var̂ <= 1e-12 (1 + mean²).
"""

import dataclasses
import functools
import itertools
import json
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

import logtrick as lt

ROWS = {
    r["id"]: r
    for r in json.loads((pathlib.Path(__file__).parents[1] / "data" / "oracles.json").read_text())
}
Expectation = Callable[[Callable[[Any], Any]], Any]


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a row differentiates.

    Attributes:
      dist: `dist(params) -> Distribution`.
      cost: `cost(params, x) -> scalar`.
      params: a dict of numbers and arrays.
      wrt: the name in `params` that is differentiated.
      pick: which coordinate of the gradient the row speaks of.
      expectation: E over x of a function of one x, exact.
      score: the score in `wrt`, a function of one x.
    """

    dist: Callable[[Any], Any]
    cost: Callable[[Any, Any], Any]
    params: dict[str, Any]
    wrt: str
    pick: Any = ...
    expectation: Expectation | None = None
    score: Callable[[Any], Any] | None = None

    def gradients(self, estimator: Any, num_samples: int, calls: int, seed: int = 0) -> np.ndarray:
        """`calls` independent gradient estimates, of one `lt.expect` each."""
        params = {k: jnp.asarray(v, float) for k, v in self.params.items()}
        run = _compiled(self.dist, self.cost, jax.tree.structure(estimator), num_samples, calls)
        return np.asarray(run(params, estimator, jax.random.key(seed))[self.wrt])[
            (slice(None), *_index(self.pick))
        ]

    def mean_cost(self) -> float:
        assert self.expectation is not None
        return self.expectation(lambda x: self.cost(self.params, x))

    def best_constant(self) -> Any:
        """b* = E[f s²] / E[s²], per coordinate of `wrt`."""
        assert self.expectation is not None and self.score is not None
        f, s = (lambda x: self.cost(self.params, x)), self.score
        return self.expectation(lambda x: f(x) * s(x) ** 2) / self.expectation(lambda x: s(x) ** 2)


def _index(pick: Any) -> tuple[Any, ...]:
    return () if pick is ... else (pick,)


@functools.cache
def _compiled(dist: Any, cost: Any, structure: Any, num_samples: int, calls: int) -> Any:
    """One compilation for all rows of a family, cost and estimator: parameters and constants of baselines are arguments."""

    def value(params: Any, key: Any, estimator: Any) -> jax.Array:
        return lt.expect(
            key,
            lambda x: cost(params, x),
            dist(params),
            estimator=estimator,
            num_samples=num_samples,
        )

    def run(params: Any, estimator: Any, key: Any) -> Any:
        one = lambda k: jax.grad(value)(params, k, estimator)
        return jax.lax.map(one, jax.random.split(key, calls), batch_size=min(calls, 10_000))

    return jax.jit(run)


def check(row: dict[str, Any], draws: np.ndarray) -> tuple[float, float]:
    """Assert a row; returns the worst |z| of the mean and the worst relative error of the variance."""
    draws = np.asarray(draws, np.float64).reshape(draws.shape[0], -1)
    mean, variance = draws.mean(0), draws.var(0, ddof=1)
    want_mean, want_variance = (
        np.atleast_1d(row["exact_mean"]),
        np.atleast_1d(row["exact_variance"]),
    )
    want_mean, want_variance = np.broadcast_arrays(want_mean, want_variance)
    assert mean.shape == want_mean.shape, (row["id"], mean.shape, want_mean.shape)
    zero = want_variance == 0
    assert np.all(variance[zero] <= 1e-12 * (1 + mean[zero] ** 2)), (row["id"], variance)
    assert np.allclose(mean[zero], want_mean[zero], rtol=1e-5, atol=1e-6), (
        row["id"],
        mean,
        want_mean,
    )
    z = np.abs(mean - want_mean)[~zero] / np.sqrt(want_variance[~zero] / len(draws))
    error = np.abs(variance[~zero] / want_variance[~zero] - 1)
    worst = (z.max(initial=0.0), error.max(initial=0.0))
    assert worst[0] <= 5, (row["id"], "z", z)
    assert worst[1] <= row.get("suggested_rtol_var", 0.0), (
        row["id"],
        "variance",
        variance,
        want_variance,
    )
    return worst


def problem(row: dict[str, Any]) -> Problem:
    """The problem of a row."""
    return _FAMILIES[row["distribution"]](row, row["params"])


# --- scalar families: f by name, expectations by sums or quadrature


def _power(k: float) -> Callable[[Any, Any], Any]:
    return lambda p, x: (x - k) ** 2


_SQUARES = {k: _power(k) for k in (-3.0, 0.0, 1.0, 2.0)}
_COSTS: dict[str, Callable[[Any, Any], Any]] = {
    "cos(0.5x)": lambda p, x: jnp.cos(0.5 * x),
    "exp(-0.1x^2)": lambda p, x: jnp.exp(-0.1 * x**2),
    "sigmoid(4x-1)": lambda p, x: jax.nn.sigmoid(4 * x - 1),
    "sigmoid(x-4)": lambda p, x: jax.nn.sigmoid(x - 4.0),
    "log x": lambda p, x: jnp.log(x),
    "x": lambda p, x: 1.0 * x,
    "x^2": _SQUARES[0.0],
    "log Pois(x;lam)-log NB(x;10,1/4)": lambda p, x: _poisson_log_ratio(p, x),
}


def _poisson_log_ratio(p: Any, x: Any) -> Any:
    lam = jax.lax.stop_gradient(p["lam"])  # the direct term has mean zero, and the rows drop it
    log_binomial = (
        jax.scipy.special.gammaln(x + 10.0) - jax.scipy.special.gammaln(x + 1.0) - math.lgamma(10.0)
    )
    negative_binomial = log_binomial + 10.0 * math.log(0.25) + x * math.log(0.75)
    return jax.scipy.stats.poisson.logpmf(x, lam) - negative_binomial


def _cost(text: str) -> Callable[[Any, Any], Any]:
    match = re.fullmatch(r"\(x-(-?[\d.]+)\)\^2", text)
    return _SQUARES[float(match[1])] if match else _COSTS[text]


def _exact(law: Any) -> Expectation:
    if hasattr(law.dist, "pmf"):
        x = np.arange(0.0, 120.0)
        w = law.pmf(x)
    else:
        low, high = law.ppf(1e-14), law.ppf(1 - 1e-14)
        nodes, weights = np.polynomial.legendre.leggauss(600)
        x = 0.5 * (high - low) * nodes + 0.5 * (high + low)
        w = 0.5 * (high - low) * weights * law.pdf(x)
    return lambda h: float(np.sum(w * np.asarray(h(x), np.float64)))


def _scalar(dist: Any, law: Any, scores: Any, rename: dict[str, str] | None = None) -> Any:
    def build(row: dict[str, Any], p: dict[str, Any]) -> Problem:
        wrt = (rename or {}).get(row["wrt"], row["wrt"])
        keep = {k: v for k, v in p.items() if k in scores}
        return Problem(dist, _cost(row["f"]), keep, wrt, ..., _exact(law(p)), scores[wrt](p))

    return build


_FAMILIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Problem]] = {
    "normal": _scalar(
        lambda p: lt.Normal(p["mu"], p["sigma"]),
        lambda p: stats.norm(p["mu"], p["sigma"]),
        {
            "mu": lambda p: lambda x: (x - p["mu"]) / p["sigma"] ** 2,
            "sigma": lambda p: lambda x: (x - p["mu"]) ** 2 / p["sigma"] ** 3 - 1 / p["sigma"],
        },
    ),
    "poisson": _scalar(
        lambda p: lt.Poisson(p["lam"]),
        lambda p: stats.poisson(p["lam"]),
        {"lam": lambda p: lambda x: x / p["lam"] - 1},
        {"lambda": "lam"},
    ),
    "exponential": _scalar(
        lambda p: lt.Exponential(p["rate"]),
        lambda p: stats.expon(scale=1 / p["rate"]),
        {"rate": lambda p: lambda x: 1 / p["rate"] - x},
    ),
    "gamma": _scalar(
        lambda p: lt.Gamma(p["alpha"], p["rate"]),
        lambda p: stats.gamma(p["alpha"], scale=1 / p["rate"]),
        {
            "alpha": lambda p: lambda x: np.log(p["rate"] * x) - special.digamma(p["alpha"]),
            "rate": lambda p: lambda x: p["alpha"] / p["rate"] - x,
        },
    ),
    "beta": _scalar(
        lambda p: lt.Beta(p["a"], p["b"]),
        lambda p: stats.beta(p["a"], p["b"]),
        {
            "a": lambda p: (
                lambda x: np.log(x) - special.digamma(p["a"]) + special.digamma(p["a"] + p["b"])
            ),
            "b": lambda p: None,
        },
    ),
}


# --- Bernoulli vectors, categoricals, and the D = 10 normal


def _bits(p: np.ndarray) -> Expectation:
    points = np.array(list(itertools.product([0.0, 1.0], repeat=len(p))))
    weights = np.prod(np.where(points == 1, p, 1 - p), axis=1)
    return lambda h: sum(w * np.asarray(h(x), np.float64) for x, w in zip(points, weights))


def _distance_to(p: Any, x: Any) -> Any:
    return jnp.mean((x - p["t"]) ** 2)


def _polynomial(p: Any, x: Any) -> Any:
    return (jnp.array([1.0, -2.0, 0.5, 1.5]) @ jnp.asarray(x, float) - 0.7) ** 2 + 0.8 * x[0] * x[
        2
    ] * x[3]


def _bernoulli_of(q: Any) -> Any:
    return lt.Bernoulli(q["logits"])


def _bernoulli(row: dict[str, Any], p: dict[str, Any]) -> Problem:
    dist = _bernoulli_of
    if row["id"].startswith("bernD4"):
        probs = np.array(p["p"])
        params = {"logits": special.logit(probs)}
        return Problem(dist, _polynomial, params, "logits", ..., _bits(probs), lambda x: x - probs)
    if row["id"].startswith("ts200"):
        theta, t = p["theta"], p["t"]
        mean = theta * (1 - t) ** 2 + (1 - theta) * t**2
        exact: Expectation = lambda h: (
            mean
        )  # only of the cost itself: a sum over 2^200 points otherwise
        return Problem(
            dist, _distance_to, {"logits": np.full(200, p["logit"]), "t": t}, "logits", 0, exact
        )
    probs = np.array([p["p"]])
    params = {"logits": np.array([p["logit"]]), "t": p["t"]}
    return Problem(dist, _distance_to, params, "logits", 0, _bits(probs), lambda x: x - probs)


def _kool(row: dict[str, Any], p: dict[str, Any]) -> Problem:
    logits, p0 = np.full(3, p["eta"]), np.array(p["p0"])
    probs = special.expit(logits)
    score = lambda x: np.sum(x - probs)
    return Problem(
        _shared_logit, _distance_sum, {"eta": p["eta"], "p0": p0}, "eta", ..., _bits(probs), score
    )


def _shared_logit(q: Any) -> Any:
    return lt.Bernoulli(jnp.broadcast_to(q["eta"], (3,)))


def _distance_sum(q: Any, x: Any) -> Any:
    return jnp.sum((x - q["p0"]) ** 2)


def _one_hot(q: Any) -> Any:
    return lt.OneHotCategorical(q["logits"])


def _one_hot_quadratic(p: Any, z: Any) -> Any:
    return jnp.sum((p["V"] @ jnp.asarray(z, float) - p["c"]) ** 2)


def _categorical(row: dict[str, Any], p: dict[str, Any]) -> Problem:
    params = {k: np.array(p[k]) for k in ("logits", "V", "c")}
    probs, points = special.softmax(params["logits"]), np.eye(len(p["logits"]))
    exact: Expectation = lambda h: sum(
        w * np.asarray(h(z), np.float64) for z, w in zip(points, probs)
    )
    return Problem(_one_hot, _one_hot_quadratic, params, "logits", ..., exact, lambda z: z - probs)


def _unit_normal(q: Any) -> Any:
    return lt.Normal(q["mu"], 1.0)


def _squared_norm(p: Any, x: Any) -> Any:
    return jnp.sum(x**2)


def _iso_normal(row: dict[str, Any], p: dict[str, Any]) -> Problem:
    exact: Expectation = lambda h: 20.0  # E ‖x‖² = D (1 + 1)
    return Problem(_unit_normal, _squared_norm, {"mu": np.ones(10)}, "mu", 0, exact)


_FAMILIES |= {
    "bernoulli": _bernoulli,
    "bernoulli^3 (8 categories, shared logit)": _kool,
    "categorical": _categorical,
    "mvn": _iso_normal,
}

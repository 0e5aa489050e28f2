"""The families, each with a legal parameter, its twin in scipy, and points: one registry, laws for all."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

import logtrick as lt
from logtrick.bijectors import Exp, bijector_to
from logtrick.distributions import Distribution

Log = Callable[..., Any]


@contextlib.contextmanager
def float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


@dataclasses.dataclass(frozen=True)
class Case:
    """One family at one parameter.

    Attributes:
      make: parameters -> distribution.
      params: float64 arrays, positional.
      other: a second legal parameter, for the KL divergence.
      log_prob: (x, *params) -> the log density in float64, by scipy or NumPy.
      inside: points of the support, tails and boundaries included.
      outside: points that are not.
      cdf: (x, *params) -> the distribution function of a number, or None.
      law: "number" (KS against `cdf`), "count" (chi-square against exp log_prob), "points" (chi-square over the
        enumeration) or "marginals" (KS of each coordinate against `marginals`).
      marginals: scipy distributions of the coordinates, row by row.
      bad: parameters, and the error's message.
    """

    name: str
    make: Callable[..., Any]
    params: tuple[Any, ...]
    other: tuple[Any, ...]
    log_prob: Log
    inside: tuple[Any, ...]
    outside: tuple[Any, ...]
    law: str
    cdf: Log | None = None
    marginals: tuple[Any, ...] = ()
    bad: tuple[tuple[tuple[Any, ...], str], ...] = ()
    atol: float = 0.0


def _bernoulli(x: Any, logits: Any) -> Any:
    return np.sum(x * special.log_expit(logits) + (1 - x) * special.log_expit(-logits))


def _categorical(x: Any, logits: Any) -> Any:
    return special.log_softmax(logits, axis=-1)[int(x)]


def _one_hot(x: Any, logits: Any) -> Any:
    return np.sum(x * special.log_softmax(logits, axis=-1))


def _plackett_luce(x: Any, logits: Any) -> Any:
    ranked = logits[np.asarray(x, int)]
    return sum(ranked[i] - special.logsumexp(ranked[i:]) for i in range(len(ranked)))


def _mixture_cdf(x: Any, logits: Any, locs: Any, scale: Any) -> Any:
    return float(special.softmax(logits) @ stats.norm.cdf(x, locs, scale))


def _mixture(x: Any, logits: Any, locs: Any, scale: Any) -> Any:
    return special.logsumexp(special.log_softmax(logits) + stats.norm.logpdf(x, locs, scale))


def _log_normal(x: Any, loc: Any, scale: Any) -> Any:
    return stats.lognorm.logpdf(x, scale, scale=np.exp(loc))


def _mixture_of(logits: Any, locs: Any, scale: Any) -> Any:
    return lt.Mixture(logits, (lt.Normal(locs[0], scale), lt.Normal(locs[1], scale)))


POSITIVE = "needs positive finite numbers; got"
FINITE = "needs finite numbers; got"
a = np.array

CASES = [
    Case(
        "Normal",
        lt.Normal,
        (a(0.5), a(2.0)),
        (a(-1.0), a(0.7)),
        lambda x, m, s: stats.norm.logpdf(x, m, s),
        (0.5, -3.0, 70.0, -1e5),
        (math.nan,),
        "number",
        lambda x, m, s: stats.norm.cdf(x, m, s),
        bad=(
            ((0.0, -1.0), r"Normal\(scale=…\) " + POSITIVE + " -1"),
            ((0.0, math.nan), r"Normal\(scale=…\) " + POSITIVE),
        ),
    ),
    Case(
        "MultivariateNormal",
        lt.MultivariateNormal,
        (a([0.5, -1.0]), a([[1.0, 0.0], [0.6, 0.8]])),
        (a([0.0, 0.3]), a([[1.5, 0.0], [-0.2, 0.5]])),
        lambda x, m, L: stats.multivariate_normal.logpdf(x, m, np.tril(L) @ np.tril(L).T),
        ([0.5, -1.0], [3.0, -4.0]),
        ([math.nan, 0.0],),
        "marginals",
        marginals=(stats.norm(0.5, 1.0), stats.norm(-1.0, 1.0)),
        bad=(
            (
                (np.zeros(2), np.ones((2, 3))),
                r"MultivariateNormal\(loc=…, scale_tril=…\) needs shapes \(D,\) and \(D, D\)",
            ),
            ((a([0.0, math.inf]), np.eye(2)), r"MultivariateNormal\(loc=…\) " + FINITE),
            (
                (np.zeros(2), -np.eye(2)),
                r"MultivariateNormal\(scale_tril=…\) needs a positive diagonal",
            ),
        ),
    ),
    Case(
        "LogNormal",
        lt.LogNormal,
        (a(0.3), a(0.8)),
        (a(-0.2), a(1.1)),
        _log_normal,
        (1.0, 1e-10, 1e6),
        (0.0, -1.0),
        "number",
        lambda x, m, s: stats.lognorm.cdf(x, s, scale=np.exp(m)),
        bad=(
            ((0.0, 0.0), r"LogNormal\(scale=…\) " + POSITIVE),
            ((math.inf, 1.0), r"LogNormal\(loc=…\) " + FINITE),
        ),
    ),
    Case(
        "Laplace",
        lt.Laplace,
        (a(0.5), a(2.0)),
        (a(-1.0), a(0.7)),
        lambda x, m, s: stats.laplace.logpdf(x, m, s),
        (1.0, -3.0, 1e3),
        (math.nan,),
        "number",
        lambda x, m, s: stats.laplace.cdf(x, m, s),
        bad=(((0.0, -1.0), r"Laplace\(scale=…\) " + POSITIVE),),
    ),
    Case(
        "Cauchy",
        lt.Cauchy,
        (a(0.5), a(2.0)),
        (a(-1.0), a(0.7)),
        lambda x, m, s: stats.cauchy.logpdf(x, m, s),
        (1.0, -3.0, 1e12),
        (math.nan,),
        "number",
        lambda x, m, s: stats.cauchy.cdf(x, m, s),
        bad=(((0.0, -1.0), r"Cauchy\(scale=…\) " + POSITIVE),),
    ),
    Case(
        "Gumbel",
        lt.Gumbel,
        (a(0.5), a(2.0)),
        (a(-1.0), a(0.7)),
        lambda x, m, s: stats.gumbel_r.logpdf(x, m, s),
        (1.0, -3.0, 1e3),
        (math.nan,),
        "number",
        lambda x, m, s: stats.gumbel_r.cdf(x, m, s),
        bad=(((0.0, -1.0), r"Gumbel\(scale=…\) " + POSITIVE),),
    ),
    Case(
        "StudentT",
        lt.StudentT,
        (a(4.5), a(0.5), a(2.0)),
        (a(3.0), a(0.0), a(1.0)),
        lambda x, df, m, s: stats.t.logpdf(x, df, m, s),
        (0.7, -3.0, 1e7),
        (math.nan,),
        "number",
        lambda x, df, m, s: stats.t.cdf(x, df, m, s),
        bad=(
            ((0.0, 0.0, 1.0), r"StudentT\(df=…\) " + POSITIVE),
            ((1.0, 0.0, -1.0), r"StudentT\(scale=…\) " + POSITIVE),
        ),
    ),
    Case(
        "Uniform",
        lt.Uniform,
        (a(-0.5), a(2.0)),
        (a(-1.0), a(3.0)),
        lambda x, l, h: stats.uniform.logpdf(x, l, h - l),
        (-0.5, 0.0, 2.0),
        (-0.6, 2.1, math.nan),
        "number",
        lambda x, l, h: stats.uniform.cdf(x, l, h - l),
        bad=(
            ((1.0, 1.0), r"Uniform\(high - low=…\) needs high above low"),
            ((math.nan, 1.0), r"Uniform\(low=…\) " + FINITE),
        ),
    ),
    Case(
        "Exponential",
        lt.Exponential,
        (a(1.7),),
        (a(0.4),),
        lambda x, r: stats.expon.logpdf(x, scale=1 / r),
        (0.0, 1.0, 1e3),
        (-1e-3, math.nan),
        "number",
        lambda x, r: stats.expon.cdf(x, scale=1 / r),
        bad=(((0.0,), r"Exponential\(rate=…\) " + POSITIVE + " 0"),),
    ),
    Case(
        "Gamma",
        lt.Gamma,
        (a(2.3), a(1.7)),
        (a(1.1), a(0.4)),
        lambda x, c, r: stats.gamma.logpdf(x, c, scale=1 / r),
        (1.0, 1e-20, 1e3),
        (-1e-3, math.nan),
        "number",
        lambda x, c, r: stats.gamma.cdf(x, c, scale=1 / r),
        bad=(
            ((-1.0, 1.0), r"Gamma\(concentration=…\) " + POSITIVE),
            ((1.0, 0.0), r"Gamma\(rate=…\) " + POSITIVE),
        ),
    ),
    Case(
        "Beta",
        lt.Beta,
        (a(2.3), a(1.7)),
        (a(1.1), a(3.0)),
        lambda x, c, d: stats.beta.logpdf(x, c, d),
        (0.5, 1e-20, 0.99999),
        (-1e-3, 1.001, math.nan),
        "number",
        lambda x, c, d: stats.beta.cdf(x, c, d),
        bad=(
            ((-1.0, 1.0), r"Beta\(a=…\) " + POSITIVE),
            ((1.0, math.inf), r"Beta\(b=…\) " + POSITIVE),
        ),
    ),
    Case(
        "Dirichlet",
        lt.Dirichlet,
        (a([2.3, 1.7, 0.8]),),
        (a([1.0, 1.5, 2.0]),),
        lambda x, c: stats.dirichlet.logpdf(x / np.sum(x), c),
        ([0.25, 0.5, 0.25], [1e-3, 0.5, 0.499]),
        ([0.5, 0.6, 0.1], [-0.1, 0.6, 0.5], [math.nan, 0.5, 0.5]),
        "marginals",
        marginals=(stats.beta(2.3, 2.5), stats.beta(1.7, 3.1), stats.beta(0.8, 4.0)),
        bad=(
            (
                (np.ones(1),),
                r"Dirichlet\(concentration=…\) needs shape \(…, K\), K at least 2; got \(1,\)",
            ),
            ((a([1.0, 0.0]),), r"Dirichlet\(concentration=…\) " + POSITIVE),
        ),
    ),
    Case(
        "Bernoulli",
        lt.Bernoulli,
        (a([0.4, -1.3, 2.0]),),
        (a([0.0, 1.0, -1.0]),),
        _bernoulli,
        ([0.0, 1.0, 1.0], [1.0, 0.0, 0.0]),
        ([0.5, 0.0, 0.0], [0.0, 2.0, 0.0], [math.nan, 0.0, 0.0]),
        "points",
        bad=(((math.nan,), r"Bernoulli\(logits=…\) needs numbers in \[-inf, inf\]; got nan"),),
    ),
    Case(
        "Categorical",
        lt.Categorical,
        (a([0.4, -1.3, 2.0, 0.0]),),
        (a([0.0, 1.0, -1.0, 0.3]),),
        _categorical,
        (0, 1, 3),
        (-1, 4, 7, 1.5),
        "points",
        bad=(
            ((0.0,), r"Categorical\(logits=…\) needs shape \(…, K\)"),
            (
                (a([-math.inf, -math.inf]),),
                r"Categorical\(logits=…\) needs rows of numbers below inf, not all of them -inf",
            ),
            ((a([0.0, math.nan]),), r"Categorical\(logits=…\) needs rows"),
        ),
    ),
    Case(
        "OneHotCategorical",
        lt.OneHotCategorical,
        (a([[0.4, -1.3, 2.0], [0.0, 1.0, -0.5]]),),
        (a([[0.0, 1.0, -1.0], [0.3, 0.0, 0.0]]),),
        _one_hot,
        ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],),
        (
            [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]],
        ),
        "points",
        bad=(((0.0,), r"OneHotCategorical\(logits=…\) needs shape \(…, K\)"),),
    ),
    Case(
        "Binomial",
        lambda l: lt.Binomial(6, l),
        (a(0.4),),
        (a(-1.0),),
        lambda x, l: stats.binom.logpmf(x, 6, special.expit(l)),
        (0.0, 2.0, 6.0),
        (-1.0, 7.0, 2.5, math.nan),
        "points",
        bad=(((math.nan,), r"Binomial\(logits=…\) needs numbers in \[-inf, inf\]; got nan"),),
    ),
    Case(
        "Geometric",
        lt.Geometric,
        (a(-0.4),),
        (a(0.5),),
        lambda x, l: stats.geom.logpmf(x + 1, special.expit(l)),
        (0.0, 3.0, 200.0),
        (-1.0, 0.5, math.nan, math.inf),
        "count",
        lambda x, l: stats.geom.cdf(x + 1, special.expit(l)),
        bad=(((-math.inf,), r"Geometric\(logits=…\) needs numbers in \(-inf, inf\]; got -inf"),),
    ),
    Case(
        "NegativeBinomial",
        lt.NegativeBinomial,
        (a(2.5), a(0.4)),
        (a(1.0), a(0.0)),
        lambda x, r, l: stats.nbinom.logpmf(x, r, special.expit(-l)),
        (0.0, 3.0, 200.0),
        (-1.0, 0.5, math.nan),
        "count",
        bad=(
            (
                (-1.0, 0.0),
                r"NegativeBinomial\(total_count=…\) needs non-negative finite numbers; got -1",
            ),
            (
                (1.0, math.inf),
                r"NegativeBinomial\(logits=…\) needs numbers in \[-inf, inf\); got inf",
            ),
        ),
    ),
    Case(
        "Poisson",
        lt.Poisson,
        (a(4.5),),
        (a(2.0),),
        lambda x, r: stats.poisson.logpmf(x, r),
        (0.0, 3.0, 200.0),
        (-1.0, 0.5, math.nan, math.inf),
        "count",
        lambda x, r: stats.poisson.cdf(x, r),
        bad=(((-1.0,), r"Poisson\(rate=…\) needs numbers between 0 and 2\*\*30; got -1"),),
    ),
    Case(
        "PlackettLuce",
        lt.PlackettLuce,
        (a([0.4, -1.3, 2.0, 0.0]),),
        (a([0.0, 1.0, -1.0, 0.3]),),
        _plackett_luce,
        ([0, 1, 2, 3], [2, 0, 3, 1]),
        ([0, 0, 1, 2], [1, 2, 3, 4], [-1, 0, 1, 2]),
        "points",
        bad=(
            ((np.zeros((2, 2)),), r"PlackettLuce\(logits=…\) needs shape \(K,\); got \(2, 2\)"),
            (
                (a([-math.inf, -math.inf]),),
                r"PlackettLuce\(logits=…\) needs rows of numbers below inf, not all of them -inf",
            ),
        ),
    ),
    Case(
        "Mixture",
        _mixture_of,
        (a([0.3, -0.5]), a([-1.0, 2.0]), a(0.8)),
        (a([0.0, 0.0]), a([0.0, 1.0]), a(1.0)),
        _mixture,
        (0.0, -1.0, 9.0),
        (math.nan,),
        "number",
        _mixture_cdf,
        bad=(
            (
                (np.zeros(3), np.zeros(2), 1.0),
                r"Mixture\(logits=…, components=…\) needs as many components as logits, 3",
            ),
            ((np.zeros((2, 2)), np.zeros(2), 1.0), r"Mixture\(logits=…\) needs shape \(K,\)"),
        ),
    ),
    Case(
        "Transformed",
        lambda m, s: lt.Transformed(lt.Normal(m, s), Exp()),
        (a(0.3), a(0.8)),
        (a(-0.2), a(1.1)),
        _log_normal,
        (1.0, 1e-10, 1e6),
        (0.0, -1.0, math.nan),
        "number",
        lambda x, m, s: stats.lognorm.cdf(x, s, scale=np.exp(m)),
    ),
]
NAMES = [case.name for case in CASES]
BY_NAME = {case.name: case for case in CASES}


def joint(m: Any, l: Any) -> Any:
    """A `Joint`; its draws are no array, so it is tested by itself."""
    return lt.Joint({"x": lt.Normal(m, 1.0), "b": lt.Bernoulli(l)})


def support_points(case: Case) -> np.ndarray:
    """Points that carry all but 1e-14 of a discrete family's probability."""
    if case.law == "points":
        return np.asarray(case.make(*case.params).enumerate())
    return np.arange(400.0)


def quadrature(dist: Distribution) -> tuple[jax.Array, jax.Array]:
    """Nodes and weights for ∫ g(x) dx over the support: the trapezoidal rule after the bijector from R."""
    grid = 0.008 * (jnp.arange(-4500.0, 4500.0) + 0.5)  # symmetric about 0, and 0 is no node
    bijector = bijector_to(dist.support)
    if (
        dist.support.whole_space
    ):  # sinh t reaches the heavy tails; the median, where there may be a kink, between nodes
        center = dist.inverse_cdf(jnp.asarray(0.5)) if dist.quantiles.inverse else 0.0
        return center + jnp.sinh(grid), jnp.cosh(grid) * (grid[1] - grid[0])
    return jax.vmap(bijector.forward)(grid), jnp.exp(jax.vmap(bijector.log_det)(grid)) * (
        grid[1] - grid[0]
    )


def finite_differences(function: Callable[..., float], params: tuple[Any, ...]) -> list[np.ndarray]:
    """Central differences of a float64 function in every entry of every parameter, fourth order."""
    grads = []
    for i, p in enumerate(params):
        grad = np.zeros(np.shape(p))
        for index in itertools.product(*map(range, np.shape(p))):
            h = 1e-3 * max(1.0, abs(float(p[index])))
            at = lambda k: function(*params[:i], _shifted(p, index, k * h), *params[i + 1 :])
            grad[index] = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)
        grads.append(grad)
    return grads


def _shifted(p: Any, index: Any, h: float) -> np.ndarray:
    moved = np.array(p, float)
    moved[index] += h
    return moved

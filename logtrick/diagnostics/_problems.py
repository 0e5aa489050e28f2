"""The problems of `python -m logtrick bench`: small public ones whose exact gradient has a closed form."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.baselines import DeltaMethod, LeaveOneOut, MuProp, NoBaseline, OptimalBaseline
from logtrick.distributions import Bernoulli, Categorical, Gamma, Normal, OneHotCategorical, Poisson
from logtrick.estimators import (
    ARM,
    ARMS,
    REBAR,
    DisARM,
    DoubleCV,
    Enumerate,
    GumbelRao,
    GumbelSoftmax,
    LocalExpectation,
    MeasureValued,
    Pathwise,
    ReinMax,
    ScoreFunction,
    StraightThrough,
    StraightThroughGumbelSoftmax,
    SumAndSample,
    UnorderedSet,
)
from logtrick.expectations import expect
from logtrick.noise import NoNoise
from logtrick.plans import Antithetic, Sobol


@dataclasses.dataclass(frozen=True)
class Problem:
    """An expectation whose gradient is known.

    Attributes:
      about: one line.
      source: where it comes from.
      params: where the gradient is taken, float64.
      dist: the distribution, a function of the parameters.
      cost: the f of the expectation, a function of one draw.
      gradient: the exact gradient, a function of the parameters, a pytree like them.
      estimators: names in `ESTIMATORS` that are compared unless others are named.
      samples: the budget of evaluations unless another is named; each of `estimators` can use all of it.
    """

    about: str
    source: str
    params: Any
    dist: Callable[[Any], Any]
    cost: Callable[[Any], Any]
    gradient: Callable[[Any], Any]
    estimators: tuple[str, ...]
    samples: int = 4

    def objective(self, name: str) -> Callable[..., Any]:
        """`objective(params, key, num_samples)`, where num_samples is the budget in evaluations of f."""
        make = ESTIMATORS[name]

        def value(params: Any, key: Any, num_samples: int) -> Any:
            dist, estimator = self.dist(params), make(num_samples)
            runs = _runs(name, estimator, dist, num_samples)
            return expect(key, self.cost, dist, estimator=estimator, num_samples=runs)

        return value


def _runs(name: str, estimator: Any, dist: Any, budget: int) -> int:
    """How many samples of an estimator take a budget of evaluations."""
    if isinstance(estimator.noise(dist), NoNoise):  # it draws nothing
        return 1
    each = estimator.count_evaluations(dist)
    if budget % each:
        raise ValueError(
            f"{name} evaluates f {each} times per sample, so the budget must be a multiple of "
            f"{each}; got {budget}. Pass --samples {each * max(1, round(budget / each))}."
        )
    return budget // each


ESTIMATORS: dict[str, Callable[[int], Any]] = {
    "none": lambda n: ScoreFunction(NoBaseline()),
    "loo": lambda n: ScoreFunction(LeaveOneOut()),
    "optimal-baseline": lambda n: ScoreFunction(OptimalBaseline()),
    "loo-antithetic": lambda n: ScoreFunction(LeaveOneOut(), Antithetic()),
    "muprop": lambda n: ScoreFunction(MuProp()),
    "delta": lambda n: ScoreFunction(DeltaMethod()),
    "pathwise": lambda n: Pathwise(),
    "pathwise-antithetic": lambda n: Pathwise(Antithetic()),
    "pathwise-sobol": lambda n: Pathwise(Sobol()),
    "measure-valued": lambda n: MeasureValued(),
    "arm": lambda n: ARM(),
    "disarm": lambda n: DisARM(),
    "arms": lambda n: ARMS(n),
    "unordered": lambda n: UnorderedSet(n),
    "sum-and-sample": lambda n: SumAndSample(n),
    "local-expectation": lambda n: LocalExpectation(),
    "double-cv": lambda n: DoubleCV(),
    "rebar": lambda n: REBAR(),
    "enumerate": lambda n: Enumerate(),
    "straight-through": lambda n: StraightThrough(),
    "gumbel-softmax": lambda n: GumbelSoftmax(0.5),
    "st-gumbel-softmax": lambda n: StraightThroughGumbelSoftmax(0.5),
    "gumbel-rao": lambda n: GumbelRao(0.5),
    "reinmax": lambda n: ReinMax(),
}

_BITS = ("none", "loo", "arm", "disarm", "arms", "rebar", "enumerate")
_SMOOTH = ("none", "loo", "pathwise", "pathwise-antithetic", "measure-valued")


def _spread(logits: Any) -> Any:
    """p (1 − p)."""
    p = 1 / (1 + np.exp(-np.asarray(logits)))
    return p * (1 - p)


def _one_bit(t: float, source: str) -> Problem:
    return Problem(
        f"one bit at p = ½, f = (b − {t})²",
        source,
        0.0,
        Bernoulli,
        lambda b: (b - t) ** 2,
        lambda logit: _spread(logit) * (1 - 2 * t),
        _BITS,
        samples=6,
    )


def _two_hundred_bits() -> Problem:
    theta = 0.7
    return Problem(
        "200 bits at p = .7, f = mean (b − .499)²",
        "Titsias & Shi (2022), figure 1",
        np.full(200, math.log(theta / (1 - theta))),
        Bernoulli,
        lambda b: jnp.mean((b - 0.499) ** 2),
        lambda logits: _spread(logits) * (1 - 2 * 0.499) / 200,
        ("none", "loo", "arm", "disarm", "arms", "double-cv"),
    )


def _three_bits() -> Problem:
    targets = np.array([0.6, 0.51, 0.48])
    return Problem(
        "three bits of one logit, f = Σ (b − (.6, .51, .48))²",
        "Kool, van Hoof & Welling (2020), the Bernoulli toy",
        0.0,
        lambda logit: Bernoulli(jnp.broadcast_to(logit, (3,))),
        lambda b: jnp.sum((b - jnp.asarray(targets, b.dtype)) ** 2),
        lambda logit: float(np.sum(_spread(logit) * (1 - 2 * targets))),
        ("none", "loo", "disarm", "unordered", "sum-and-sample", "enumerate"),
    )


def _five_classes() -> Problem:
    logits = np.array([0.5, -1.0, 1.2, 0.0, -0.3])
    costs = np.array([5.0, 1.0, 3.0, 0.5, 8.0])

    def gradient(logits: Any) -> np.ndarray:
        p = np.exp(logits) / np.exp(logits).sum()
        return p * (costs - p @ costs)

    return Problem(
        "five classes, a table of costs",
        "after Kool, van Hoof & Welling (2020)",
        logits,
        Categorical,
        lambda x: jnp.asarray(costs)[x],
        gradient,
        ("none", "loo", "unordered", "sum-and-sample", "enumerate"),
    )


def _polynomial() -> Problem:
    power, pairs = 1.5, 128

    def gradient(logits: Any) -> np.ndarray:
        spread = _spread(logits[:, 0] - logits[:, 1])
        first = spread * (0.55**power - 0.45**power) / pairs
        return np.stack([first, -first], axis=1)

    return Problem(
        "128 one-hot pairs, f = mean |x − .45|^1.5",
        "Liu, Dong, Liu, Yu & Gao (2023), polynomial programming",
        np.tile([0.3, 0.0], (pairs, 1)),
        OneHotCategorical,
        lambda x: jnp.mean(jnp.abs(x[:, 0] - 0.45) ** power),
        gradient,
        ("none", "loo", "straight-through", "st-gumbel-softmax", "gumbel-rao", "reinmax"),
    )


def _normal(about: str, cost: Callable[[Any], Any], gradient: Callable[..., Any]) -> Problem:
    return Problem(
        f"N(1, 1), f = {about}, by mean and scale",
        "Mohamed, Rosca, Figurnov & Mnih (2020), figures 2 and 3",
        {"loc": 1.0, "scale": 1.0},
        lambda params: Normal(params["loc"], params["scale"]),
        cost,
        lambda params: dict(zip(("loc", "scale"), gradient(params["loc"], params["scale"]))),
        _SMOOTH,
        samples=10,
    )


def _cosine(m: float, s: float, k: float = 0.5) -> tuple[float, float]:
    size = math.exp(-((k * s) ** 2) / 2)
    return -k * math.sin(k * m) * size, -k * k * s * math.cos(k * m) * size


def _bump(m: float, s: float, k: float = 5.0) -> tuple[float, float]:
    wide = 1 + 2 * k * s * s
    value = math.exp(-k * m * m / wide) / math.sqrt(wide)
    return value * -2 * k * m / wide, value * 2 * k * s * (2 * k * m * m / wide - 1) / wide


def _step(m: float, s: float) -> tuple[float, float]:
    z = m / s
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return density / s, -z * density / s


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "arms-toy": lambda: _one_bit(0.49, "Dimitriev & Zhou (2021), figure 1"),
    "rebar-toy": lambda: _one_bit(0.45, "Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein (2017)"),
    "relax-toy": lambda: _one_bit(0.499, "Grathwohl, Choi, Wu, Roeder & Duvenaud (2018)"),
    "three-bits": _three_bits,
    "two-hundred-bits": _two_hundred_bits,
    "five-classes": _five_classes,
    "polynomial": _polynomial,
    "normal-square": lambda: _normal(
        "(x + 3)²", lambda x: (x + 3.0) ** 2, lambda m, s: (2 * (m + 3), 2 * s)
    ),
    "normal-cosine": lambda: _normal("cos(x / 2)", lambda x: jnp.cos(0.5 * x), _cosine),
    "normal-bump": lambda: _normal("exp(−5 x²)", lambda x: jnp.exp(-5.0 * x**2), _bump),
    "normal-step": lambda: dataclasses.replace(
        _normal("1[x > 0]", lambda x: (x > 0).astype(x.dtype), _step),
        estimators=("none", "loo", "measure-valued"),
    ),
    "poisson-square": lambda: Problem(
        "a Poisson of rate 4, f = (x − 5)², by its rate",
        "after Mohamed, Rosca, Figurnov & Mnih (2020), section 6",
        4.0,
        Poisson,
        lambda x: (jnp.asarray(x, float) - 5.0) ** 2,
        lambda rate: 1 + 2 * (rate - 5),
        ("none", "loo", "measure-valued"),
    ),
    "gamma-log": lambda: Problem(
        "a gamma of shape 3 and rate 1, f = log x, by both",
        "Figurnov, Mohamed & Mnih (2018); Jankowiak & Obermeyer (2018)",
        {"shape": 3.0, "rate": 1.0},
        lambda params: Gamma(params["shape"], params["rate"]),
        jnp.log,
        lambda params: {"shape": math.pi**2 / 6 - 1.25, "rate": -1 / params["rate"]},
        ("none", "loo", "pathwise"),
    ),
}


def started(problem: Problem) -> tuple[Any, Any]:
    """The parameters as float32 arrays, and the exact gradient there."""
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), problem.params)
    return params, problem.gradient(problem.params)

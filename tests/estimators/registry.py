"""Every estimator and the problems it is legal on: one line each, for the laws in test_laws.py."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

import logtrick as lt
from logtrick.estimators import Estimator


@dataclasses.dataclass(frozen=True)
class Problem:
    """A distribution of parameters and a cost of both, to be summed over its support."""

    dist: Callable[[Any], Any]
    cost: Callable[[Any, Any], Any]
    params: np.ndarray


def _bits_cost(params, x):
    return (x[0] - 2 * x[1] + 0.5 * x[0] * x[1] - 0.3) ** 2 + 0.3 * params[0] * x[1]


PROBLEMS = {
    "bit": Problem(lt.Bernoulli, lambda p, x: (x - 0.3) ** 2 + 0.2 * p * x, np.array(0.4)),
    "bits": Problem(lt.Bernoulli, _bits_cost, np.array([0.4, -0.8])),
    "index": Problem(
        lt.Categorical,
        lambda p, x: jnp.array([2.0, -0.5, 1.3])[x] + 0.2 * p[1] * x,
        np.array([0.5, -0.3, 0.9]),
    ),
    "one hot": Problem(
        lt.OneHotCategorical,
        lambda p, x: (x @ jnp.array([1.0, -1.5, 0.3]) - 0.2) ** 2,
        np.array([0.5, -0.3, 0.9]),
    ),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One estimator in the laws.

    Attributes:
      estimator: with its parameters.
      problems: where it is legal, of `PROBLEMS`; the first is its covering problem.
      shift: f + c has the same gradient, draw by draw.
      relaxed: its value is that of relaxed draws, so that it is biased too.
      chunk: samples of a chunk, at least as many as it needs.
    """

    estimator: Estimator
    problems: tuple[str, ...]
    shift: bool = True
    relaxed: bool = False
    chunk: int = 2


_surrogate = lambda w, y: w[0] + w[1] * jnp.sum(y**2)
_heads = lambda w, u: jnp.tanh(w @ u)
_W = np.array([0.2, 0.3], np.float32)
_AVERAGE = lt.MovingAverage(0.9, average=np.float32(0.2), weight=np.float32(0.4))
_TWO = (lt.ScoreFunction(), lt.ScoreFunction(lt.ConstantBaseline(0.3)))
_FIRST = lambda x: jnp.ravel(x)[0]
_FINITE = ("bits", "index", "bit", "one hot")
_LINKED = ("one hot", "bits", "bit")

REGISTRY = {
    "ScoreFunction": Entry(lt.ScoreFunction(), _FINITE),
    "ScoreFunction, no baseline": Entry(lt.ScoreFunction(lt.NoBaseline()), _FINITE, shift=False),
    "ScoreFunction, moving average": Entry(lt.ScoreFunction(_AVERAGE), _FINITE, shift=False),
    "ScoreFunction, optimal baseline": Entry(
        lt.ScoreFunction(lt.OptimalBaseline()), ("one hot", "bits", "index")
    ),
    "ScoreFunction, MuProp": Entry(lt.ScoreFunction(lt.MuProp()), ("bits", "bit")),
    "MeasureValued": Entry(lt.MeasureValued(), ("bits", "index", "one hot", "bit")),
    "WithControlVariate": Entry(
        lt.WithControlVariate(lt.MeasureValued(), _FIRST, lambda dist: jnp.ravel(dist.mean())[0]),
        ("bits", "bit", "one hot"),
        chunk=3,  # its coefficient is fitted to the other samples
    ),
    "Combination": Entry(lt.Combination(_TWO, (0.3, 0.7)), ("bits", "index"), shift=False),
    "Combination, learned": Entry(
        lt.Combination(_TWO, (0.3, 0.7), learn=True), ("index", "bits"), shift=False
    ),
    "Enumerate": Entry(lt.Enumerate(), _FINITE),
    "VariableElimination": Entry(lt.VariableElimination(), _FINITE),
    "DisARM": Entry(lt.DisARM(), ("bits", "bit")),
    "ARM": Entry(lt.ARM(), ("bits", "bit")),
    "ARMS": Entry(lt.ARMS(3), ("bits", "bit")),
    "UnorderedSet": Entry(lt.UnorderedSet(2), ("index", "bits", "one hot", "bit")),
    "SumAndSample": Entry(lt.SumAndSample(2), ("index", "bits", "one hot"), shift=False),
    "SumAndSample, stochastic": Entry(
        lt.SumAndSample(2, stochastic=True), ("bits", "index", "one hot"), shift=False
    ),
    "LocalExpectation": Entry(lt.LocalExpectation(), _LINKED),
    "REBAR": Entry(lt.REBAR(), _LINKED),
    "REBAR, coupled and learned": Entry(
        lt.REBAR(coupled=True, learn=True), ("bits", "one hot", "bit")
    ),
    "RELAX": Entry(lt.RELAX(_surrogate, _W), _LINKED, shift=False),
    "DoubleCV": Entry(lt.DoubleCV(0.3), ("bits", "bit")),
    "DoubleCV, learned": Entry(lt.DoubleCV(0.3, learn=True), ("bits", "bit")),
    "RODEO": Entry(
        lt.RODEO(_heads, 0.3 * np.eye(2, dtype=np.float32)), ("bits", "bit"), shift=False
    ),
    "StraightThrough": Entry(lt.StraightThrough(), _LINKED),
    "GumbelSoftmax": Entry(lt.GumbelSoftmax(0.5), _LINKED, relaxed=True),
    "StraightThroughGumbelSoftmax": Entry(
        lt.StraightThroughGumbelSoftmax(0.5), ("bits", "one hot", "bit")
    ),
    "GumbelRao": Entry(lt.GumbelRao(0.5, 2), _LINKED),
    "ReinMax": Entry(lt.ReinMax(), ("bits", "one hot", "bit")),
}

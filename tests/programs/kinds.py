"""The registry of kinds of sites: an estimator on a family, and every cell of the noise that it can be given.

A new estimator joins the laws of programs by one line in `KINDS`.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.nn import sigmoid

import logtrick as lt

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(3)
SCALE = 0.7


@dataclasses.dataclass(frozen=True)
class Coin:
    """A Bernoulli by its logit."""

    def dist(self, logit):
        return lt.Bernoulli(logit)

    def points(self, logit):
        """What can be drawn and with which probability, as functions of the logit."""
        return [(0.0, sigmoid(-logit)), (1.0, sigmoid(logit))]

    def cells(self, logits, reflected):
        """The cells of a uniform in which no draw changes, whatever the logit, by their middles and their widths."""
        p = [float(sigmoid(l)) for l in logits]
        edges = np.unique([0.0, 1.0, *p, *([1 - q for q in p] if reflected else [])])
        return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


@dataclasses.dataclass(frozen=True)
class Bell:
    """A normal by its mean, integrated over its standard noise: pathwise, the estimator is exact for each value."""

    def dist(self, loc):
        return lt.Normal(loc, SCALE)

    def points(self, loc):
        return [(loc + SCALE * e, w / np.sqrt(2 * np.pi)) for e, w in zip(_NODES, _WEIGHTS)]

    def cells(self, locs, reflected):
        return _NODES, _WEIGHTS / np.sqrt(2 * np.pi)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of site.

    Attributes:
      estimator: what is under test.
      family: what it draws from.
      reflected: it looks at 1 − u as well as at u.
    """

    name: str
    estimator: Any
    family: Any = Coin()  # frozen
    reflected: bool = False

    def cells(self, parameters):
        """(noises, probabilities); None where the site draws nothing."""
        if isinstance(self.estimator, lt.Enumerate):
            return None, np.ones(1)
        return self.family.cells(parameters, self.reflected)


KINDS = [
    Kind("score", lt.ScoreFunction(lt.NoBaseline())),
    Kind("score leave-one-out", lt.ScoreFunction()),
    Kind("enumerate", lt.Enumerate()),
    Kind("pathwise", lt.Pathwise(), Bell()),
    Kind("DisARM", lt.DisARM(), reflected=True),
]


def chain_cells(kinds, parameter, theta):
    """Every cell of the noise of one run of a chain, each site's parameter given by those drawn before, and its
    probability: one array of cells for each site that draws noise, None for the others."""
    noises, weights, drawn = [], np.ones(1), [()]
    for i, kind in enumerate(kinds):
        parameters = [float(parameter(theta, i, values)) for values in drawn]
        cells, probabilities = kind.cells(parameters)
        drawn = [
            (*v, float(x)) for v, p in zip(drawn, parameters) for x, _ in kind.family.points(p)
        ]
        noises = [None if n is None else np.repeat(n, len(probabilities)) for n in noises]
        noises.append(None if cells is None else np.tile(cells, len(weights)))
        weights = np.outer(weights, probabilities).ravel()
    return noises, weights


def exact(kinds, parameter, cost, theta, values=()):
    """The expectation of `cost(theta, values)`, summed over everything that can be drawn."""
    if len(values) == len(kinds):
        return cost(theta, values)
    points = kinds[len(values)].family.points(parameter(theta, len(values), values))
    return sum(
        w * exact(kinds, parameter, cost, theta, (*values, jnp.asarray(x))) for x, w in points
    )

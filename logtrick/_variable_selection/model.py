"""The model: linear regression with a g-prior and unknown inclusion, and its exact posterior by enumeration."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._variable_selection.table import Table

Array = jax.Array

# Up to this many predictors the 2^p models are enumerated.
MAX_ENUMERATED = 16


class Model:
    """y | γ ~ N(α + X_γ β, σ²): g-prior with g = n on β, flat α and log σ², each predictor in with probability ½.

    With R²(γ) the coefficient of determination of the included columns and k their number, integrating α, β, σ² gives

      p(y | γ) / p(y | 0) = (1 + g)^{(n−1−k)/2} (1 + g (1 − R²))^{−(n−1)/2}.

    γ is a vector of 0. and 1., one an available predictor.

    References:
      Zellner (1986), "On Assessing Prior Distributions and Bayesian Regression Analysis with g-Prior Distributions";
      Liang, Paulo, Molina, Clyde & Berger (2008), "Mixtures of g Priors for Bayesian Variable Selection", equation (6).
    """

    def __init__(self, table: Table) -> None:
        self.names = table.names
        self.num_rows = table.num_rows
        # Columns of length 1 with the correlations as inner products: all that R² needs, in float64 once.
        columns = np.column_stack([table.predictors, table.response]) / math.sqrt(table.num_rows)
        self.factor = np.linalg.qr(columns).R

    @property
    def num_predictors(self) -> int:
        return len(self.names)

    def described(self, included: np.ndarray) -> str:
        """A model by the names of its predictors."""
        return "+".join(name for name, on in zip(self.names, included) if on) or "none"

    @property
    def correlation(self) -> np.ndarray:
        """The correlations of the predictors, shape (p, p)."""
        return (self.factor.T @ self.factor)[:-1, :-1]

    @property
    def enumerable(self) -> bool:
        """Whether the exact posterior is computed."""
        return self.num_predictors <= MAX_ENUMERATED

    def log_joint(self, inclusion: Array) -> Array:
        """log p(y, γ) − log p(y | 0) of one γ, shape ()."""
        g, k = self.num_rows, jnp.sum(inclusion)
        unexplained = unexplained_fraction(jnp.asarray(self.factor, inclusion.dtype), inclusion)
        return self._closed_form(k, jnp.log((1 + g * unexplained) / (1 + g)))

    def _closed_form(self, num_included: Any, log_ratio: Any) -> Any:
        """log p(y, γ) − log p(y | 0), given log (1 + g (1 − R²)) / (1 + g): no digits are lost to a large n."""
        log_likelihood = (
            -0.5 * num_included * math.log1p(self.num_rows) - 0.5 * (self.num_rows - 1) * log_ratio
        )
        return log_likelihood - self.num_predictors * math.log(2.0)

    @functools.cached_property
    def posterior(self) -> "Posterior":
        """The exact posterior, by enumeration in float64 on the host."""
        g = self.num_rows
        points, unexplained = unexplained_fractions(self.factor)
        log_joint = self._closed_form(points.sum(axis=1), np.log((1 + g * unexplained) / (1 + g)))
        return Posterior.of(points, log_joint)


def unexplained_fractions(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every γ, shape (2^p, p), and 1 − R² of each, by `unexplained_fraction`'s elimination in float64.

    The models form a binary tree: a node has fixed γ_1 … γ_j and keeps the columns after j, from which the directions
    of the included ones are removed. So the whole enumeration costs little more than its last level.
    """
    num_predictors = factor.shape[1] - 1
    points, columns = np.zeros((1, 0)), factor[None]
    for _ in range(num_predictors):
        direction, rest = columns[:, :, 0], columns[:, :, 1:]
        weights = np.einsum("mi,mij->mj", direction, rest) / np.sum(direction**2, axis=1)[:, None]
        without = rest - direction[:, :, None] * weights[:, None, :]
        columns = np.stack([rest, without], axis=1).reshape(-1, *rest.shape[1:])
        bits = np.tile([[0.0], [1.0]], (len(points), 1))
        points = np.hstack([np.repeat(points, 2, axis=0), bits])
    return points, np.sum(columns[:, :, 0] ** 2, axis=1)


def unexplained_fraction(factor: Array, inclusion: Array) -> Array:
    """1 − R² of the last column on the included ones of the others, by elimination without pivots, shape ().

    Modified Gram–Schmidt: the direction of each included column is taken out of all columns, and 1 − R² is the squared
    length that is left of the last, which began at 1. In float32 the log evidence is right to 1e-4 up to variance
    inflation of 1e8 (elimination on the correlation matrix itself: 0.3). Plain `lax`, so that it may be vmapped: two
    batched LAPACK calls in one program can deadlock on the CPU.

    Args:
      factor: R of a QR factorization of the columns, each of length 1; shape (p + 1, p + 1).
      inclusion: 0. or 1., shape (p,).
    """

    def eliminate(j: Array, columns: Array) -> Array:
        direction = lax.dynamic_index_in_dim(columns, j, axis=1, keepdims=False)
        weight = lax.dynamic_index_in_dim(inclusion, j, keepdims=False) / jnp.sum(direction**2)
        return columns - weight * jnp.outer(direction, direction @ columns)

    columns = lax.fori_loop(0, inclusion.shape[0], eliminate, factor)
    return jnp.sum(columns[:, -1] ** 2)


@dataclasses.dataclass(frozen=True)
class Posterior:
    """The exact posterior over inclusion vectors, in float64 on the host.

    Attributes:
      points: every γ, shape (2^p, p).
      log_joint: log p(y, γ) relative to the null model, shape (2^p,).
      log_evidence: log Σ_γ p(y, γ), relative to the null model.
      weights: p(γ | y), shape (2^p,).
    """

    points: np.ndarray
    log_joint: np.ndarray
    log_evidence: float
    weights: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, log_joint: np.ndarray) -> "Posterior":
        log_evidence = float(np.logaddexp.reduce(log_joint))
        return cls(points, log_joint, log_evidence, np.exp(log_joint - log_evidence))

    @property
    def inclusion(self) -> np.ndarray:
        """P(γ_j = 1 | y), shape (p,)."""
        return self.weights @ self.points

    @property
    def correlation(self) -> np.ndarray:
        """The posterior correlations of the γ_j, shape (p, p); 0 where one of them is certain."""
        mean = self.inclusion
        covariance = (self.points * self.weights[:, None]).T @ self.points - np.outer(mean, mean)
        deviation = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        scale = np.outer(deviation, deviation)
        return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-9)

    def best(self, count: int) -> list[tuple[np.ndarray, float]]:
        """The `count` most probable γ with their probabilities."""
        order = np.argsort(-self.weights, kind="stable")[:count]
        return [(self.points[i] > 0, float(self.weights[i])) for i in order]

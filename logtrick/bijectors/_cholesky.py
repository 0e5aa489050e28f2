"""Bijectors to Cholesky factors."""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick.bijectors._base import Array, Bijector, Shape
from logtrick.supports import CorrelationCholesky, CovarianceCholesky, Support, Unknown


class CholeskyCovariance(Bijector):
    """R^(D(D+1)/2) to lower-triangular matrices with a positive diagonal, the factors L of covariances L Lᵀ.

    The vector fills the triangle row by row, and its diagonal is exponentiated: log det = Σ over the diagonal of x,
    that of the entries of L (not of L Lᵀ).

    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick.bijectors import CholeskyCovariance
      >>> CholeskyCovariance().forward(jnp.array([0.0, 2.0, 0.0])).tolist()
      [[1.0, 0.0], [2.0, 1.0]]
    """

    def forward(self, x: Array) -> Array:
        size = _size("CholeskyCovariance", x.shape, 1)
        filled = jnp.zeros((size, size), x.dtype).at[np.tril_indices(size)].set(x)
        diagonal = jnp.eye(size, dtype=bool)
        return jnp.where(diagonal, jnp.exp(jnp.where(diagonal, filled, 0.0)), filled)

    def inverse(self, y: Array) -> Array:
        size = y.shape[-1]
        diagonal = jnp.eye(size, dtype=bool)
        filled = jnp.where(diagonal, jnp.log(jnp.where(diagonal, y, 1.0)), y)
        return filled[np.tril_indices(size)]

    def log_det(self, x: Array) -> Array:
        size = _size("CholeskyCovariance", x.shape, 1)
        return jnp.sum(x[np.cumsum(np.arange(1, size + 1)) - 1])

    def inside(self, y: Array) -> Array:
        return _is_factor(y)

    def image(self, support: Support) -> Support:
        return CovarianceCholesky() if support.whole_space else Unknown()

    def forward_shape(self, shape: Shape) -> Shape:
        size = _size("CholeskyCovariance", shape, 1)
        return (size, size)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (shape[-1] * (shape[-1] + 1) // 2,)


class CholeskyCorrelation(Bijector):
    """R^(D(D−1)/2) to lower-triangular matrices with a positive diagonal and unit rows, the factors of correlations.

    With z = tanh x, row by row, Lᵢⱼ = zᵢⱼ √(Π_{k<j} (1 − zᵢₖ²)) and Lᵢᵢ is what is left; log det is that of the
    entries below the diagonal, Σ log(1 − zᵢⱼ²) + ½ Σ_{k<j} log(1 − zᵢₖ²).

    References:
      Lewandowski, Kurowicka & Joe (2009), "Generating Random Correlation Matrices Based on Vines".
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick.bijectors import CholeskyCorrelation
      >>> L = CholeskyCorrelation().forward(jnp.array([0.5493061]))            # artanh ½
      >>> (L @ L.T).round(4).tolist()
      [[1.0, 0.5], [0.5, 1.0]]
    """

    def forward(self, x: Array) -> Array:
        filled, log_left, below = _rows(x)
        size = filled.shape[0]
        partial = jnp.where(below, jnp.tanh(filled), 0.0) * jnp.exp(0.5 * log_left[:, :-1])
        return jnp.where(jnp.eye(size, dtype=bool), jnp.exp(0.5 * log_left[:, -1:]), partial)

    def inverse(self, y: Array) -> Array:
        # sinh x = Lᵢⱼ / √(Σ_{k>j} Lᵢₖ²): no 1 − z²
        left = lax.cumsum(jnp.tril(y) ** 2, axis=1, reverse=True)
        below = np.tril_indices(y.shape[-1], -1)
        return jnp.arcsinh(y[below] / jnp.sqrt(left[below[0], below[1] + 1]))

    def log_det(self, x: Array) -> Array:
        filled, log_left, below = _rows(x)
        return jnp.sum(jnp.where(below, _log_rest(filled) + 0.5 * log_left[:, :-1], 0.0))

    def inside(self, y: Array) -> Array:
        slack = 8 * y.shape[-1] * jnp.finfo(y.dtype).eps
        return _is_factor(y) & jnp.all(jnp.abs(jnp.sum(y**2, axis=-1) - 1) <= slack)

    def image(self, support: Support) -> Support:
        return CorrelationCholesky() if support.whole_space else Unknown()

    def forward_shape(self, shape: Shape) -> Shape:
        size = _size("CholeskyCorrelation", shape, -1)
        return (size, size)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (shape[-1] * (shape[-1] - 1) // 2,)


def _size(where: str, shape: Shape, sign: int) -> int:
    """D with D (D + sign) / 2 = the length of the vector."""
    size = (math.isqrt(8 * shape[0] + 1) - sign) // 2 if len(shape) == 1 else 0
    if not size or size * (size + sign) // 2 != shape[0]:
        part = "+" if sign > 0 else "−"
        raise ValueError(
            f"{where}.forward(x=…) needs a vector of D(D {part} 1)/2 entries; got shape {shape}."
        )
    return size


def _is_factor(y: Array) -> Array:
    return jnp.all(jnp.isfinite(y)) & jnp.all(jnp.diagonal(y) > 0) & jnp.all(jnp.triu(y, 1) == 0)


def _rows(x: Array) -> tuple[Array, Array, Array]:
    """x below the diagonal, the log of the squared length left before each entry and at the end, and the mask of x."""
    size = _size("CholeskyCorrelation", x.shape, -1)
    below = jnp.tril(jnp.ones((size, size), bool), -1)
    filled = jnp.zeros((size, size), x.dtype).at[np.tril_indices(size, -1)].set(x)
    left = jnp.cumsum(jnp.where(below, _log_rest(filled), 0.0), axis=1)
    return filled, jnp.concatenate([jnp.zeros((size, 1), x.dtype), left], axis=1), below


def _log_rest(x: Array) -> Array:
    """log(1 − tanh² x), stable for large |x|."""
    size = jnp.abs(x)
    return 2 * (math.log(2.0) - size - jnp.log1p(jnp.exp(-2 * size)))

"""The simplex in coordinates that treat all of its entries alike."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.bijectors import Bijector
from logtrick.supports import Simplex, Support, Unknown

Array = jax.Array
Shape = tuple[int, ...]


class IsometricLogRatio(Bijector):
    """R^(K−1) to the simplex of K: y = softmax(V x), the rows of V an orthonormal basis of the vectors of sum zero.

    A permutation of the entries of y is a rotation of x, so that a symmetric posterior has an isotropic image, and a
    mean-field guide gives all entries the same standard deviation. A softmax with a pivot, or stick-breaking, does not.
    On the last axis; log |det| = Σ log y + ½ log K, in the first K − 1 entries of y.

    References:
      Egozcue, Pawlowsky-Glahn, Mateu-Figueras & Barceló-Vidal (2003), "Isometric Logratio Transformations for
      Compositional Data Analysis".
    """

    def forward(self, x: Array) -> Array:
        return jnp.exp(self._log(x))

    def inverse(self, y: Array) -> Array:
        return jnp.log(y) @ _basis(y.shape[-1], y.dtype)

    def log_det(self, x: Array) -> Array:
        rows = math.prod(x.shape[:-1])
        return jnp.sum(self._log(x)) + 0.5 * rows * math.log(x.shape[-1] + 1)

    def _log(self, x: Array) -> Array:
        return jax.nn.log_softmax(x @ _basis(x.shape[-1] + 1, x.dtype).T, axis=-1)

    def inside(self, y: Array) -> Array:
        slack = 8 * y.shape[-1] * jnp.finfo(y.dtype).eps
        return jnp.all(y > 0) & jnp.all(jnp.abs(jnp.sum(y, axis=-1) - 1) <= slack)

    def image(self, support: Support) -> Support:
        return Simplex() if support.whole_space else Unknown()

    def forward_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        return (*shape[:-1], shape[-1] - 1)


def _basis(size: int, dtype: np.dtype) -> Array:
    """V, shape (K, K − 1): Helmert's contrasts, column j the mean of the first j + 1 entries against the next."""
    basis = np.zeros((size, size - 1))
    for j in range(size - 1):
        basis[: j + 1, j] = 1.0
        basis[j + 1, j] = -(j + 1.0)
        basis[:, j] /= math.sqrt((j + 1) * (j + 2))
    return jnp.asarray(basis, dtype)

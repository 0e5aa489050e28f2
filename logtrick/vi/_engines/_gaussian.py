"""The Gaussian that every engine starts from and returns."""

from typing import Any, NamedTuple

import numpy as np


class Gaussian(NamedTuple):
    """A Gaussian on flat, unconstrained vectors: z = mean + scale · e with e ~ N(0, I).

    Attributes:
      mean: shape (d,).
      scale: C of shape (d, d), any square root of the covariance (C Cᵀ; it need not be triangular), or shape (d,): the
        standard deviations of a mean-field Gaussian.
    Example:
      >>> import numpy as np
      >>> Gaussian(np.zeros(2), np.array([[2.0, 0.0], [1.0, 1.0]])).covariance().tolist()
      [[4.0, 2.0], [2.0, 2.0]]
    """

    mean: Any
    scale: Any

    @property
    def dim(self) -> int:
        """The number of coordinates, d."""
        return int(self.mean.shape[0])

    @property
    def mean_field(self) -> bool:
        """Whether the coordinates are independent (`scale` has shape (d,))."""
        return self.scale.ndim == 1

    def host(self) -> "Gaussian":
        """The same Gaussian in float64 NumPy arrays, for the algebra on the host."""
        return Gaussian(np.asarray(self.mean, np.float64), np.asarray(self.scale, np.float64))

    def push(self, noise: Any) -> Any:
        """The draws z = mean + C e for the rows e of `noise`, shape (n, d)."""
        if self.mean_field:
            return self.mean[None] + noise * self.scale[None]
        return self.mean[None] + noise @ self.scale.T

    def pull(self, vectors: np.ndarray) -> np.ndarray:
        """Cᵀ g for the rows g of `vectors` (gradients): the gradients in the whitened coordinates."""
        if self.mean_field:
            return vectors * self.scale
        return vectors @ self.scale

    def whiten(self, points: np.ndarray) -> np.ndarray:
        """The noise e = C⁻¹ (z − mean) of the rows z of `points`."""
        if self.mean_field:
            return (points - self.mean) / self.scale
        return np.linalg.solve(self.scale, (points - self.mean).T).T

    def log_det(self) -> float:
        """log |det C|."""
        if self.mean_field:
            return float(np.log(np.abs(self.scale)).sum())
        return float(np.linalg.slogdet(self.scale)[1])

    def entropy(self) -> float:
        """The entropy in nats."""
        return self.log_det() + 0.5 * self.dim * (1 + np.log(2 * np.pi))

    def covariance(self) -> np.ndarray:
        """The covariance matrix, shape (d, d)."""
        if self.mean_field:
            return np.diag(self.scale**2)
        return self.scale @ self.scale.T

    def stddev(self) -> np.ndarray:
        """The standard deviations, shape (d,)."""
        if self.mean_field:
            return np.abs(self.scale)
        return np.sqrt((self.scale**2).sum(1))


def composed(outer: Gaussian, inner: Gaussian) -> Gaussian:
    """The Gaussian of outer.push(draws of inner)."""
    mean = outer.push(inner.mean[None])[0]
    if outer.mean_field:
        return Gaussian(mean, outer.scale * inner.scale)
    return Gaussian(mean, outer.scale @ inner.scale)


def square(scale: Any) -> np.ndarray:
    """A scale as a matrix in double precision; of independent coordinates a diagonal one."""
    scale = np.asarray(scale, np.float64)
    return np.diag(scale) if scale.ndim == 1 else scale


def triangular(scale: np.ndarray) -> np.ndarray:
    """The lower-triangular square root of C Cᵀ with a positive diagonal, by the QR factors of Cᵀ.

    Cholesky of C Cᵀ squares the condition number and fails at 1e8; QR of Cᵀ does not.
    """
    lower = np.transpose(np.linalg.qr(scale.T, mode="r"))
    signs = np.where(np.diag(lower) < 0, -1.0, 1.0)
    return lower * signs

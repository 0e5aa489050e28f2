"""Newton's method to a mode, the Hessian there, and Laplace's approximation."""

from typing import Any, NamedTuple

import numpy as np

from logtrick.vi._engines._density import Density
from logtrick.vi._engines._gaussian import Gaussian

# Eigenvalues of the scaled Hessian are floored relative to the largest: an absolute floor leaves a regression in raw units
# tens of nats short.
_FLOOR = 1e-10
_NEWTON_STEPS = 12
_STEP_SIZES = np.array([1.0, 0.3, 0.1, 0.01])
_SADDLE = 1e-3  # of a scaled eigenvalue, at most about d in size: below, the gradient vanishes at a saddle
ARRIVED = 1e-3  # nats: the Newton decrement at which a mode is found


class Mode(NamedTuple):
    """A local maximum, or where the search for one ended.

    Attributes:
      point: shape (d,).
      value: the log density there.
      laplace: the Gaussian with the curvature's covariance; directions without curvature have q0's scale.
      deviations: |diag H|^(−1/2), the standard deviations of the mean-field Gaussian for this curvature.
      maximum: whether the Hessian is negative definite and the Newton decrement below 1e-3 nats.
      log_mass: Laplace's approximation of the log of the integral around it (its ELBO, where it is exact).
    """

    point: np.ndarray
    value: float
    laplace: Gaussian
    deviations: np.ndarray
    maximum: bool
    log_mass: float


class Curvature(NamedTuple):
    """The scaled negative Hessian −D H D = Q diag(w) Qᵀ with D = |diag H|^(−1/2)."""

    scaling: np.ndarray
    vectors: np.ndarray
    values: np.ndarray

    @property
    def floored(self) -> np.ndarray:
        """|w|, not below the relative floor."""
        sizes = np.abs(self.values)
        return np.maximum(sizes, max(_FLOOR * sizes.max(), 1e-300))

    def newton(self, gradient: np.ndarray) -> tuple[np.ndarray, float]:
        """The saddle-free Newton step and half the gain that it promises (the decrement, in nats)."""
        projected = self.vectors.T @ (self.scaling * gradient)
        step = self.scaling * (self.vectors @ (projected / self.floored))
        return step, 0.5 * float((projected**2 / self.floored).sum())

    def escape(self) -> np.ndarray:
        """Steps to both sides along the direction that curves upwards the most, shape (2, d)."""
        step = self.scaling * self.vectors[:, 0] / np.sqrt(self.floored[0])
        return np.stack([step, -step])


def curvature(density: Density, point: np.ndarray, scales: np.ndarray) -> Curvature:
    """The Hessian by central differences of the gradient, in the block that everything else uses.

    The differences are taken over a small part of each coordinate's own scale. Where the curvature found shows that
    `scales` were far off, they are taken once more over the right one.
    """
    part = max(density.epsilon ** (1 / 3), 1e-3)
    negative = _differences(density, point, part * scales)
    diagonal = np.abs(np.diag(negative))
    found = 1 / np.sqrt(np.where(diagonal > 0, diagonal, scales**-2))
    found = np.clip(found, 1e-6 * scales, 1e6 * scales)
    if (np.abs(np.log(found / scales)) > np.log(30)).any():
        negative = _differences(density, point, part * found)
        diagonal = np.abs(np.diag(negative))
    scaling = 1 / np.sqrt(np.where(diagonal > 0, diagonal, found**-2))
    values, vectors = np.linalg.eigh(scaling[:, None] * negative * scaling)
    return Curvature(scaling, vectors, values)


def _differences(density: Density, point: np.ndarray, widths: np.ndarray) -> np.ndarray:
    dim = len(point)
    ends = np.concatenate([point + np.diag(widths), point - np.diag(widths)])
    values, gradients = density(ends)
    rows = (gradients[dim:] - gradients[:dim]) / (2 * widths[:, None])
    finite = np.isfinite(values[:dim]) & np.isfinite(values[dim:])
    rows = np.where(finite[:, None], rows, 0.0)
    return 0.5 * (rows + rows.T)


def newton(
    density: Density,
    point: np.ndarray,
    value: float,
    gradient: np.ndarray,
    q0: Gaussian,
    arrived: float = ARRIVED,
) -> Mode:
    """At most 12 damped, saddle-free Newton steps from a point with its value and gradient, then Laplace's approximation.

    q0 gives the scale of directions without curvature. The search ends at a decrement of `arrived` nats.
    """
    scales = q0.stddev()
    for _ in range(_NEWTON_STEPS):
        shape = curvature(density, point, scales)
        scales = shape.scaling
        step, decrement = shape.newton(gradient)
        steps = _STEP_SIZES[:, None] * step
        if decrement < arrived:
            if shape.values[0] > -_SADDLE:
                break
            steps = shape.escape()
        values, gradients = density(point + steps)
        best = int(np.argmax(values))
        if not values[best] > value:
            break
        point = point + steps[best]
        value, gradient = float(values[best]), gradients[best]
    else:
        shape = curvature(density, point, scales)
        decrement = shape.newton(gradient)[1]
    return _mode(point, value, shape, decrement, q0)


def _mode(
    point: np.ndarray, value: float, shape: Curvature, decrement: float, q0: Gaussian
) -> Mode:
    curved = shape.values > _FLOOR * np.abs(shape.values).max()
    directions = shape.scaling[:, None] * shape.vectors
    deviations = np.where(curved, 1 / np.sqrt(shape.floored), 1.0)
    if not curved.all():
        # Along a direction v without curvature: q0's conditional standard deviation there, 1 / |C0⁻¹ v|.
        flat = q0.whiten(q0.mean + directions[:, ~curved].T)
        deviations[~curved] = 1 / np.linalg.norm(flat, axis=1)
    laplace = Gaussian(point, directions * deviations)
    log_mass = value + laplace.log_det() + 0.5 * len(point) * np.log(2 * np.pi)
    maximum = bool(curved.all() and decrement < 10 * ARRIVED)
    return Mode(point, value, laplace, shape.scaling, maximum, log_mass)


def explains(mode: Mode, point: np.ndarray, value: float) -> bool:
    """Whether a point lies in the basin of a known mode: its value is what the mode's parabola says there.

    Searches that were stopped on their way to a known mode need not be continued.
    """
    if not mode.maximum:
        return bool(np.linalg.norm(point - mode.point) < 1e-6 * (1 + np.linalg.norm(point)))
    squared = float((mode.laplace.whiten(point[None]) ** 2).sum())
    drop = mode.value - value
    return abs(drop - 0.5 * squared) < 0.1 + 0.3 * min(drop, 0.5 * squared)


def described(found: list[Mode]) -> list[dict[str, Any]]:
    """Modes for a report: where they are and how they weigh against the largest."""
    return [
        {
            "mean": mode.point,
            "stddev": mode.laplace.stddev(),
            "scale": mode.laplace.scale,
            "log_mass": mode.log_mass,
            "log_ratio": mode.log_mass - found[0].log_mass,
            "maximum": mode.maximum,
        }
        for mode in found
    ]

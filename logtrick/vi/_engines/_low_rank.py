"""A covariance projected to a diagonal plus a few columns."""

import numpy as np

from logtrick.vi._engines._gaussian import Gaussian

_ITERATIONS = 100


def patched(gaussian: Gaussian, rank: int) -> Gaussian:
    """The Gaussian with covariance Ψ + Λ Λᵀ nearest in KL: factor analysis of C Cᵀ by EM.

    Λ has `rank` columns; the Gaussian's scale is a (d, d) matrix before and after.

    References:
      Rubin & Thayer (1982), "EM Algorithms for ML Factor Analysis".
    """
    covariance = gaussian.covariance()
    deviations = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(deviations, deviations)
    values, vectors = np.linalg.eigh(correlation)
    kept = slice(len(values) - min(rank, len(values) - 1), None)
    noise = max(float(values[: kept.start].mean()), 1e-8)
    loadings = vectors[:, kept] * np.sqrt(np.maximum(values[kept] - noise, 1e-8))
    unique = np.maximum(1 - (loadings**2).sum(1), 1e-6)
    for _ in range(_ITERATIONS):
        weighted = loadings / unique[:, None]
        inner = np.linalg.inv(np.eye(loadings.shape[1]) + loadings.T @ weighted)
        beta = inner @ weighted.T
        projected = correlation @ beta.T
        second = inner + beta @ projected
        loadings = np.linalg.solve(second, projected.T).T
        before, unique = unique, np.maximum(1 - (loadings * projected).sum(1), 1e-6)
        if np.abs(unique / before - 1).max() < 1e-3:
            break
    new = np.diag(unique) + loadings @ loadings.T
    return Gaussian(gaussian.mean, deviations[:, None] * np.linalg.cholesky(new))

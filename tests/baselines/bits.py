"""Every tuple of draws of Bernoullis, as the uniforms that make them, and its probability."""

import numpy as np
from scipy.special import expit

from tests.programs.exact import all_runs


def bit_noise(logits, runs):
    """Noise of shape (cases, runs, D), one uniform in the middle of each cell, and the cases' probabilities."""
    p = expit(np.asarray(logits, np.float64))
    bits, weights = all_runs(*_patterns(p), runs)
    return np.where(bits == 1, p / 2, (1 + p) / 2), weights


def _patterns(p):
    bits = np.indices((2,) * p.size).reshape(p.size, -1).T.astype(float)
    return bits, np.prod(np.where(bits == 1, p, 1 - p), axis=1)

"""Tests of estimators: exact expectations, gradients and variances, and a statistical test with stated error rates."""

from logtrick.testing._check_distribution import (
    DistributionReport as DistributionReport,
    check_distribution as check_distribution,
)
from logtrick.testing._exact import (
    exact_expectation as exact_expectation,
    exact_gradient as exact_gradient,
)
from logtrick.testing._unbiased import assert_unbiased as assert_unbiased
from logtrick.testing._variance import (
    EstimatorMoments as EstimatorMoments,
    exact_estimator_variance as exact_estimator_variance,
)

"""Diagnostics of gradient estimates: statistics, and the race."""

from logtrick.diagnostics._race import (
    Comparison as Comparison,
    Racer as Racer,
    compare_estimators as compare_estimators,
)
from logtrick.diagnostics._statistics import (
    GradientStatistics as GradientStatistics,
    gradient_statistics as gradient_statistics,
)

"""Diagnostics of gradient estimates: statistics, comparisons, selection, cost before the run."""

from logtrick.diagnostics._autoselect import (
    Selection as Selection,
    autoselect as autoselect,
    variance_x_evaluations as variance_x_evaluations,
)
from logtrick.diagnostics._compare import compare_estimators as compare_estimators
from logtrick.diagnostics._comparison import Comparison as Comparison
from logtrick.diagnostics._estimate import (
    CostEstimate as CostEstimate,
    estimate_cost as estimate_cost,
)
from logtrick.diagnostics._measurement import Measurement as Measurement
from logtrick.diagnostics._statistics import (
    GradientStatistics as GradientStatistics,
    gradient_statistics as gradient_statistics,
)

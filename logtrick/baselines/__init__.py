"""Baselines and control variates for the score function."""

from logtrick.baselines._base import Baseline as Baseline, RunBaseline as RunBaseline, Site as Site
from logtrick.baselines._simple import (
    ConstantBaseline as ConstantBaseline,
    LeaveOneOut as LeaveOneOut,
    NoBaseline as NoBaseline,
)

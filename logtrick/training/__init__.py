"""The training loop: `lt.minimize`, `lt.maximize`, and what they return."""

from logtrick.training._fit import (
    FitResult as FitResult,
    History as History,
    maximize as maximize,
    minimize as minimize,
)
from logtrick.training._loop import FitState as FitState
from logtrick.training._progress import ProgressBar as ProgressBar, TqdmBar as TqdmBar
from logtrick.training._store import Store as Store, read_params as read_params

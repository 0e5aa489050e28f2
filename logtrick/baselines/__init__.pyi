"""The names of `logtrick.baselines` and where each lives, imported on first use, as those of `logtrick`."""

from logtrick.baselines._base import (
    Baseline as Baseline,
    ScalarBaseline as ScalarBaseline,
    Site as Site,
    live_leaves as live_leaves,
    with_leaves as with_leaves,
)
from logtrick.baselines._control_variate import (
    ControlVariate as ControlVariate,
    regression as regression,
)
from logtrick.baselines._learned import LearnedBaseline as LearnedBaseline
from logtrick.baselines._moving_average import MovingAverage as MovingAverage
from logtrick.baselines._optimal import OptimalBaseline as OptimalBaseline
from logtrick.baselines._simple import (
    ConstantBaseline as ConstantBaseline,
    LeaveOneOut as LeaveOneOut,
    NoBaseline as NoBaseline,
)
from logtrick.baselines._taylor import DeltaMethod as DeltaMethod, MuProp as MuProp

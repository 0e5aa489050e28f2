"""Kinds of parameter-free noise: random numbers whose law does not depend on any parameter."""

from logtrick._core.kernel import wide as wide
from logtrick.noise._injected import injected as injected, is_injected as is_injected
from logtrick.noise._noise import (
    KeyPerRun as KeyPerRun,
    Noise as Noise,
    NoNoise as NoNoise,
    StandardNormal as StandardNormal,
    Uniform as Uniform,
    example as example,
    interior as interior,
    is_noise as is_noise,
    one as one,
    rows as rows,
)
from logtrick.noise._steps import INDEPENDENT as INDEPENDENT, Steps as Steps

"""No baseline, a constant, and leave-one-out."""

from typing import Any, ClassVar

import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.samples import Runs
from logtrick.baselines._base import Array, ScalarBaseline


class NoBaseline(ScalarBaseline):
    """Plain REINFORCE: b = 0. Its variance depends on f's arbitrary constant.

    References:
      Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
    Example:
      >>> import logtrick as lt
      >>> lt.ScoreFunction(lt.NoBaseline())
      ScoreFunction(baseline=NoBaseline(), plan=IID())
    """

    affine: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Williams (1992), Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning."
    )

    def value(self, total: Array, runs: Runs) -> None:
        return None


class ConstantBaseline(ScalarBaseline):
    """A constant: Var[(f − b) s] = Var[(f − b*) s] + E[s²] (b − b*)², b* = E[f s²] / E[s²], per coordinate.

    Args:
      constant: b, shape (), in the units of f.
    Raises:
      TypeError: `constant` is no number.
    References:
      Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning".
    Example:
      >>> import logtrick as lt
      >>> lt.ConstantBaseline(2.0)
      ConstantBaseline(constant=2.0)
    """

    constant: Any = 0.0
    affine: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Williams (1992), Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning."
    )

    def __post_init__(self) -> None:
        checks.number("ConstantBaseline", "constant", self.constant)

    def value(self, total: Array, runs: Runs) -> Array:
        return jnp.asarray(self.constant)


class LeaveOneOut(ScalarBaseline):
    """The mean of the other samples: bᵢ = Σ_{j≠i} fⱼ / (n − 1). Unbiased for any n ≥ 2.

    The estimate is the sample covariance of f and the score, so a constant added to f changes
    nothing. Within a chunk, where there are chunks: unbiased, its variance grows by the factor
    1 + 1/(chunk − 1).

    References:
      Salimans & Knowles (2014), "On Using Control Variates with Stochastic Approximation for Variational Bayes"; Kool, van
      Hoof & Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!".
    Example:
      >>> import logtrick as lt
      >>> lt.ScoreFunction()
      ScoreFunction(baseline=LeaveOneOut(), plan=IID())
    """

    least_samples: ClassVar[int] = 2
    affine: ClassVar[bool] = True
    reference: ClassVar[str] = (
        "Salimans & Knowles (2014), On Using Control Variates with Stochastic Approximation for Variational Bayes; "
        "Kool, van Hoof & Welling (2019), Buy 4 REINFORCE Samples, Get a Baseline for Free!"
    )

    def value(self, total: Array, runs: Runs) -> Array:
        return runs.leave_one_out(total)

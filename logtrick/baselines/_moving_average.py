"""A running mean of past costs."""

from typing import Any, ClassVar

import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.module import assign, replace, static
from logtrick._core.samples import Runs
from logtrick.baselines._base import Array, ScalarBaseline, Site


class MovingAverage(ScalarBaseline):
    """The exponential moving average of the costs of past calls: b = m / w, as it stood before this call's draws.

    After each call m ← decay · m + (1 − decay) · mean cost and w ← decay · w + (1 − decay): b is a
    proper average from the second call on, and 0 in the first. b never contains the costs that it
    is subtracted from: mixing these in first shrinks the gradient by the factor decay. Meant for
    one draw per call; with two or more draws `LeaveOneOut` is better. The statistics advance
    through `aux.estimators`, not by an optimizer: by hand, carry `aux.estimator` to the next call;
    `lt.minimize` does so by itself. A call whose costs are not finite leaves them as they are.

    Args:
      decay: in [0, 1), dimensionless; the memory is 1 / (1 − decay) calls.
      average: m, shape (), in the units of f.
      weight: w, shape (), dimensionless.
    Raises:
      ValueError: `decay` is not in [0, 1); used without `has_aux=True`.
      TypeError: `average` or `weight` is no number.
    References:
      Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"; Mnih &
      Gregor (2014), "Neural Variational Inference and Learning in Belief Networks". Public code
      (deepmind/mc_gradients, `control_variates.py`; beam2d/sbn, `sbn/estimators/likelihood_ratio.py`)
      mixes the present costs in first; this does not.
    Example:
      >>> import jax, logtrick as lt
      >>> estimator = lt.ScoreFunction(lt.MovingAverage(decay=0.9))
      >>> for seed in range(2):
      ...     _, aux = lt.expect(jax.random.key(seed), lambda x: 5.0, lt.Normal(0.0, 1.0), estimator=estimator,
      ...                        num_samples=1, has_aux=True)
      ...     estimator = aux.estimator
      >>> round(estimator.baseline.average.item(), 2), round(estimator.baseline.weight.item(), 2)    # 5 · w, and w
      (0.95, 0.19)
    """

    decay: float = static(default=0.9)
    average: Any = None
    weight: Any = None
    adaptive: ClassVar[bool] = True
    statistics: ClassVar[tuple[str, ...]] = ("average", "weight")
    reference: ClassVar[str] = (
        "Williams (1992), Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning; "
        "Mnih & Gregor (2014), Neural Variational Inference and Learning in Belief Networks."
    )

    def __post_init__(self) -> None:
        if not isinstance(self.decay, int | float) or not 0 <= self.decay < 1:
            raise ValueError(
                f"MovingAverage(decay=…) needs a static number in [0, 1); got {self.decay}. Pass 0.9, say."
            )
        for name in self.statistics:
            value = getattr(self, name)
            start = 0.0 if value is None else value
            assign(self, **{name: checks.number("MovingAverage", name, start)})

    def value(self, total: Array, runs: Runs) -> Array:
        begun = self.weight > 0
        return jnp.where(begun, self.average / jnp.where(begun, self.weight, 1.0), 0.0)

    def observe(self, site: Site) -> Array:
        return site.total

    def advance(self, observed: Array) -> "MovingAverage":
        def moved(old: Array, new: Any) -> Array:
            mixed = self.decay * old + (1 - self.decay) * new
            return jnp.where(jnp.isfinite(observed), mixed, old).astype(old.dtype)

        return replace(self, average=moved(self.average, observed), weight=moved(self.weight, 1.0))

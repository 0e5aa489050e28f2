"""Stand-ins for estimators that learn: a moving average, and a learned constant."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick.baselines import Baseline, ScalarBaseline

stop = jax.lax.stop_gradient


class Average(ScalarBaseline):
    """The mean of all costs seen so far; an integer counts the calls."""

    mean: Any = 0.0
    count: Any = 0
    adaptive: ClassVar[bool] = True
    statistics: ClassVar[tuple[str, ...]] = ("mean", "count")

    def value(self, total: Any, runs: Any) -> Any:
        return jnp.asarray(self.mean)

    def observe(self, site: Any) -> Any:
        return site.total

    def advance(self, observed: Any) -> Baseline:
        count = self.count + 1
        return Average(self.mean + (observed - self.mean) / count, count)


class Learned(ScalarBaseline):
    """A constant that is trained by the regression of the costs on it."""

    constant: Any = 0.0
    adaptive: ClassVar[bool] = True

    def value(self, total: Any, runs: Any) -> Any:
        return jnp.asarray(self.constant)

    def adaptive_loss(self, site: Any) -> Any:
        return (self.constant - stop(site.total)) ** 2

"""The base class of estimators from log-weights, and the problem that they see."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import jax

from logtrick._core.module import Module
from logtrick.estimators import Need, require_needs
from logtrick.noise import rows
from logtrick.vi._guide import Guide
from logtrick.vi._objectives._base import Objective

Array = jax.Array
LogDensity = Callable[[Any], Any]


class WeightEstimator(Module, abstract=True):
    """An estimator that is made for objectives over log-weights, where `lt.Estimator`s know of costs only.

    Attributes:
      needs: classes of `lt.estimators`, what is needed of the guide's base.
      reference: where it comes from.
    """

    needs: ClassVar[frozenset[type[Need]]] = frozenset()
    reference: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        require_needs(cls)

    @abc.abstractmethod
    def surrogate(self, problem: "Problem", noise: Any) -> Array:
        """φ of one group of k draws, shape (), whose derivative is one estimate of the gradient of E[φ].

        Args:
          problem: the log density, the guide and the objective.
          noise: of k draws, a leading axis k.
        """


class Problem(Module):
    """A log density, a guide, an objective: what a gradient is estimated of."""

    log_density: Any
    q: Guide
    objective: Objective

    def log_weight(self, x: Any, q: Guide | None = None) -> Array:
        """log w of one draw x of the base; `q` stands in for the guide in log q."""
        density = self.q if q is None else q
        log_q = density.base.log_prob(x)
        return self.log_density(self.q.constrain(x)) + self.q.log_det(x) - log_q

    def noise(self, key: Array, groups: int, size: int) -> Any:
        """The noise of groups × size draws, with these two leading axes."""
        flat = rows(self.q.base.noise_spec, key, 0, groups * size, groups * size)
        return jax.tree.map(lambda a: a.reshape(groups, size, *a.shape[1:]), flat)

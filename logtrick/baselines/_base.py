"""What a baseline is: a term of value zero that is added to a score-function site."""

import dataclasses
from typing import Any, ClassVar

import jax

from logtrick._core.kernel import stop
from logtrick._core.module import Module
from logtrick._core.runs import Runs
from logtrick.distributions import Distribution

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Site:
    """What a baseline may look at: one run of one score-function site, its costs known.

    Attributes:
      x: the draw, held constant.
      dist: its distribution.
      box: the magic box of log p(x); its derivative is the score.
      total: the costs credited to the site, summed and held constant, shape ().
      runs: the axis of runs.
    """

    x: Any
    dist: Distribution
    box: Array
    total: Array
    runs: Runs


class Baseline(Module, abstract=True):
    """A control variate for the score function, as a term of value 0 and expected derivative 0.

    Attributes:
      least_runs: the least number of runs that it works with.
      adaptive: it learns: it has an adaptive loss, or statistics that advance.
      statistics: names of the fields that are running statistics: they move by `advance`, never by an optimizer.
    """

    least_runs: ClassVar[int] = 1
    adaptive: ClassVar[bool] = False
    statistics: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[str] = ""

    def term(self, site: Site) -> Array | None:
        """The term; None stands for zero."""
        raise NotImplementedError

    def adaptive_loss(self, site: Site) -> Array | None:
        """What the baseline's own parameters minimise; its gradient reaches only them."""
        return None

    def observe(self, site: Site) -> Any:
        """What is averaged over points and runs for `advance`."""
        return None

    def advance(self, observed: Any) -> "Baseline":
        """The baseline for the next call, its running statistics moved by `observed`."""
        return self


class RunBaseline(Baseline, abstract=True):
    """A baseline that is one number a run: the term b (1 − box)."""

    def value(self, total: Array, runs: Runs) -> Array | None:
        """b, independent of this run's draw, from the runs' totals; None stands for zero."""
        raise NotImplementedError

    def term(self, site: Site) -> Array | None:
        b = self.value(site.total, site.runs)
        return None if b is None else stop(b).astype(site.total.dtype) * (1 - site.box)

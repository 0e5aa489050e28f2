"""What a baseline is: a term of value zero that is added to a score-function site."""

import abc
import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import is_float_array, stop, wide
from logtrick._core.mesh import local
from logtrick._core.module import Module
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Site:
    """What a baseline may look at: one sample of one score-function site, with its costs.

    Attributes:
      x: the draw, held constant.
      dist: its distribution.
      box: the magic box of log p(x); its derivative is the score.
      total: the costs credited to the site, summed and held constant, shape ().
      runs: the samples of the expectation.
      seen: what the baseline's `look` returned when the draw was made.
      expansion: for baselines with an `expansion_order`: the costs at the distribution's mean,
        their gradient there, and their Hessian for the second order, all held constant.
    """

    x: Any
    dist: Distribution
    box: Array
    total: Array
    runs: Runs
    seen: Any = None
    expansion: tuple[Any, ...] = ()

    def score(self) -> list[Array]:
        """The score in the distribution's own leaves (`leaves`), held constant, in at least float32."""
        leaves = [leaf.astype(wide(leaf.dtype)) for leaf in stop(self.leaves)]
        log_prob = lambda leaves: with_leaves(self.dist, leaves).held_support().log_prob(self.x)
        return stop(jax.grad(log_prob)(*local(log_prob, leaves)))

    @property
    def leaves(self) -> list[Array]:
        """The distribution's leaves that can carry a derivative."""
        return live_leaves(self.dist)


def live_leaves(dist: Distribution) -> list[Array]:
    """The leaves of `dist` that can carry a derivative.

    Args:
      dist: a distribution.
    Returns:
      The floating-point leaves, in the order of `jax.tree.leaves`.
    Example:
      >>> import logtrick as lt
      >>> [leaf.item() for leaf in lt.baselines.live_leaves(lt.Normal(1.0, 2.0))]
      [1.0, 2.0]
    """
    return [jnp.asarray(leaf) for leaf in jax.tree.leaves(dist) if is_float_array(leaf)]


def with_leaves(dist: Distribution, values: list[Array]) -> Distribution:
    """`dist` with other `live_leaves`.

    Args:
      dist: a distribution.
      values: what takes the places of its `live_leaves`, in their order.
    Returns:
      The changed distribution.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.baselines.with_leaves(lt.Normal(1.0, 2.0), [jnp.array(0.0), jnp.array(3.0)]).scale.item()
      3.0
    """
    leaves, tree = jax.tree.flatten(dist)
    new = iter(values)
    return tree.unflatten([next(new) if is_float_array(leaf) else leaf for leaf in leaves])


class Baseline(Module, abstract=True):
    """A control variate for the score function, as a term of value 0 and expected derivative 0.

    Attributes:
      least_samples: the least number of independent samples (under a plan: blocks of samples) that
        it works with.
      adaptive: whether the baseline learns: it has an adaptive loss, or statistics that advance.
      max_order: 1, or `math.inf` where the expectation of no derivative changes.
      mixed_orders: as of `lt.Estimator`, at `max_order = 1`.
      expansion_order: the order of f's Taylor expansion around the mean that it looks at, which
        costs one further evaluation of f and its derivatives; 0 for none.
      statistics: names of the fields that are running statistics: they move by `advance`, never by
        an optimizer.

    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> class Halfway(lt.Baseline):                          # half of the others' mean, in a user's own file
      ...     least_samples = 2
      ...     def term(self, site):
      ...         return 0.5 * site.runs.leave_one_out(site.total) * (1 - site.box)
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), num_samples=100_000,
      ...                              estimator=lt.ScoreFunction(Halfway()))
      >>> round(jax.grad(value)(1.0).item(), 1)                # exact: 2
      2.0
    """

    least_samples: ClassVar[int] = 1
    adaptive: ClassVar[bool] = False
    max_order: ClassVar[float] = math.inf
    mixed_orders: ClassVar[bool] = False
    statistics: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[str] = ""

    @property
    def expansion_order(self) -> int:
        """The order of the Taylor expansion of f around the mean that it looks at; 0 for none."""
        return 0

    def check(self, dist: Distribution) -> None:
        """Raise where this baseline is illegal for `dist`, at trace time, by declared capabilities."""

    def look(self, x: Any, dist: Distribution) -> Any:
        """Compute, when the draw is made, what the baseline needs later: `site.seen`, a pytree of arrays.

        Inside a loop over time the costs are known only after the loop, so everything else that
        depends on the step is computed here.
        """
        return None

    @abc.abstractmethod
    def term(self, site: Site) -> Array | None:
        """The term; None stands for zero."""

    def adaptive_loss(self, site: Site) -> Array | None:
        """What the baseline's own parameters minimize; its gradient reaches only them."""
        return None

    def observe(self, site: Site) -> Any:
        """Numbers whose mean over points and samples is passed to `advance`."""
        return None

    def advance(self, observed: Any) -> "Baseline":
        """The baseline for the next call, its running statistics moved by `observed`."""
        return self


class ScalarBaseline(Baseline, abstract=True):
    """A baseline that is one number per sample: the term b (1 − box).

    Attributes:
      affine: b is affine in the samples' totals, so that `lt.eligibility_trace` can subtract b from
        one cost after another.
    """

    affine: ClassVar[bool] = False

    @abc.abstractmethod
    def value(self, total: Array, runs: Runs) -> Array | None:
        """b, independent of this sample's draw, from the samples' totals; None stands for zero."""

    def term(self, site: Site) -> Array | None:
        b = self.value(site.total, site.runs)
        if b is None:
            return None
        if jnp.shape(b):
            raise ValueError(
                f"{type(self).__name__}: the baseline of one sample must be a scalar; got shape {jnp.shape(b)}. Batching is "
                "jax.vmap's."
            )
        return stop(b).astype(site.total.dtype) * (1 - site.box)

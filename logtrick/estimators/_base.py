"""The protocol of estimators: one call, (noise, dist, rest, runs) -> Costs."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

from logtrick._core.module import Module
from logtrick._core.runs import Runs
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._costs import Array, Costs
from logtrick.plans import Plan

Rest = Callable[[Any], Costs]


class Estimator(Module, abstract=True):
    """An estimator takes noise, a distribution and the rest of the program, and returns a number whose value estimates
    the expectation and whose derivative estimates the derivative of the expectation.

    `costs = estimator(noise, dist, rest, runs)`. `rest: x -> Costs` is the suspended program: it is called exactly once,
    under ONE `jax.vmap` where several points are needed. Return `costs.combine(weights, zero)`.

    Attributes:
      unbiased: the derivative's expectation is the derivative of the expectation.
      max_order: the highest derivative that is right; `math.inf` for all.
      evaluations: of f per draw; None where it depends on the distribution (`count_evaluations`).
      needs: what is needed of the distribution and of f: "discrete", "finite", "reparameterized", "Bernoulli",
        "Bernoulli or one-hot" (declared by `dist.link`), "differentiable f".
      deterministic: it draws nothing.
      one_point: it evaluates the rest at one draw and comes in two halves (`OnePointEstimator`).
      block: how many consecutive runs depend on each other through its draws (a sampling plan's); None for all.
      statistics: names of the fields that are running statistics: they move by `advance`, never by an optimizer.
      reference: where it comes from.

    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> class Surrogate(lt.Estimator):                       # plain REINFORCE, in a user's own file
      ...     max_order = 1
      ...     evaluations = 1
      ...     def __call__(self, noise, dist, rest, runs):
      ...         x = dist.draw(noise)
      ...         costs, log_prob = rest(x), dist.log_prob(x)
      ...         held = jax.lax.stop_gradient(costs.total)
      ...         return costs.combine(zero=held * (log_prob - jax.lax.stop_gradient(log_prob)))
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), estimator=Surrogate(),
      ...                              num_samples=100_000)
      >>> round(jax.grad(value)(1.0).item(), 1)                # exact: 2
      2.0
    """

    unbiased: ClassVar[bool] = True
    max_order: ClassVar[float] = math.inf
    needs: ClassVar[frozenset[str]] = frozenset()
    deterministic: ClassVar[bool] = False
    one_point: ClassVar[bool] = False
    statistics: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[str] = ""

    @property
    def evaluations(self) -> int | None:
        """Evaluations of f per draw; None where it depends on the distribution."""
        return 1

    @property
    def block(self) -> int | None:
        """How many consecutive runs depend on each other through its draws; None for all of them."""
        return 1

    def count_evaluations(self, dist: Distribution) -> int:
        """Evaluations of f per draw of `dist`."""
        count = self.evaluations
        assert count is not None, f"{type(self).__name__} must define count_evaluations"
        return count

    @property
    def adaptive(self) -> bool:
        """Whether parts of it learn, which takes `has_aux=True`."""
        return False

    def check(self, dist: Distribution, num_runs: int) -> None:
        """Raise where this estimator is illegal for `dist`, at trace time, by declared capabilities."""
        check_needs(self, dist)

    def noise_spec(self, dist: Distribution) -> Any:
        """The parameter-free noise of one run: a tree of `Noise`."""
        return dist.noise_spec

    def example(self, noise: Any, dist: Distribution) -> Any:
        """A draw to trace shapes with."""
        return value_of(dist.draw(noise))

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        raise NotImplementedError

    def advance(self, statistics: Any) -> "Estimator":
        """The estimator for the next call."""
        return self


@dataclasses.dataclass(frozen=True)
class Point:
    """One evaluated point of a one-point estimator: the draw, and its log-prob where the draw is scored."""

    x: Any
    dist: Distribution
    log_prob: Array | None


class OnePointEstimator(Estimator, abstract=True):
    """An estimator that evaluates the rest at one draw, in two halves: legal inside a loop over time.

    Inside `lt.scan` the costs are weighted by the box of the point's `log_prob` (1 where that is None), and of what `close`
    returns only the term of value zero and the aux count: `close` must not weight the costs in another way.
    """

    one_point: ClassVar[bool] = True

    def draw(self, noise: Any, dist: Distribution) -> Point:
        """The first half: the draw."""
        raise NotImplementedError

    def close(self, costs: Costs, point: Point, runs: Runs) -> Costs:
        """The second half: the costs are known."""
        raise NotImplementedError

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        point = self.draw(noise, dist)
        return self.close(rest(point.x), point, runs)


def check_needs(estimator: Estimator, dist: Distribution) -> None:
    """Compare what the estimator needs with what the distribution declares."""
    name, family = type(estimator).__name__, type(dist).__name__.lstrip("_")
    support = dist.support
    offers = {
        "discrete": support.discrete,
        "finite": support.finite,
        "reparameterized": dist.reparameterized,
        "Bernoulli": dist.link is not None and dist.link.binary,
        "Bernoulli or one-hot": dist.link is not None,
    }
    for need in sorted(estimator.needs & offers.keys()):
        if not offers[need]:
            raise ValueError(
                f"{name}() needs a {need} distribution; {family} is not. Use {alternative(dist)}."
            )


def check_plan(estimator: Estimator, plan: Any) -> None:
    """`plan` is a sampling plan."""
    if not isinstance(plan, Plan):
        raise TypeError(
            f"{type(estimator).__name__}(plan=…) needs a sampling plan; got {plan!r}. Pass lt.IID()."
        )


def alternative(dist: Distribution) -> str:
    """What is legal for every cost."""
    if dist.moving_support and dist.reparameterized:
        return "Pathwise()"
    if dist.support.finite:
        return "ScoreFunction() or Enumerate()"
    return "ScoreFunction() or Pathwise()" if dist.reparameterized else "ScoreFunction()"

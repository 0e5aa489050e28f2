"""The protocol of estimators: where to look, and what to make of the costs found there."""

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax

from logtrick import noise as _noise
from logtrick._core.module import Module
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._costs import Costs
from logtrick.estimators._evaluate import close_limited, draw, evaluate
from logtrick.estimators._needs import Need, check_needs, require_needs
from logtrick.estimators._points import Points
from logtrick.plans import Plan

Rest = Callable[[Any], Costs]


class Estimator(Module, abstract=True):
    """An estimator says where to look and what to make of the costs found there.

    `points = draw(noise, dist)` are the points at which the rest of the program is evaluated;
    `close(costs, points, runs)` makes of the costs there a number whose value estimates the
    expectation and whose derivative estimates the derivative of the expectation. The engine does
    what lies between: it evaluates the rest at all points in one vmapped call, counts evaluations,
    differentiates the rest for those that declare it, and refuses derivatives beyond `max_order`.

    Attributes:
      unbiased: the derivative's expectation is the derivative of the expectation.
      max_order: 1, or `math.inf` where every derivative is right. The engine raises beyond it.
      mixed_orders: for `max_order = 1`: a second derivative in a parameter of this site and in
        another one is right, or the estimator itself refuses it (by `Costs.first_order` with a
        coefficient that is not held constant). Where this is False the engine refuses it.
      evaluations: the number of evaluations of f per sample, where it is the same for every
        distribution; None where the engine counts them.
      sums_out: the points are the whole support, with their probabilities in `points.kept`, so that
        the engine may sum over the draw: in loops by a forward recursion, and with evaluations
        counted by which draws a cost depends on.
      needs: what is needed of the distribution and of f, subclasses of `lt.estimators.Need`.
      derivatives_of_rest: the highest derivative of the rest that `close` uses, as
        `costs.derivatives`; 0 for none.
      statistics: names of the fields that are running statistics: they change by `advance`, never
        by an optimizer.
      reference: the works to cite.

    Example:
      >>> import jax, logtrick as lt
      >>> stop = jax.lax.stop_gradient
      >>> class Surrogate(lt.Estimator):                       # plain REINFORCE, in a user's own file
      ...     max_order = 1
      ...     def draw(self, noise, dist):
      ...         return lt.Points(dist.draw(noise), dist)
      ...     def close(self, costs, points, runs):
      ...         log_prob = points.dist.log_prob(points.x)
      ...         return costs.plus(stop(costs.total) * (log_prob - stop(log_prob)))
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), estimator=Surrogate(),
      ...                              num_samples=100_000)
      >>> round(jax.grad(value)(1.0).item(), 1)                # exact: 2
      2.0
    """

    unbiased: ClassVar[bool] = True
    max_order: ClassVar[float] = math.inf
    mixed_orders: ClassVar[bool] = False
    evaluations: ClassVar[int | None] = None
    sums_out: ClassVar[bool] = False
    needs: ClassVar[frozenset[type[Need]]] = frozenset()
    derivatives_of_rest: ClassVar[int] = 0
    statistics: ClassVar[tuple[str, ...]] = ()
    reference: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        require_needs(cls)
        order = cls.__dict__.get("max_order", 1)
        if not isinstance(order, property) and order not in (1, math.inf):
            raise TypeError(f"{cls.__name__}.max_order must be 1 or math.inf; got {order!r}.")

    @property
    def adaptive(self) -> bool:
        """Whether parts of the estimator learn, which needs `has_aux=True`."""
        return False

    def check(self, dist: Distribution, num_samples: int) -> None:
        """Raise at trace time where this estimator is illegal for `dist`, by declared capabilities."""
        check_needs(self, dist)

    def noise(self, dist: Distribution) -> Any:
        """The parameter-free noise of one sample, a pytree of `lt.noise.Noise`: the distribution's own, unless overridden."""
        return dist.noise_spec

    @abc.abstractmethod
    def draw(self, noise: Any, dist: Distribution) -> Points:
        """Choose the points at which the rest of the program is evaluated, from the numbers that `noise(dist)` declared."""

    @abc.abstractmethod
    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        """Turn the costs at the points into the estimate, by the methods of `Costs`."""

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        """The estimate: draw, evaluate the rest at the points, close. It is not to be overridden."""
        points = draw(self, noise, dist)
        costs = evaluate(self, points, rest)
        return close_limited(self, costs, points, runs)

    def count_evaluations(self, dist: Distribution) -> int:
        """Evaluations of f per sample of `dist`, counted without drawing anything."""
        if self.evaluations is not None:
            return self.evaluations
        numbers = _noise.example(self.noise(dist))
        points = jax.eval_shape(lambda: self.draw(numbers, dist))
        return points.count + len(points.centers)

    def advance(self, statistics: Any) -> "Estimator":
        """The estimator for the next call, its running statistics moved by what `close` observed."""
        return self


def check_plan(estimator: Estimator, plan: Any) -> None:
    """Check that `plan` is a sampling plan."""
    if not isinstance(plan, Plan):
        raise TypeError(
            f"{type(estimator).__name__}(plan=…) needs a sampling plan; got {plan!r}. Pass lt.IID()."
        )

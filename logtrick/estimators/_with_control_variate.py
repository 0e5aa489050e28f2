"""Any estimator, with a function of the draw whose expectation is known as its control variate."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick import noise as _noise
from logtrick._core import checks
from logtrick._core.kernel import detached, stop
from logtrick._core.module import replace, static
from logtrick._core.samples import Runs
from logtrick.baselines import regression
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._needs import DifferentiableCost, Need
from logtrick.estimators._points import Points

_OWN = (0,)  # the group of the control variate, which no other site is credited with
_LEAST = 3


class WithControlVariate(Estimator):
    """An estimator of ∇E[f − a (h − E h)], h a function of the draw whose expectation is known, a fitted.

    With ĝ(·) what the estimator makes of a cost: ĝ(f) − a (ĝ(h) − ∇E h), of mean ∇E f for every a
    that does not depend on the sample. For each sample, a is the regression of f on h over the
    *other* samples, so that the gradient is unbiased for any number of samples; its variance is 0
    where f is linear in h. For `Pathwise`, `MeasureValued` and all estimators that neither learn
    nor differentiate f by themselves; the score function has `lt.ControlVariate` as its baseline.

    Cost: no evaluation of f; one of h at each point and one of `expected_h` per sample.

    Args:
      estimator: the estimator.
      h: `h(x) -> scalar`; only its dependence on x counts. A Taylor expansion of f, say. With an estimator that
        differentiates f, such as `Pathwise`, h must be differentiable too: a step in it makes the gradient biased.
      expected_h: `expected_h(dist) -> scalar`, E h(x) in closed form, differentiable in dist as
        often as is asked.
    Raises:
      TypeError: no estimator, no functions.
      ValueError: an estimator that learns or differentiates f by itself; fewer than three
        independent samples; h or expected_h gives no scalar; an h of whole numbers where it is
        differentiated.
    References:
      Paisley, Blei & Jordan (2012), "Variational Bayesian Inference with Stochastic Search"; Mohamed, Rosca, Figurnov
      & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning", section 7.4; Miller, Foti, D'Amour & Adams
      (2017), "Reducing Reparameterization Gradient Variance".
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> square = lambda x: x**2
      >>> controlled = lt.WithControlVariate(lt.Pathwise(), square, lambda dist: dist.loc**2 + dist.scale**2)
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: 3.0 * x**2 + 1.0, lt.Normal(mu, 1.0), num_samples=3,
      ...                              estimator=controlled)
      >>> round(jax.grad(value)(0.5).item(), 4)                # exact
      3.0
    """

    estimator: Any
    h: Callable[[Any], Any] = static()
    expected_h: Callable[[Any], Any] = static()
    reference: ClassVar[str] = (
        "Paisley, Blei & Jordan (2012), Variational Bayesian Inference with Stochastic Search; "
        "Miller, Foti, D'Amour & Adams (2017), Reducing Reparameterization Gradient Variance."
    )

    def __post_init__(self) -> None:
        inner, name = self.estimator, type(self.estimator).__name__
        if not isinstance(inner, Estimator):
            raise TypeError(
                f"WithControlVariate(estimator=…) needs an estimator; got {inner!r}. Pass lt.Pathwise()."
            )
        for argument in ("h", "expected_h"):
            if not callable(getattr(self, argument)):
                raise TypeError(
                    f"WithControlVariate({argument}=…) needs a function; got {getattr(self, argument)!r}. Pass one of "
                    "the draw, and one of the distribution."
                )
        if inner.adaptive or inner.derivatives_of_rest:
            raise ValueError(
                "WithControlVariate(estimator=…) needs one that neither learns nor differentiates f by itself; got "
                f"{name}. Pass lt.Pathwise() or lt.MeasureValued()."
            )

    @property
    def unbiased(self) -> bool:  # type: ignore[override]  # the estimator's
        return bool(self.estimator.unbiased)

    @property
    def max_order(self) -> float:  # type: ignore[override]  # the estimator's
        return float(self.estimator.max_order)

    @property
    def mixed_orders(self) -> bool:  # type: ignore[override]  # the estimator's
        return bool(self.estimator.mixed_orders)

    @property
    def evaluations(self) -> int | None:  # type: ignore[override]  # the estimator's
        """Evaluations of f per sample: those of the estimator."""
        evaluations: int | None = self.estimator.evaluations
        return evaluations

    @property
    def needs(self) -> frozenset[type[Need]]:  # type: ignore[override]  # the estimator's
        needs: frozenset[type[Need]] = self.estimator.needs
        return needs

    def check(self, dist: Distribution, num_samples: int) -> None:
        self.estimator.check(dist, num_samples)
        block = self._block(dist)
        if block is None or num_samples < _LEAST * block:
            raise ValueError(
                f"WithControlVariate needs at least {_LEAST} samples (in every chunk) that are independent of each other "
                f"(blocks of them, under a plan), to fit its coefficient for each from the others; got {num_samples}. "
                "Use more, or the plan IID()."
            )

    def _block(self, dist: Distribution) -> int | None:
        """How many consecutive samples depend on each other; None for all of them."""
        specs = jax.tree.leaves(self.noise(dist), is_leaf=_noise.is_noise)
        blocks = [spec.block for spec in specs]
        return None if None in blocks else max([1, *blocks])

    def noise(self, dist: Distribution) -> Any:
        return self.estimator.noise(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        inner = self.estimator.draw(noise, dist)
        x = value_of(inner.x)
        first = jax.tree.map(lambda a: a[0], x) if inner.stacked else x
        converted, outside = jax.closure_convert(self.h, first)

        def of_one(x: Any) -> Any:
            value = converted(x, *detached(outside))
            self._check_differentiable(value)
            return checks.scalar_cost("WithControlVariate: h", value)

        h = jax.vmap(of_one)(x) if inner.stacked else of_one(x)
        converted_mean, around = jax.closure_convert(self.expected_h, dist)
        mean = converted_mean(dist, *detached(around))
        mean = checks.scalar_cost("WithControlVariate: expected_h", mean)
        return Points(inner.x, dist, inner.stacked, (inner, h, mean), inner.centers)

    def _check_differentiable(self, value: Any) -> None:
        """Refuse an h of whole numbers where the estimator differentiates h: ĝ(h) would be 0, and ∇E h is not."""
        whole = not jnp.issubdtype(jnp.result_type(value), jnp.inexact)
        if whole and DifferentiableCost in self.estimator.needs:
            raise ValueError(
                f"WithControlVariate(h=…) needs an h that is differentiable in x, since {type(self.estimator).__name__} "
                f"differentiates it; got {jnp.result_type(value)}. Use a smooth h, or lt.ScoreFunction()."
            )

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        inner, h, mean = points.kept
        closed = self.estimator.close(costs, inner, runs)
        own = Costs({_OWN: h}, name=costs.name)
        of_h = self.estimator.close(own, inner, runs).total_and_zero
        block = self._block(points.dist) or 1
        others = runs if block == 1 else replace(runs, block=block)
        a = regression(stop(closed.total), stop(of_h - mean), others)
        away = (a * (of_h - mean)).astype(jnp.result_type(of_h))
        return closed.plus(stop(away) - away)

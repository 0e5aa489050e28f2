"""The score function (REINFORCE, likelihood ratio)."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import is_array, magic_box, stop
from logtrick._core.module import replace
from logtrick._core.runs import Runs
from logtrick.baselines import Baseline, LeaveOneOut, Site
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._base import OnePointEstimator, Point, Rest, check_needs, check_plan
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._linearized import (
    check_local,
    hoisted,
    second_derivative_of_the_rest,
    sum_of,
)
from logtrick.plans import IID, Plan


def nan_unless_finite(log_prob: Array, dist: Distribution) -> Array:
    """log p for a box, whose derivative is nan where log p of the estimator's own draw is not finite.

    The factor reaches what the log-prob depends on; the sum over the distribution's parameters reaches these also where
    the log-prob masks its own derivative, as `where(x > 0, …, −inf)` does. Where a parameter is nan, which a row without a
    possible outcome is when traced, only the derivative in that entry is nan. The box's value stays 1.
    """
    leaves = [
        leaf
        for leaf in jax.tree.leaves(dist)
        if is_array(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    illegal = sum((jnp.any(jnp.isnan(leaf)) for leaf in leaves), jnp.zeros((), bool))
    finite = stop(jnp.isfinite(log_prob) | illegal)
    one, nothing = (
        jnp.where(finite, jnp.asarray(value, log_prob.dtype), jnp.nan) for value in (1, 0)
    )
    # of value zero; by a mask and not 0 · leaf, which an infinite logit would make nan
    marks = [stop(jnp.where(jnp.isnan(leaf), jnp.nan, nothing)) for leaf in leaves]
    reached = [jnp.sum(leaf * mark, dtype=log_prob.dtype) for leaf, mark in zip(leaves, marks)]
    return one * log_prob + sum(reached, jnp.zeros((), log_prob.dtype))


class ScoreFunction(OnePointEstimator):
    """Score-function estimator with a baseline (REINFORCE).

    ∇_θ E_{x∼p_θ}[f(x, θ)] ≈ (1/n) Σᵢ (f(xᵢ, θ) − bᵢ) ∇_θ log p_θ(xᵢ) + ∇_θ f(xᵢ, θ), unbiased where bᵢ is independent
    of xᵢ; as c · box(log p) + b · (1 − box(log p)) it is right at every order. Cost: n evaluations of f and one
    vector-Jacobian product; f may be discontinuous, and a black box.

    Args:
      baseline: the control variate, `LeaveOneOut()` unless said otherwise.
      plan: how the runs' draws depend on each other, `IID()` unless said otherwise.
    Raises:
      ValueError: leave-one-out with one draw; the derivative in a parameter that moves the support.
    References:
      Williams (1992); Glynn (1990), "Likelihood Ratio Gradient Estimation for Stochastic Systems"; Foerster et al.
      (2018), "DiCE: The Infinitely Differentiable Monte-Carlo Estimator": box and baseline checked against the authors'
      code, alshedivat/lola, `lola_dice/rpg.py`.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.ScoreFunction(), num_samples=1000)
      >>> round(jax.grad(value)(0.0).item(), 3)                # exact: p(1 − p)(1 − 2·0.45)
      0.025
    """

    baseline: Baseline = LeaveOneOut()
    plan: Plan = IID()
    reference: ClassVar[str] = (
        "Williams (1992), Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning."
    )

    def __post_init__(self) -> None:
        if not isinstance(self.baseline, Baseline):
            raise TypeError(
                f"ScoreFunction(baseline=…) needs a baseline; got {self.baseline!r}. Pass lt.LeaveOneOut()."
            )
        check_plan(self, self.plan)

    @property
    def adaptive(self) -> bool:
        return self.baseline.adaptive

    @property
    def one_point(self) -> bool:  # type: ignore[override]  # with an expansion around the mean it is two
        return not self.baseline.expands

    @property
    def block(self) -> int | None:
        return self.plan.block

    @property
    def evaluations(self) -> int:
        return 2 if self.baseline.expands else 1

    @property
    def max_order(self) -> float:  # type: ignore[override]  # the baseline's
        return self.baseline.max_order

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]  # the baseline's
        return frozenset({"differentiable f"}) if self.baseline.expands else frozenset()

    def check(self, dist: Distribution, num_runs: int) -> None:
        check_needs(self, dist)
        self.baseline.check(dist)
        self.plan.check(dist)
        least, name, block = self.baseline.least_runs, type(self.baseline).__name__, self.plan.block
        what = "leave-one-out" if name == "LeaveOneOut" else f"ScoreFunction({name}())"
        if least > 1 and block is None:
            raise ValueError(
                f"{what} needs runs that are independent of each other; under {self.plan} all of them depend on each "
                "other. Use NoBaseline(), MovingAverage() or DeltaMethod(), or the plan IID() or Antithetic()."
            )
        least *= block or 1
        if num_runs < least:
            raise ValueError(
                f"{what} needs num_samples >= {least} (in every chunk); got {num_runs}. "
                "Use more draws, or NoBaseline()."
            )

    def noise_spec(self, dist: Distribution) -> Any:
        return self.plan.noise_spec(dist)

    def example(self, noise: Any, dist: Distribution) -> Any:
        return value_of(self.plan.draw(dist, noise))

    def draw(self, noise: Any, dist: Distribution) -> Point:
        x = self.plan.draw(dist, noise)
        log_prob = checks.scalar_log_prob(
            type(dist).__name__.lstrip("_"), dist.fixed_support().log_prob(x)
        )
        return Point(value_of(x), dist, nan_unless_finite(log_prob, dist))

    def __call__(self, noise: Any, dist: Distribution, rest: Rest, runs: Runs) -> Costs:
        point = self.draw(noise, dist)
        if not self.baseline.expands:
            return self.close(rest(point.x), point, runs)
        costs, expansion = _expanded(rest, point.x, stop(dist.mean()), self.baseline.expands)
        return self._closed(costs, point, runs, expansion)

    def close(self, costs: Costs, point: Point, runs: Runs) -> Costs:
        return self._closed(costs, point, runs, ())

    def _closed(self, costs: Costs, point: Point, runs: Runs, expansion: tuple[Any, ...]) -> Costs:
        assert point.log_prob is not None
        box = magic_box(point.log_prob)
        site = Site(point.x, point.dist, box, stop(costs.total), self._others(runs), expansion)
        learns = self.adaptive
        zero, illegal = self.baseline.term(site), point.dist.nan_unless_legal()
        if illegal is not None:
            zero = illegal if zero is None else zero + illegal
        return costs.combine(
            box,
            zero,
            adaptive=self.baseline.adaptive_loss(site) if learns else None,
            statistics=self.baseline.observe(site) if learns else None,
        )

    def _others(self, runs: Runs) -> Runs:
        return runs if self.plan.block in (1, None) else replace(runs, block=self.plan.block)

    def advance(self, statistics: Any) -> "ScoreFunction":
        return replace(self, baseline=self.baseline.advance(statistics))


def _expanded(rest: Rest, x: Any, mean: Array, order: int) -> tuple[Costs, tuple[Array, ...]]:
    """The costs at x; and at the mean the total cost and its derivatives up to `order`, held constant.

    The expansion sees everything held constant, so that a derivative of the result is none of a derivative in it.
    """
    x, mean = jnp.stack([x, mean])
    converted, outside = hoisted(rest, x)
    costs, held = converted([x], *outside), stop(tuple(outside))
    check_local("ScoreFunction", converted, [mean], outside)
    at_mean = jax.value_and_grad(lambda m: sum_of(converted([m], *held)))
    twice = dataclasses.replace(costs, evaluations=2 * costs.evaluations)
    if order == 1:
        return twice, stop(at_mean(mean))

    def slope_at_mean(mean: Array) -> tuple[Array, tuple[Array, Array]]:
        total, slope = at_mean(mean)
        return slope, (total, slope)

    with second_derivative_of_the_rest(
        "ScoreFunction(DeltaMethod(order=2))", "Use DeltaMethod(order=1) or LeaveOneOut()."
    ):
        hessian, first = jax.jacfwd(slope_at_mean, has_aux=True)(mean)
    return twice, stop((*first, hessian))

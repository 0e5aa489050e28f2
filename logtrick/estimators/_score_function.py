"""The score function (REINFORCE, likelihood ratio)."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import described
from logtrick._core.kernel import as_array, is_array, magic_box, stop, zero_of
from logtrick._core.module import replace
from logtrick._core.samples import Runs
from logtrick.baselines import Baseline, LeaveOneOut, Site
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._base import Estimator, check_plan
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._needs import DifferentiableCost, Need, check_needs
from logtrick.estimators._points import Points
from logtrick.plans import IID, Plan


def nan_unless_finite(log_prob: Array, dist: Any) -> Array:
    """The log-prob of an estimator's own draw, for a box: its derivative is nan where it is not finite.

    The log-prob is multiplied by 1 or nan, which makes the derivative nan in everything that it depends on. The parameters
    of the distribution are added without their values, with a factor of 0 or nan, so that their derivatives are nan also
    where the log-prob masks its own derivative, as `where(x > 0, …, −inf)` does. Where a parameter itself is nan (a traced
    row without a possible outcome), only the derivative in that entry is nan. The box's value stays 1.

    Args:
      log_prob: log p of the estimator's own draw, shape ().
      dist: the distribution of the draw, or the arrays that are its parameters.
    Returns:
      log p, or nan where it is not finite.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> dist = lt.Exponential(2.0)
      >>> [round(lt.estimators.nan_unless_finite(dist.log_prob(x), dist).item(), 4) for x in (0.0, -1.0)]
      [0.6931, nan]
    """
    leaves = [
        as_array(leaf)  # Python floats may be the parameters of a user's family
        for leaf in jax.tree.leaves(dist)
        if is_array(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    illegal = sum((jnp.any(jnp.isnan(leaf)) for leaf in leaves), jnp.zeros((), bool))
    # A family of this package is illegal where a parameter is nan, and its draws there are anything. A user's may hold
    # missing data: that accounts for a log-prob of nan, not for an infinite one.
    if not isinstance(dist, Distribution) or dist.may_hide_parameters:
        illegal = illegal & jnp.isnan(log_prob)
    finite = stop(jnp.isfinite(log_prob) | illegal)
    one = jnp.where(finite, jnp.ones((), log_prob.dtype), jnp.nan)
    nothing = jnp.where(finite, jnp.zeros((), log_prob.dtype), jnp.nan)
    marked = one * log_prob
    for leaf in leaves:
        marked = marked + nothing * zero_of(leaf).astype(log_prob.dtype)
    return marked


def _meant(given: Any) -> str:
    """Advice to a user who passed something that is no baseline."""
    if isinstance(given, type) and issubclass(given, Baseline):
        return f"Write {given.__name__}()"
    if isinstance(given, Plan):
        return f"Pass plan={given!r}"
    if isinstance(given, int | float):
        return f"Pass lt.ConstantBaseline({given!r})"
    return "Pass lt.LeaveOneOut()"


class ScoreFunction(Estimator):
    """Score-function estimator with a baseline (REINFORCE).

    ∇_θ E_{x∼p_θ}[f(x, θ)] ≈ (1/n) Σᵢ (f(xᵢ, θ) − bᵢ) ∇_θ log p_θ(xᵢ) + ∇_θ f(xᵢ, θ), unbiased where
    bᵢ is independent of xᵢ; as c · box(log p) + b · (1 − box(log p)) it is right at every order.
    Cost: n evaluations of f and one vector-Jacobian product; f may be discontinuous, and a black
    box.

    The derivative in a probability (`probs=`) of exactly 0 is that of an outcome which no draw
    shows: it is missing here, as in every estimator that draws. `Enumerate` and `MeasureValued`
    evaluate f at that outcome.

    Args:
      baseline: the control variate.
      plan: how the samples' draws depend on each other.
    Raises:
      ValueError: leave-one-out with one draw; the derivative in a parameter that moves the support.
    References:
      Williams (1992), "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning"; Glynn
      (1990), "Likelihood Ratio Gradient Estimation for Stochastic Systems"; Foerster et al. (2018), "DiCE: The Infinitely
      Differentiable Monte-Carlo Estimator": box and baseline checked against the authors' code, alshedivat/lola,
      `lola_dice/rpg.py`.
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
                f"ScoreFunction(baseline=…) needs a baseline; got {described(self.baseline)}. {_meant(self.baseline)}."
            )
        check_plan(self, self.plan)

    @property
    def adaptive(self) -> bool:
        return self.baseline.adaptive

    @property
    def evaluations(self) -> int:  # type: ignore[override]  # the baseline's
        """Evaluations of f per sample: 1, and 1 more where the baseline expands f around the mean."""
        return 2 if self.baseline.expansion_order else 1

    @property
    def max_order(self) -> float:  # type: ignore[override]  # the baseline's
        return self.baseline.max_order

    @property
    def mixed_orders(self) -> bool:  # type: ignore[override]  # the baseline's
        return self.baseline.mixed_orders

    @property
    def needs(self) -> frozenset[type[Need]]:  # type: ignore[override]  # the baseline's
        return frozenset({DifferentiableCost}) if self.baseline.expansion_order else frozenset()

    def check(self, dist: Distribution, num_samples: int) -> None:
        check_needs(self, dist)
        self.baseline.check(dist)
        self.plan.check(dist)
        least, block = self.baseline.least_samples, self.plan.block
        name = type(self.baseline).__name__
        what = "leave-one-out" if name == "LeaveOneOut" else f"ScoreFunction({name}())"
        if least > 1 and block is None:
            raise ValueError(
                f"{what} needs samples that are independent of each other; under {self.plan} all of them depend on each "
                "other. Use NoBaseline(), MovingAverage() or DeltaMethod(), or the plan IID() or Antithetic()."
            )
        least *= block or 1
        if num_samples < least:
            raise ValueError(
                f"{what} needs num_samples >= {least} (in every chunk); got {num_samples}. "
                "Use more draws, or NoBaseline()."
            )

    def noise(self, dist: Distribution) -> Any:
        return self.plan.noise(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        x = self.plan.draw(dist, noise)
        name = type(dist).__name__.lstrip("_")
        log_prob = checks.scalar_log_prob(name, dist.fixed_support().log_prob(x))
        kept = (nan_unless_finite(log_prob, dist), self.baseline.look(value_of(x), dist))
        order = self.baseline.expansion_order
        centers = ((stop(dist.mean()), order),) if order else ()
        return Points(x, dist, kept=kept, centers=centers, sampled=True)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        log_prob, seen = points.kept
        block = self.plan.block
        others = runs if block in (1, None) else replace(runs, block=block)
        box = magic_box(log_prob)
        expansion = costs.expansions[0] if costs.expansions else ()
        site = Site(points.x, points.dist, box, stop(costs.total), others, seen, expansion)
        closed = costs.scored(box).plus(self.baseline.term(site))
        if not self.adaptive:
            return closed
        return closed.learned(self.baseline.adaptive_loss(site), self.baseline.observe(site))

    def advance(self, statistics: Any) -> "ScoreFunction":
        return replace(self, baseline=self.baseline.advance(statistics))

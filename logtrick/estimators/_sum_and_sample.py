"""Sum and sample: some points of the support summed, one of the others drawn."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from logtrick._core import checks
from logtrick._core.kernel import magic_box, stop
from logtrick._core.module import assign, static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._enumerate import Enumerate
from logtrick.estimators._needs import FiniteSupport, Need, check_needs
from logtrick.estimators._points import Points
from logtrick.estimators._support import (
    check_draws,
    chosen,
    claimed,
    masses,
    size_of,
    uniforms_over,
)
from logtrick.estimators._unordered_set import top_k
from logtrick.noise import Uniform


class SumAndSample(Estimator):
    """Sum and sample (Rao-Blackwellized REINFORCE): the k − 1 likeliest points are summed, one of the others drawn.

    With C the summed points and z ∼ p(· | not in C):

    ∇_θ E[f] ≈ Σ_{c∈C} p(c) f(c) ∇ log p(c) + P(not C) f(z) ∇ log p(z), unbiased,

    and, with magic boxes, right at every order. Cost: k evaluations of f and none of its
    derivative, one log-prob a point of the support. There is no baseline, so that the variance
    depends on f's arbitrary constant: try `UnorderedSet` first. The value is
    Σ p(c) f(c) + P(not C) f(z).

    Args:
      num_draws: k ≥ 1, at most the points of the support; k = 1 is the score function without a
        baseline, k of all points is `Enumerate`.
      stochastic: C is drawn without replacement instead, which spends no evaluations on likely
        points of no interest.
    Raises:
      ValueError: the support is not finite, too large to enumerate, or has fewer than k points.
    References:
      Liu, Regier, Tripuraneni, Jordan & McAuliffe (2019), "Rao-Blackwellized Stochastic Gradients for Discrete
      Distributions", checked against the authors' code, Runjing-Liu120/RaoBlackwellizedSGD,
      `rb_utils/rao_blackwellization_lib.py`; Kool, van Hoof & Welling (2020), "Estimating Gradients for
      Discrete Random Variables by Sampling without Replacement" (stochastic), against theirs,
      wouterkool/estimating-gradients-without-replacement, `bernoulli/rao_blackwellization_lib.py`.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> cost = jnp.array([3.0, 1.0, 2.0, 5.0])
      >>> value = lambda logits: lt.expect(jax.random.key(0), lambda x: cost[x], lt.Categorical(logits),
      ...                                  estimator=lt.SumAndSample(4), num_samples=1)
      >>> jax.grad(value)(jnp.zeros(4)).round(4).tolist()       # all four points: exact
      [0.0625, -0.4375, -0.1875, 0.5625]
    """

    num_draws: int = static()
    stochastic: bool = static(default=False)
    needs: ClassVar[frozenset[type[Need]]] = frozenset({FiniteSupport})
    reference: ClassVar[str] = (
        "Liu, Regier, Tripuraneni, Jordan & McAuliffe (2019), Rao-Blackwellized Stochastic Gradients for Discrete "
        "Distributions."
    )

    def __post_init__(self) -> None:
        assign(self, num_draws=checks.positive_int("SumAndSample", "num_draws", self.num_draws))

    @property
    def evaluations(self) -> int:  # type: ignore[override]  # as many as it draws
        """Evaluations of f per sample: one for each of the k draws."""
        return self.num_draws

    def check(self, dist: Distribution, num_samples: int) -> None:
        check_needs(self, dist)
        check_draws(self, self.num_draws, dist)

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms_over(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        if self.num_draws == size_of(dist):
            return Enumerate().draw(noise, dist)
        support, log_p = masses(dist)
        noise = claimed(self, noise, log_p)
        if self.stochastic:
            summed = top_k(log_p, noise, self.num_draws)[:-1]
        else:
            summed = lax.top_k(log_p, self.num_draws)[1][:-1]
        others = log_p.at[summed].set(-jnp.inf)
        # z is the first of the others in the order of the same Gumbels: where C is drawn, the next draw without replacement
        index = jnp.append(summed, top_k(others, noise, 1))
        log_weights = jnp.append(log_p[summed], jax.nn.logsumexp(others))
        draws, log_probs = chosen(dist, support, log_p, index)
        weights = stop(jnp.exp(log_weights)) * magic_box(log_probs)
        return Points(draws, dist, stacked=True, kept=weights)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        if self.num_draws == size_of(points.dist):
            return Enumerate().close(costs, points, runs)
        return costs.averaged(points.kept)

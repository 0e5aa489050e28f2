"""Pathwise (reparameterisation) gradients."""

from typing import Any, ClassVar

from logtrick._core.runs import Runs
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._base import OnePointEstimator, Point, check_needs, check_plan
from logtrick.estimators._costs import Costs
from logtrick.plans import IID, Plan


class Pathwise(OnePointEstimator):
    """Pathwise estimator (reparameterisation trick).

    ∇_θ E_{x∼p_θ}[f(x, θ)] = E_ε[∇_θ f(T(ε, θ), θ)], x = T(ε, θ): unbiased where f is continuous in x and differentiable
    almost everywhere. Cost: n evaluations of f and their gradient. Not always lower in variance than the score
    function: it loses where f varies quickly.

    Args:
      plan: how the runs' draws depend on each other, `IID()` unless said otherwise.
    Raises:
      ValueError: the distribution is not reparameterised (a discrete one, or `lt.distribution`).
    References:
      Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Rezende, Mohamed & Wierstra (2014).
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), estimator=lt.Pathwise(),
      ...                              num_samples=10_000)
      >>> round(jax.grad(value)(1.0).item(), 1)                # exact: 2
      2.0
    """

    plan: Plan = IID()
    needs: ClassVar[frozenset[str]] = frozenset({"reparameterized", "differentiable f"})
    reference: ClassVar[str] = (
        "Kingma & Welling (2014), Auto-Encoding Variational Bayes; Rezende et al. (2014)."
    )

    def __post_init__(self) -> None:
        check_plan(self, self.plan)

    @property
    def block(self) -> int | None:
        return self.plan.block

    def check(self, dist: Distribution, num_runs: int) -> None:
        check_needs(self, dist)
        self.plan.check(dist)

    def noise_spec(self, dist: Distribution) -> Any:
        return self.plan.noise_spec(dist)

    def example(self, noise: Any, dist: Distribution) -> Any:
        return value_of(self.plan.draw(dist, noise))

    def draw(self, noise: Any, dist: Distribution) -> Point:
        return Point(self.plan.transform(dist, noise), dist, None)

    def close(self, costs: Costs, point: Point, runs: Runs) -> Costs:
        return costs.combine()

"""Pathwise (reparameterization) gradients."""

from typing import Any, ClassVar

from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator, check_plan
from logtrick.estimators._costs import Costs
from logtrick.estimators._needs import DifferentiableCost, Need, Reparameterized, check_needs
from logtrick.estimators._points import Points
from logtrick.plans import IID, Plan


class Pathwise(Estimator):
    """Pathwise estimator (reparameterization trick).

    ∇_θ E_{x∼p_θ}[f(x, θ)] = E_ε[∇_θ f(T(ε, θ), θ)], x = T(ε, θ): unbiased where f is continuous in
    x and differentiable almost everywhere. Cost: n evaluations of f and their gradient. Its
    variance is not always lower than the score function's: it is higher where f varies quickly.

    Args:
      plan: how the samples' draws depend on each other.
    Raises:
      ValueError: the distribution is not reparameterized (a discrete one, or `lt.distribution`).
    References:
      Kingma & Welling (2014), "Auto-Encoding Variational Bayes"; Rezende, Mohamed & Wierstra (2014), "Stochastic
      Backpropagation and Approximate Inference in Deep Generative Models".
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: x**2, lt.Normal(mu, 1.0), estimator=lt.Pathwise(),
      ...                              num_samples=10_000)
      >>> round(jax.grad(value)(1.0).item(), 1)                # exact: 2
      2.0
    """

    plan: Plan = IID()
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Reparameterized, DifferentiableCost})
    reference: ClassVar[str] = (
        "Kingma & Welling (2014), Auto-Encoding Variational Bayes; Rezende, Mohamed & Wierstra (2014), Stochastic "
        "Backpropagation and Approximate Inference in Deep Generative Models."
    )

    def __post_init__(self) -> None:
        check_plan(self, self.plan)

    def check(self, dist: Distribution, num_samples: int) -> None:
        check_needs(self, dist)
        self.plan.check(dist)

    def noise(self, dist: Distribution) -> Any:
        return self.plan.noise(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        return Points(self.plan.transform(dist, noise), dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs

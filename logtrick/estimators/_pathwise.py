"""Pathwise (reparameterisation) gradients."""

from typing import Any, ClassVar

from logtrick._core.runs import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import OnePointEstimator, Point
from logtrick.estimators._costs import Costs


class Pathwise(OnePointEstimator):
    """Pathwise estimator (reparameterisation trick).

    ∇_θ E_{x∼p_θ}[f(x, θ)] = E_ε[∇_θ f(T(ε, θ), θ)], x = T(ε, θ): unbiased where f is continuous in x and differentiable
    almost everywhere. Cost: n evaluations of f and their gradient. Not always lower in variance than the score
    function: it loses where f varies quickly.

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

    needs: ClassVar[frozenset[str]] = frozenset({"reparameterized", "differentiable f"})
    reference: ClassVar[str] = "Kingma & Welling (2014), Auto-Encoding Variational Bayes; Rezende et al. (2014)."

    def draw(self, noise: Any, dist: Distribution) -> Point:
        return Point(dist.transform(noise), dist, None)

    def close(self, costs: Costs, point: Point, runs: Runs) -> Costs:
        return costs.combine()

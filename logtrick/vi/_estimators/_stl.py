"""Sticking the landing."""

from typing import Any, ClassVar

from logtrick._core.kernel import detached
from logtrick.estimators import Need, Pathwise, Reparameterized
from logtrick.plans import IID, Plan
from logtrick.vi._estimators._base import Array, Problem, WeightEstimator
from logtrick.vi._estimators._dreg import by_path


class STL(WeightEstimator):
    """Sticking the landing: the pathwise gradient without the score term of log q, which has mean 0.

    Zero variance where q is the posterior. Not lower in variance everywhere: for N(μ, σ²) and a standard normal posterior
    it loses to the total derivative where σ < 1/√2. Unbiased for the ELBO; for k-draw bounds the term that it leaves out
    has another mean than 0, so it is biased there (`DReG` is not).

    Args:
      plan: how the draws depend on each other, `IID()` unless said otherwise.
    References:
      Roeder, Wu & Duvenaud (2017), "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for Variational
      Inference".
    Example:
      >>> import jax
      >>> from logtrick import vi
      >>> q = vi.MeanFieldNormal(like=0.0)                                 # the posterior itself: exactly 0
      >>> loss = lambda q: vi.loss(jax.random.key(0), lambda z: -0.5 * z**2, q, estimator=vi.STL())
      >>> jax.grad(loss)(q).loc.tolist()
      [0.0]
    """

    plan: Plan = IID()
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Reparameterized})
    reference: ClassVar[str] = "Roeder, Wu & Duvenaud (2017), Sticking the Landing."

    @property
    def site(self) -> Pathwise:
        """The estimator of the site that draws; log q is held constant beside it."""
        return Pathwise(self.plan)

    def surrogate(self, problem: Problem, noise: Any) -> Array:
        return by_path("vi.STL", problem, detached(problem.q), noise, lambda first, second: first)

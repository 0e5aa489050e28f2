"""Gumbel-softmax (Concrete) relaxations, soft and straight-through."""

from typing import Any, ClassVar

from logtrick._core.module import assign
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._logits import as_draw, logits_of, noisy_logits_of, uniforms
from logtrick.estimators._needs import BitsOrOneHot, DifferentiableCost, Need
from logtrick.estimators._points import Points
from logtrick.estimators._relaxed import positive_scalar, straight_through
from logtrick.noise import Uniform

_PAPERS = (
    "Jang, Gu & Poole (2017), Categorical Reparameterization with Gumbel-Softmax; "
    "Maddison, Mnih & Teh (2017), The Concrete Distribution: A Continuous Relaxation of Discrete Random Variables."
)


class GumbelSoftmax(Estimator):
    """Gumbel-softmax (Concrete): f and its gradient at a continuous relaxation of the draw. Declared biased.

    y = softmax((φ + G)/τ), G Gumbel, for one-hot rows; y = σ((φ + L)/τ), L logistic, for bits:

    ∇_φ E[f] ≈ ∇_φ f(y),

    the derivative (at every order) of E[f(y)], not of E[f(x)]; the bias falls and the variance
    grows as τ goes to 0.

    Cost: 1 evaluation of f and its gradient. The value is the mean of f over the relaxed draws,
    which is biased too: compare losses at hard draws.

    Args:
      temperature: τ > 0.
    Raises:
      ValueError: τ is not positive; the distribution is neither Bernoullis nor one-hot rows.
    References:
      Jang, Gu & Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", checked against an author's code,
      ericjang/gumbel-softmax, `Categorical VAE.ipynb`; Maddison, Mnih & Teh (2017), "The Concrete Distribution: A
      Continuous Relaxation of Discrete Random Variables".
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.GumbelSoftmax(0.5), num_samples=100_000)
      >>> round(jax.grad(value)(0.0).item(), 2)                # the relaxation's is 0.0215; exact: 0.025
      0.02
    """

    temperature: Any
    unbiased: ClassVar[bool] = False
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot, DifferentiableCost})
    reference: ClassVar[str] = _PAPERS

    def __post_init__(self) -> None:
        assign(self, temperature=positive_scalar("GumbelSoftmax", "temperature", self.temperature))

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        noisy, logits = noisy_logits_of(dist), logits_of(dist)
        relaxed = noisy.relaxed(noisy.perturbed(logits, noise), self.temperature)
        return Points(relaxed.astype(as_draw(relaxed, dist).dtype), dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs


class StraightThroughGumbelSoftmax(Estimator):
    """Straight-through Gumbel-softmax: f at the hard draw, differentiated through the relaxed one. Declared biased.

    With y the relaxation of `GumbelSoftmax` and x its hard limit from the same noise:

    ∇_φ E[f] ≈ (1/τ) J(y)ᵀ ∇f(x), J(y) = diag y − y yᵀ.

    Cost: 1 evaluation of f and its gradient. The value is the mean of f over the draws, unbiased.

    Args:
      temperature: τ > 0.
    Raises:
      ValueError: τ is not positive; the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Jang, Gu & Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", checked against an author's code,
      ericjang/gumbel-softmax, `Categorical VAE.ipynb` (`hard=True`); Maddison, Mnih & Teh (2017), "The Concrete
      Distribution: A Continuous Relaxation of Discrete Random Variables".
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: 3.0 * x, lt.Bernoulli(logit),
      ...                                 estimator=lt.StraightThroughGumbelSoftmax(1.0), num_samples=100_000)
      >>> round(jax.grad(value)(0.0).item(), 1)                # E[σ′(logistic)] is 1/6; exact: 0.75
      0.5
    """

    temperature: Any
    unbiased: ClassVar[bool] = False
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot, DifferentiableCost})
    reference: ClassVar[str] = _PAPERS

    def __post_init__(self) -> None:
        assign(
            self,
            temperature=positive_scalar(
                "StraightThroughGumbelSoftmax", "temperature", self.temperature
            ),
        )

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        noisy, logits = noisy_logits_of(dist), logits_of(dist)
        z = noisy.perturbed(logits, noise)
        target = noisy.slope(noisy.relaxed(z, self.temperature), logits) / self.temperature
        x = straight_through("StraightThroughGumbelSoftmax", as_draw(noisy.hard(z), dist), target)
        return Points(x, dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs

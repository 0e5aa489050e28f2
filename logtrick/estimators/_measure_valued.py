"""Measure-valued (weak) derivatives."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.distributions import (
    Distribution,
    WeakDerivative,
    value_of,
    weak_noise_spec,
    weak_terms,
)
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._needs import Need
from logtrick.estimators._points import Points


class HasWeakDerivatives(Need):
    """The family declares weak derivatives.

    Example:
      >>> import logtrick as lt
      >>> lt.estimators.HasWeakDerivatives.met_by(lt.Poisson(2.0)), lt.estimators.HasWeakDerivatives.met_by(lt.Beta(2.0, 1.0))
      (True, False)
    """

    @classmethod
    def met_by(cls, dist: Distribution) -> bool:
        return dist.weak_derivatives is not None

    @classmethod
    def refusal(cls, family: str) -> str:
        return f"needs a family with weak derivatives; {family} declares none"


class MeasureValued(Estimator):
    """Measure-valued (weak) derivatives: ∂E[f]/∂θⱼ = E[cⱼ (f(x⁺ⱼ) − f(x⁻ⱼ))], for each entry θⱼ by itself.

    The family declares c and the laws of x⁺ and x⁻, which replace one coordinate of the draw:

      Normal, loc: c = 1 / (σ √2π), x± = μ ± σ W, W Weibull(2, √2)
      Normal, scale: c = 1 / σ, double-sided Maxwell − normal
      Poisson: c = 1, x + 1 − x
      Exponential: c = 1 / rate, Exponential − Gamma(2)
      Gamma, rate: c = a / rate, Gamma(a) − Gamma(a + 1)
      Bernoulli: c = p (1 − p), 1 − 0
      Categorical, logit k: c = pₖ (1 − pₖ), class k − the other classes

    Unbiased, f may be discontinuous and a black box. Coupled, x⁺ and x⁻ share their noise. In a
    normal's loc, for a quadratic (x − k)² with a = μ − k, that hurts where a² > 2σ² / (4 − π).
    Cost: one evaluation of f for the value, and two per entry of the parameters (one for Poisson,
    Exponential and Gamma, whose x⁻ or x⁺ is the draw itself), in one vmapped call: for few
    parameters.

    Args:
      coupled: x⁺ and x⁻ share their noise; otherwise they are independent.
    Raises:
      ValueError: the family declares no weak derivatives, or the derivative in a parameter that has
        none.
      DerivativeOrderError: a second derivative.
    References:
      Pflug (1989), "Sampling Derivatives of Probabilities"; Heidergott, Vázquez-Abad &
      Volk-Makarewicz (2008), "Sensitivity Estimation for Gaussian Systems"; Mohamed, Rosca,
      Figurnov & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning", section 6. The
      triples of all families but the categorical were checked against its table 1, the normal's and
      their coupling also against deepmind/mc_gradients, `gradient_estimators.py`.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> step = lambda x: jnp.where(x > 0, 1.0, 0.0)
      >>> value = lambda mu: lt.expect(jax.random.key(0), step, lt.Normal(mu, 1.0), num_samples=10_000,
      ...                              estimator=lt.MeasureValued())
      >>> round(jax.grad(value)(0.5).item(), 2)                # exact: φ(0.5)
      0.35
    """

    coupled: bool = static(default=True)
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    needs: ClassVar[frozenset[type[Need]]] = frozenset({HasWeakDerivatives})
    reference: ClassVar[str] = (
        "Pflug (1989), Sampling Derivatives of Probabilities; Mohamed, Rosca, Figurnov & Mnih (2020), Monte Carlo "
        "Gradient Estimation in Machine Learning."
    )

    def noise(self, dist: Distribution) -> Any:
        return weak_noise_spec(dist, coupled=self.coupled)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        x = jax.tree.map(lambda a: a[None], value_of(dist.draw(noise["draw"])))
        terms = weak_terms(dist, noise, coupled=self.coupled)
        stacks = [x, *(stack for term in terms for stack in _apart(term))]
        return Points(_joined(stacks), dist, stacked=True, kept=terms)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        terms = points.kept
        sizes = [1, *(_size(stack) for term in terms for stack in _apart(term))]
        ends = np.cumsum(sizes)[:-1]
        # not held constant: a parameter of f has a mixed derivative with θ
        here, *totals = jnp.split(costs.total, ends)
        others = iter(totals)
        estimate = costs.at(0)
        for term in terms:
            plus = here if term.plus_is_draw else next(others)
            minus = here if term.minus_is_draw else next(others)
            estimate = estimate.first_order(term.coefficient * (plus - minus), term.parameter)
        return estimate


def _apart(term: WeakDerivative) -> list[Any]:
    """The stacks of points that are not the draw itself."""
    pairs = ((term.plus, term.plus_is_draw), (term.minus, term.minus_is_draw))
    return [stack for stack, is_draw in pairs if not is_draw]


def _joined(stacks: list[Any]) -> Any:
    return jax.tree.map(lambda *a: jnp.concatenate(a), *stacks)


def _size(stack: Any) -> int:
    return jax.tree.leaves(stack)[0].shape[0]

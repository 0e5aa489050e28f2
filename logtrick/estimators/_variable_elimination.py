"""Exact summation that sums each variable out in turn, so that a chain costs as much as its neighbors, not 2^T."""

from typing import Any, ClassVar

import jax

from logtrick._core.samples import Runs
from logtrick.distributions import Distribution, probability
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._needs import FiniteSupport, Need
from logtrick.estimators._points import Points
from logtrick.estimators._support import claimed
from logtrick.noise import NoNoise


class VariableElimination(Estimator):
    """Exact sums over finite supports, one variable at a time: T sites of k points in a chain cost T k², not k^T.

    E[Σ_t c_t(x_{t−1}, x_t)] with x_t ∼ p_θ(· | x_{t−1}) is Σ_x₁ p(x₁) Σ_x₂ p(x₂ | x₁) (c₂(x₁, x₂) + Σ_x₃ …): the sum
    over x₃ is a function of x₂ alone and is computed once for each x₂. No structure is declared: JAX batches a number
    over the draws that it depends on, so that a site is as expensive as the table of its own draw and of the draws that
    its distribution depends on, and a cost as the table of its draws. Trees and other sparse dependencies profit
    alike. Variance 0, right at every order.

    In `lt.scan` it is the forward recursion: the carry must be a function of the step's own draws (and of what is not
    random), and the steps have no other sites.

    Unlike `Enumerate`, which leaves impossible points out, the costs are evaluated at all points of the support: they
    and their derivatives must be finite where the probability is 0, too. If they are not, the result is nan.

    Cost: as many evaluations of a cost as the supports of the draws that it depends on have points.

    Raises:
      ValueError: the support is not finite, or too large; in `lt.scan` a carry that remembers more than the step's own
        draws, or other sites beside it.
    References:
      Zhang & Poole (1994), "A Simple Approach to Bayesian Network Computations"; Rabiner (1989), "A Tutorial on Hidden
      Markov Models and Selected Applications in Speech Recognition" (the forward recursion); Obermeyer et al. (2019),
      "Tensor Variable Elimination for Plated Factor Graphs".
    Example:
      >>> import jax, logtrick as lt
      >>> def flips(logit):
      ...     x = 0.0
      ...     for _ in range(30):                                        # 2³⁰ outcomes
      ...         x = yield lt.sample(lt.Bernoulli(logit + x), lt.VariableElimination())
      ...         yield lt.cost(x)
      >>> value = jax.jit(lambda logit: lt.expect_program(jax.random.key(0), flips, logit, num_samples=1))
      >>> round(value(0.0).item(), 3)                                    # 2·½ = 1 of 2 flips would be fair
      19.312
    """

    needs: ClassVar[frozenset[type[Need]]] = frozenset({FiniteSupport})
    sums_out: ClassVar[bool] = True
    reference: ClassVar[str] = (
        'Zhang & Poole (1994), "A Simple Approach to Bayesian Network Computations"; Rabiner (1989), "A Tutorial on '
        'Hidden Markov Models and Selected Applications in Speech Recognition"; Obermeyer et al. (2019), "Tensor '
        'Variable Elimination for Plated Factor Graphs".'
    )

    def noise(self, dist: Distribution) -> NoNoise:
        return NoNoise()

    def draw(self, noise: Any, dist: Distribution) -> Points:
        support = dist.enumerate()
        weights = jax.vmap(lambda x: probability(dist, x))(support)
        return Points(support, dist, stacked=True, kept=claimed(self, weights, support))

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        return costs.centered().averaged(points.kept)

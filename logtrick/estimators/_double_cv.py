"""Double control variates: leave-one-out of f and of its linearization."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import stop
from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._logits import hard_draw, logits_of, score, uniforms
from logtrick.estimators._needs import Bits, DifferentiableCost, Need, check_needs
from logtrick.estimators._points import Points
from logtrick.noise import Uniform


class DoubleCV(Estimator):
    """Double control variates: leave-one-out, of f plus a multiple of its linearization by the other samples' gradients.

    Over n samples, ḡ_{−k} the mean of the others' ∇f(x), h_k = f_k + α (x_k − p)ᵀ ḡ_{−k}:

    ∇_φ E[f] ≈ (1/n) Σ_k (h_k − mean_{j≠k} h_j) (x_k − p) − α ḡ p (1 − p), unbiased for every α.

    α = −1 is exact for linear f; for f whose gradient at 0 and 1 says little about f(1) − f(0),
    such as squares, the best α is near 0 (leave-one-out). Cost: 1 evaluation of f per sample, and
    its gradient at the hard draw. The value is the mean of f over the draws. A constant added to f
    changes nothing.

    Args:
      alpha: α, any number.
      learn: α minimizes the squared norm of the gradient with respect to the logits, by
        `aux.adaptive_loss` (`has_aux=True`).
    Raises:
      ValueError: one sample; the distribution is not a product of Bernoullis.
      DerivativeOrderError: a second derivative was taken.
    References:
      Titsias & Shi (2022), "Double Control Variates for Gradient Estimation in Discrete Latent
      Variable Models". Checked against the authors' code, thjashin/double-cv, `src/networks.py` (2
      and 4 samples), and thjashin/rodeo, `networks.py`.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> cost = lambda x: x @ jnp.array([1.0, -2.0])
      >>> value = lambda logits: lt.expect(jax.random.key(0), cost, lt.Bernoulli(logits), estimator=lt.DoubleCV(),
      ...                                  num_samples=2)
      >>> jax.grad(value)(jnp.zeros(2)).round(4).tolist()       # exact, since f is linear
      [0.25, -0.5]
    """

    alpha: Any = -1.0
    learn: bool = static(default=False)
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    derivatives_of_rest: ClassVar[int] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Bits, DifferentiableCost})
    reference: ClassVar[str] = (
        "Titsias & Shi (2022), Double Control Variates for Gradient Estimation in Discrete Latent Variable Models."
    )

    @property
    def adaptive(self) -> bool:
        return self.learn

    def check(self, dist: Distribution, num_samples: int) -> None:
        check_needs(self, dist)
        check_runs("DoubleCV", num_samples)

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        return Points(hard_draw(noise, dist), dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        x, dist = points.x, points.dist
        logits, (slope,) = stop(logits_of(dist)), costs.derivatives.slope
        f, s = stop(costs.total), stop(score(dist, x.astype(logits.dtype)))
        p, slope = jax.nn.sigmoid(logits), slope.astype(logits.dtype)
        # This sample's share of the sum: the others' −h in this sample's bracket go to the samples
        # that they come from. The expectation of the linear term is taken with the others' slope: this sample's own
        # has the same sum over the samples where all have one distribution, but is correlated with p(1 − p) where
        # p depends on an earlier draw.
        others_slope = runs.leave_one_out(slope)
        linear = jnp.sum(s * others_slope) * (s - runs.leave_one_out(s))
        linear = linear - others_slope * p * (1 - p)
        share = (f - runs.leave_one_out(f)) * s + self.alpha * linear
        coefficient = stop(share) + (costs.total - f) * s
        adaptive = squared_mean(share, runs) if self.learn else None
        return costs.first_order(coefficient, logits_of(dist)).learned(adaptive)


def check_runs(name: str, num_samples: int) -> None:
    """Estimators that leave one sample out need two."""
    if num_samples < 2:
        raise ValueError(
            f"{name}() needs num_samples >= 2 (in every chunk); got {num_samples}. Use more draws, or DisARM()."
        )


def squared_mean(share: Array, runs: Runs) -> Array:
    """A loss whose mean over the samples is ‖mean share‖² in value, and in its derivative through `share`."""
    mean = runs.sum(share) / runs.count
    return jnp.sum(2 * mean * share - mean**2)

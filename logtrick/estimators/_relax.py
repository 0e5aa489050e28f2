"""RELAX: the score function with a learned control variate."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import stop
from logtrick._core.mesh import local
from logtrick._core.module import assign, static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._logits import hard_draw, logits_of, noisy_logits_of, score, uniforms
from logtrick.estimators._needs import BitsOrOneHot, Need
from logtrick.estimators._points import Points
from logtrick.estimators._relaxed import positive_scalar
from logtrick.estimators._surrogate import surrogate
from logtrick.noise import Uniform


class RELAX(Estimator):
    """RELAX: the score function less a learned surrogate of f, whose gradient is added back by reparameterization.

    With z = φ + noise, x = H(z) the draw, z̃ ∼ p(z | x), s = ∇ log p(x), c(z) = η · fn(params,
    y(z)), y(z) = σ(z/τ) (softmax for one-hot rows):

    ∇_φ E[f] ≈ (f(x) − c(z̃)) s + ∇_φ c(z) − ∇_φ c(z̃), unbiased for every c.

    `params`, τ and η minimize the squared norm of the per-sample gradient with respect to the
    logits, by `aux.adaptive_loss` (`has_aux=True`). Cost: 1 evaluation of f, no derivative of it,
    so f may be a black box; 2 of the surrogate and its gradient. The value is the mean of f over
    the draws.

    Args:
      fn: `fn(params, y) -> scalar`, y shaped like one draw, its entries in (0, 1); what it closes
        over must not be differentiated.
      params: the surrogate's parameters, a pytree.
      temperature: τ > 0. Where an optimizer moves it, parametrize its logarithm: it is nan below 0.
      scale: η, any number.
    Raises:
      TypeError: `fn` is no function.
      ValueError: τ is not positive; `fn` returns no scalar; the distribution is neither Bernoullis
        nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Grathwohl, Choi, Wu, Roeder & Duvenaud (2018), "Backpropagation through the Void: Optimizing
      Control Variates for Black-Box Gradient Estimation", section 3.2, and equation 6 for its
      training; checked in the paper's source and the authors' code, duvenaud/relax,
      `paper/generalized_rebar.tex` and `pytorch_toy.py`.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> surrogate = lambda w, y: w[0] + w[1] * y
      >>> def value(logit, w):
      ...     value, aux = lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                            estimator=lt.RELAX(surrogate, w), num_samples=10_000, has_aux=True)
      ...     return value + aux.adaptive_loss
      >>> gradient, training = jax.grad(value, (0, 1))(1.0, jnp.array([0.2, 0.1]))
      >>> round(gradient.item(), 2), training.shape            # exact: 0.0197
      (0.02, (2,))
    """

    fn: Callable[[Any, Any], Any] = static()
    params: Any
    temperature: Any = 0.5
    scale: Any = 1.0
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot})
    reference: ClassVar[str] = (
        "Grathwohl, Choi, Wu, Roeder & Duvenaud (2018), Backpropagation through the Void: Optimizing Control Variates for "
        "Black-Box Gradient Estimation."
    )

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(
                f"RELAX(fn=…) needs a function fn(params, y); got {type(self.fn).__name__}."
            )
        assign(self, temperature=positive_scalar("RELAX", "temperature", self.temperature))

    @property
    def adaptive(self) -> bool:
        return True

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist, 2)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        x = hard_draw(noise[0], dist)
        return Points(x, dist, kept=self._surrogate(x, dist, noise))

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        logits, (level, paths), f = logits_of(points.dist), points.kept, costs.total
        s = stop(score(points.dist, points.x.astype(logits.dtype)))
        gradient = (stop(f) - level) * s + paths
        coefficient = (f - stop(level)) * s + stop(paths)
        return costs.first_order(coefficient, logits).learned(jnp.sum(gradient**2))

    def _surrogate(self, draw: Array, dist: Distribution, noise: Any) -> tuple[Array, Array]:
        """c(z̃) and ∇_φ c(z) − ∇_φ c(z̃), which reach the surrogate's parameters, τ and η but not the logits."""
        noisy, logits = noisy_logits_of(dist), stop(logits_of(dist))
        x, free = draw.astype(logits.dtype), noisy.free(noise[1])

        def c(z: Array) -> Array:
            y = noisy.relaxed(z, self.temperature).astype(draw.dtype)
            return self.scale * checks.scalar_cost(
                "RELAX(fn=…)", surrogate("RELAX", self.fn, self.params, y)
            )

        def both(logits: Array) -> tuple[Array, Array]:
            level = c(noisy.conditional(logits, x, free))
            return c(noisy.perturbed(logits, noise[0])) - level, level

        paths, level = jax.grad(both, has_aux=True)(*local(both, logits))
        return level, paths

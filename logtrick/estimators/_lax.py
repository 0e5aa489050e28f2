"""LAX: the score function with a learned control variate that is differentiated along the path."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import detached, magic_box, stop
from logtrick._core.mesh import local
from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.baselines import live_leaves, with_leaves
from logtrick.distributions import Distribution, value_of
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._needs import Need, Reparameterized
from logtrick.estimators._points import Points
from logtrick.estimators._score_function import nan_unless_finite
from logtrick.estimators._surrogate import surrogate


class LAX(Estimator):
    """LAX: the score function less a learned surrogate of f, whose gradient is added back along the path.

    With x = T(ε, θ), s = ∇_θ log p_θ(x) at fixed x, and c(x) = fn(params, x):

    ∇_θ E[f] ≈ (f(x) − c(x)) s + ∇_θ c(T(ε, θ)), unbiased for every differentiable c.

    f itself may be a black box.

    `params` minimize the squared norm of the per-sample gradient in the distribution's own
    parameters, by `aux.adaptive_loss` (`has_aux=True`), whose gradient reaches only them. Cost: 1
    evaluation of f, no derivative of it; 1 of c and its gradient. Right at every order to which c
    and the path are differentiable.

    Args:
      fn: `fn(params, x) -> scalar`, x one draw; what it closes over must not be differentiated.
      params: the surrogate's parameters, a pytree of float arrays.
    Raises:
      TypeError: `fn` is no function.
      ValueError: the distribution is not reparameterized; `fn` returns no scalar; used without
        `has_aux=True`.
    References:
      Grathwohl, Choi, Wu, Roeder & Duvenaud (2018), "Backpropagation through the Void: Optimizing
      Control Variates for Black-Box Gradient Estimation", equation 5, and equation 6 for its
      training; checked in the paper's source, duvenaud/relax, `paper/generalized_rebar.tex`.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> mean = lambda mu: lt.expect(jax.random.key(0), lambda x: x, lt.Normal(mu, 1.0), num_samples=4, has_aux=True,
      ...                             estimator=lt.LAX(lambda w, x: w * x, jnp.array(1.0)))[0]
      >>> jax.grad(mean)(0.3).item()                           # exact where c = f
      1.0
    """

    fn: Callable[[Any, Any], Any] = static()
    params: Any
    evaluations: ClassVar[int | None] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Reparameterized})
    reference: ClassVar[str] = (
        "Grathwohl, Choi, Wu, Roeder & Duvenaud (2018), Backpropagation through the Void: Optimizing Control Variates for "
        "Black-Box Gradient Estimation."
    )

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(
                f"LAX(fn=…) needs a function fn(params, x); got {type(self.fn).__name__}."
            )
        checks.differentiable("LAX", self.params)

    @property
    def adaptive(self) -> bool:
        return True

    def draw(self, noise: Any, dist: Distribution) -> Points:
        x, path = dist.draw(noise), value_of(dist.transform(noise))
        log_prob = dist.fixed_support().log_prob(x)
        log_prob = checks.scalar_log_prob(type(dist).__name__, log_prob)
        level = self._surrogate(stop(self.params), path)
        kept = (nan_unless_finite(log_prob, dist), level, *self._own_gradients(x, noise, dist))
        return Points(x, dist, kept=kept)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        log_prob, level, scores, surrogates = points.kept
        box, f = magic_box(log_prob), stop(costs.total)
        squares = [jnp.sum((f * s + c) ** 2) for s, c in zip(scores, surrogates)]
        return (
            costs.scored(box)
            .plus(stop(level) * (1 - box) + (level - stop(level)))
            .learned(sum(squares, jnp.zeros((), f.dtype)))
        )

    def _surrogate(self, params: Any, x: Any) -> Array:
        """c(x)."""
        return checks.scalar_cost("LAX(fn=…)", surrogate("LAX", self.fn, params, x))

    def _own_gradients(
        self, x: Any, noise: Any, dist: Distribution
    ) -> tuple[list[Array], list[Array]]:
        """s and ∇_θ c(T(ε, θ)) − c(x) s in the distribution's own parameters.

        The second is a function of the surrogate's parameters; the sample's gradient is f(x) s plus
        the second.
        """
        held, value = detached(dist), value_of(x)

        def log_prob(leaves: list[Array]) -> Array:
            return with_leaves(held, leaves).held_support().log_prob(x)

        def along(leaves: list[Array]) -> Array:
            there = with_leaves(held, leaves)
            path = self._surrogate(self.params, value_of(there.transform(noise)))
            return path - there.held_support().log_prob(x) * self._surrogate(self.params, value)

        leaves = stop(live_leaves(dist))
        scores = stop(jax.grad(log_prob)(*local(log_prob, leaves)))
        return scores, jax.grad(along)(*local(along, leaves))

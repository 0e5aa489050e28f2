"""RODEO: control variates from discrete Stein operators."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.kernel import stop
from logtrick._core.module import static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution, NoisyBits
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._double_cv import check_runs, squared_mean
from logtrick.estimators._logits import against, hard_draw, logits_of, score, uniforms
from logtrick.estimators._needs import Bits, DifferentiableCost, Need, check_needs
from logtrick.estimators._points import Points
from logtrick.estimators._surrogate import surrogate
from logtrick.noise import Uniform


class RODEO(Estimator):
    """RODEO: leave-one-out with two learned control variates of mean zero, made by a discrete Stein operator.

    The Gibbs operator (A h)(x) = (1/D) Σ_d p(x_d flipped) [h(x with x_d flipped) − h(x)] has E[A
    h] = 0. With features of the other samples, u_k(x) = (mean_{j≠k} f_j, mean_{j≠k} [f_j + ∇f_jᵀ
    (x − x_j)]), and two scalar heads (a_k(x), c_k(x)) = fn(params, u_k(x)), h_k(x) = a_k(x)
    (x − p):

    ∇_φ E[f] ≈ (1/n) Σ_k {(f_k − mean_{j≠k} [f_j + (A c_j)(x_j)]) (x_k − p) + (A h_k)(x_k)},
    unbiased for every fn.

    `params` minimizes the squared norm of the gradient with respect to the logits, by
    `aux.adaptive_loss` (`has_aux=True`). Cost: 1 evaluation of f per sample and its gradient at the
    hard draw, D + 1 of `fn`. The value is the mean of f over the draws.

    Args:
      fn: `fn(params, u) -> (2,)`, u of shape (2,): a network of the features; what it closes over
        must not be differentiated.
      params: its parameters, a pytree.
    Raises:
      TypeError: `fn` is no function.
      ValueError: one sample; `fn` does not return two numbers; the distribution is not a product of
        Bernoullis.
      DerivativeOrderError: a second derivative was taken.
    References:
      Shi, Zhou, Hwang, Titsias & Mackey (2022), "Gradient Estimation with Discrete Stein
      Operators". Checked against the authors' code, thjashin/rodeo, `networks.py`
      ("discrete_stein", averaged features): there two more learned factors scale the two variates,
      and the linear part of u's second number enters without f_j; fn takes up both.
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> def value(logits, w):
      ...     value, aux = lt.expect(jax.random.key(0), lambda x: (jnp.sum(x) - 0.9) ** 2, lt.Bernoulli(logits),
      ...                            estimator=lt.RODEO(lambda w, u: w @ u, w), num_samples=20_000, has_aux=True)
      ...     return value + aux.adaptive_loss
      >>> gradient, training = jax.grad(value, (0, 1))(jnp.zeros(2), 0.1 * jnp.eye(2))
      >>> [round(g, 2) for g in gradient.tolist()], training.shape           # exact: 0.05, 0.05
      ([0.05, 0.05], (2, 2))
    """

    fn: Callable[[Any, Any], Any] = static()
    params: Any
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 1
    derivatives_of_rest: ClassVar[int] = 1
    needs: ClassVar[frozenset[type[Need]]] = frozenset({Bits, DifferentiableCost})
    reference: ClassVar[str] = (
        "Shi, Zhou, Hwang, Titsias & Mackey (2022), Gradient Estimation with Discrete Stein Operators."
    )

    def __post_init__(self) -> None:
        if not callable(self.fn):
            raise TypeError(
                f"RODEO(fn=…) needs a function fn(params, u); got {type(self.fn).__name__}."
            )

    @property
    def adaptive(self) -> bool:
        return True

    def check(self, dist: Distribution, num_samples: int) -> None:
        check_needs(self, dist)
        check_runs("RODEO", num_samples)

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        return Points(hard_draw(noise, dist), dist)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        x, dist = points.x, points.dist
        logits, (slope,) = stop(logits_of(dist)), costs.derivatives.slope
        f, hard, slope = stop(costs.total), x.astype(logits.dtype), slope.astype(logits.dtype)
        s = stop(score(dist, hard))
        level, offset = runs.leave_one_out(f), runs.leave_one_out(f - jnp.sum(slope * hard))
        tangent = runs.leave_one_out(slope)
        features = lambda y: stop(jnp.stack([level, offset + jnp.sum(tangent * y)]))
        first, second = self._stein(features, hard, logits)
        # This sample's share of the sum: what stands in the others' brackets goes to the sample
        # that it comes from.
        share = (f - level) * s - second * runs.leave_one_out(s) + first
        coefficient = stop(share) + (costs.total - f) * s
        closed = costs.first_order(coefficient, logits_of(dist))
        return closed.learned(squared_mean(share, runs))

    def _stein(
        self, features: Callable[[Array], Array], x: Array, logits: Array
    ) -> tuple[Array, Array]:
        """(A h)(x), shaped like x, and (A c)(x), shape ()."""
        points = jnp.concatenate([x[None], NoisyBits().changes(x)])
        heads = jax.vmap(lambda y: self._heads(features(y)))(points)
        flips = jax.nn.sigmoid((1 - 2 * x) * logits).reshape(-1) / max(x.size, 1)
        vectors = (points - jax.nn.sigmoid(logits)[None]) * heads[:, 0].reshape(-1, *[1] * x.ndim)
        return against(vectors[1:] - vectors[:1], flips), flips @ (heads[1:, 1] - heads[0, 1])

    def _heads(self, features: Array) -> Array:
        heads = jnp.asarray(surrogate("RODEO", self.fn, self.params, features))
        if heads.shape != (2,):
            raise ValueError(
                f"RODEO(fn=…) must return two numbers, shape (2,); got {np.shape(heads)}. Add an output layer."
            )
        return heads

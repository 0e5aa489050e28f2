"""Local expectation gradients."""

from typing import Any, ClassVar

import jax.numpy as jnp

from logtrick._core.kernel import stop
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Costs
from logtrick.estimators._logits import hard_draw, logits_of, noisy_logits_of, uniforms
from logtrick.estimators._needs import BitsOrOneHot, Need
from logtrick.estimators._points import Points
from logtrick.noise import Uniform


class LocalExpectation(Estimator):
    """Local expectation gradient (LEG, RAM): every coordinate summed over its values, the others held at one draw.

    ∇_φd E[f] ≈ Σ_v ∇_φd p_d(v) f(x with x_d = v); for bits
    p_d (1 − p_d) (f(x with x_d = 1) − f(x with x_d = 0)).

    Unbiased; variance 0 for one coordinate. Cost: D + 1 evaluations of f for D bits, 1 + R (K − 1)
    for R one-hot rows of K, none of its derivative. Per evaluation `DisARM` is often better. The
    value is the mean over the coordinates of Σ_v p_d(v) f(x with x_d = v). A constant added to f
    changes nothing.

    Raises:
      ValueError: the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken.
    References:
      Titsias & Lázaro-Gredilla (2015), "Local Expectation Gradients for Black Box Variational
      Inference"; Tokui & Sato (2017), "Evaluating the Variance of Likelihood-Ratio Gradient
      Estimators" (RAM). For bits checked against the code of the latter, beam2d/sbn,
      `sbn/models/variational_sbn.py`.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.LocalExpectation(), num_samples=1)
      >>> round(jax.grad(value)(1.0).item(), 4)                # exact: σ(1) σ(−1) (1 − 2·0.45)
      0.0197
    """

    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot})
    reference: ClassVar[str] = (
        "Titsias & Lázaro-Gredilla (2015), Local Expectation Gradients for Black Box Variational Inference."
    )

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist)

    def draw(self, noise: Any, dist: Distribution) -> Points:
        noisy, logits = noisy_logits_of(dist), logits_of(dist)
        x = hard_draw(noise, dist)
        log_p = noisy.local_log_probs(
            logits, x.astype(logits.dtype)
        )  # (coordinates, values), x's own first
        possible = log_p > -jnp.inf
        changed = possible[:, 1:].reshape(-1, *[1] * x.ndim)
        neighbors = jnp.where(changed, noisy.changes(x), x[None])
        return Points(jnp.concatenate([x[None], neighbors]), dist, stacked=True, kept=log_p)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        log_p = points.kept
        possible = log_p > -jnp.inf
        here = jnp.broadcast_to(costs.total[0], (log_p.shape[0], 1))
        f = jnp.concatenate([here, costs.total[1:].reshape(log_p[:, 1:].shape)], axis=1)
        p = stop(jnp.exp(log_p))
        coefficient = p * (f - jnp.sum(p * f, axis=1, keepdims=True))  # Σ_v ∇p(v) = 0
        if len(p):
            weights = jnp.append(jnp.sum(p[:, 0]), p[:, 1:]) / len(
                p
            )  # the mean over the coordinates
        else:
            weights = jnp.ones(1, p.dtype)  # no coordinates: f(x)
        return costs.averaged(weights).first_order(coefficient, jnp.where(possible, log_p, 0.0))

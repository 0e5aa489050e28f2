"""REBAR: the score function with its own relaxation as control variate."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import refuse, stop
from logtrick._core.mesh import local
from logtrick._core.module import assign, static
from logtrick._core.samples import Runs
from logtrick.distributions import Distribution
from logtrick.estimators._base import Estimator
from logtrick.estimators._costs import Array, Costs
from logtrick.estimators._derivatives import Derivatives
from logtrick.estimators._logits import hard_draw, logits_of, noisy_logits_of, score, uniforms
from logtrick.estimators._needs import BitsOrOneHot, DifferentiableCost, Need
from logtrick.estimators._points import Points
from logtrick.estimators._relaxed import positive_scalar
from logtrick.noise import Uniform

_NO_SECOND = (
    "REBAR(learn=True): the loss of the temperature needs the second derivative of the rest of the program, which has none, "
    "since a later site is right to first order only, say. Pass jax.lax.stop_gradient(temperature), or RELAX, which needs no "
    "derivative of the rest."
)


class REBAR(Estimator):
    """REBAR: the score function less a relaxation of f, whose gradient is added back by reparameterization.

    With z = φ + noise, x = H(z) the draw, z̃ ∼ p(z | x), y(z) = σ(z/τ) (softmax for one-hot rows),
    s = ∇ log p(x):

    ∇_φ E[f] ≈ (f(x) − η f(y(z̃))) s + η ∇_φ f(y(z)) − η ∇_φ f(y(z̃)), unbiased for every τ and η.

    Cost: 3 evaluations of f, 2 of them at relaxed points with its gradient. The value is the mean
    of f over the hard draws. Where f depends on the parameters itself, its derivative is that of
    f(x) + η f(y(z)) − η f(y(z̃)). On its own toy problem it does not beat the score function, since
    the control variate correlates with x only through f at the decision boundary; leave-one-out
    does, with 2 evaluations.

    Args:
      temperature: τ > 0.
      scale: η, any number.
      coupled: z̃ has the value of z and the derivative of the conditional law; otherwise z̃ has noise
        of its own.
      learn: τ and η minimize the squared norm of the per-sample gradient with respect to the
        logits, by `aux.adaptive_loss` (`has_aux=True`). The derivative in τ is a second derivative
        of the later sites: where one of them has none, τ must be held constant.
    Raises:
      ValueError: τ is not positive; the distribution is neither Bernoullis nor one-hot rows.
      DerivativeOrderError: a second derivative was taken; τ learns before a site that is right to
        first order only.
    References:
      Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein (2017), "REBAR: Low-Variance, Unbiased
      Gradient Estimates for Discrete Latent Variable Models". Checked against the authors' code,
      tensorflow/models, `research/rebar/rebar.py` (coupled noise, one η a parameter; its
      `muprop_relaxation` adds τ/(τ + 1) φ), and, with noise of its own, against duvenaud/relax,
      `pytorch_toy.py`; the conditional z̃ against appendix B of Grathwohl et al. (2018).
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda logit: lt.expect(jax.random.key(0), lambda x: (x - 0.45) ** 2, lt.Bernoulli(logit),
      ...                                 estimator=lt.REBAR(), num_samples=100_000)
      >>> round(jax.grad(value)(0.0).item(), 2)                # exact: 0.025
      0.03
    """

    temperature: Any = 0.5
    scale: Any = 1.0
    coupled: bool = static(default=False)
    learn: bool = static(default=False)
    max_order: ClassVar[float] = 1
    mixed_orders: ClassVar[bool] = True
    evaluations: ClassVar[int | None] = 3
    needs: ClassVar[frozenset[type[Need]]] = frozenset({BitsOrOneHot, DifferentiableCost})
    reference: ClassVar[str] = (
        "Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein (2017), REBAR: Low-Variance, Unbiased Gradient Estimates for "
        "Discrete Latent Variable Models."
    )

    def __post_init__(self) -> None:
        assign(self, temperature=positive_scalar("REBAR", "temperature", self.temperature))

    @property
    def adaptive(self) -> bool:
        return self.learn

    def noise(self, dist: Distribution) -> Uniform:
        return uniforms(dist, 2)

    @property
    def derivatives_of_rest(self) -> int:  # type: ignore[override]  # only its training needs them
        return 2 if self.learn else 0

    def draw(self, noise: Any, dist: Distribution) -> Points:
        x = hard_draw(noise[0], dist)
        relax = _relaxations(noise, dist, x, self.coupled)
        temperature = stop(self.temperature) if self.learn else self.temperature
        relaxed = relax(logits_of(dist), temperature).astype(x.dtype)
        return Points(jnp.concatenate([x[None], relaxed]), dist, stacked=True, kept=noise)

    def close(self, costs: Costs, points: Points, runs: Runs) -> Costs:
        dist, f = points.dist, costs.total
        x = stop(points.x[0])
        coefficient = (f[0] - self.scale * f[2]) * stop(score(dist, x.astype(f.dtype)))
        paths = stop(self.scale) * (f[1] - f[2])
        loss = self._adaptive_loss(costs.derivatives, x, points) if self.learn else None
        return (
            costs.averaged(jnp.array([1.0, 0.0, 0.0], f.dtype))
            .first_order(coefficient, logits_of(dist))
            .plus(paths - stop(paths))
            .learned(loss)
        )

    def _adaptive_loss(self, at: Derivatives, x: Array, points: Points) -> Array:
        """The adaptive loss, whose gradient reaches τ and η alone."""
        learned = jax.tree.map(jnp.asarray, (self.temperature, self.scale))
        of_learned = lambda learned: self._loss(learned, at, x, points.kept, points.dist)
        loss, slopes = jax.value_and_grad(of_learned)(*local(of_learned, stop(learned)))
        temperature, scale = learned
        if at.bend is None:
            temperature = refuse(temperature, _NO_SECOND, DerivativeOrderError)
        moved = [jnp.sum(stop(d) * (v - stop(v))) for d, v in zip(slopes, (temperature, scale))]
        return stop(loss) + sum(moved)

    def _loss(
        self, learned: Any, at: Derivatives, x: Array, noise: Array, dist: Distribution
    ) -> Array:
        """The squared norm of one sample's gradient with respect to the logits.

        It is a function of learned = (τ, η), right to first order around the values at which `at` was evaluated.
        """
        temperature, scale = learned
        logits = stop(logits_of(dist))
        relax = _relaxations(noise, dist, x, self.coupled)
        of_logits = lambda l: relax(l, temperature)
        relaxed, through = jax.vjp(of_logits, *local(of_logits, logits))
        away = [
            jnp.concatenate([jnp.zeros_like(x)[None], (relaxed - stop(relaxed)).astype(x.dtype)])
        ]
        f, slopes = at.held.total + at.push(away).total, at.slope[0]
        slopes = slopes if at.bend is None else slopes + at.bend(away)[0]
        signs = jnp.array([1.0, -1.0], logits.dtype).reshape(2, *[1] * logits.ndim)
        paths = through(slopes[1:].astype(logits.dtype) * signs)[0]
        gradient = (f[0] - scale * f[2]) * stop(score(dist, x.astype(logits.dtype))) + scale * paths
        return jnp.sum(gradient**2)


def _relaxations(
    noise: Array, dist: Distribution, x: Array, coupled: bool
) -> Callable[[Array, Any], Array]:
    """(logits, τ) -> y(z) and y(z̃), stacked."""
    noisy, held = noisy_logits_of(dist), stop(logits_of(dist))
    hard = x.astype(held.dtype)
    free = (
        noisy.coupled(held, hard, noisy.perturbed(held, noise[0]))
        if coupled
        else noisy.free(noise[1])
    )

    def relax(logits: Array, temperature: Any) -> Array:
        z, conditional = noisy.perturbed(logits, noise[0]), noisy.conditional(logits, hard, free)
        return jnp.stack([noisy.relaxed(z, temperature), noisy.relaxed(conditional, temperature)])

    return relax

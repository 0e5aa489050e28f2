"""Taylor expansions of f around the mean as control variates: the delta method and MuProp."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from logtrick._core.kernel import stop
from logtrick._core.module import static
from logtrick.baselines._base import Array, Baseline, Site
from logtrick.distributions import Distribution, value_of
from logtrick.supports import Boolean


class DeltaMethod(Baseline):
    """The Taylor expansion of f around the mean μ as a control variate (delta method).

    h(x) = f(μ) + f′(μ)·(x − μ) [+ ½ (x − μ)ᵀ f″(μ) (x − μ)], whose expectation is known: the
    gradient estimate is (f − h) s + ∇E h, coefficients held constant. Variance 0 where f is its own
    expansion (a quadratic under a normal); where f is far from it over the width of p, it can be
    worse than no control variate at all: measure it. Cost: one further evaluation of f, its
    gradient, and for the second order its Hessian.

    Args:
      order: 1 or 2, of the expansion.
    Raises:
      ValueError: another order; no mean in closed form; second order without a closed-form variance
        of independent coordinates.
    References:
      Paisley, Blei & Jordan (2012), "Variational Bayesian Inference with Stochastic Search";
      Mohamed, Rosca, Figurnov & Mnih (2020), "Monte Carlo Gradient Estimation in Machine Learning",
      section 8.1. Checked against their code, deepmind/mc_gradients, `control_variates.py`, which
      differentiates the coefficients too and scales by a regressed β.
    Example:
      >>> import jax, logtrick as lt
      >>> value = lambda mu: lt.expect(jax.random.key(0), lambda x: (x - 3.0) ** 2, lt.Normal(mu, 1.0), num_samples=1,
      ...                              estimator=lt.ScoreFunction(lt.DeltaMethod()))
      >>> round(jax.grad(value)(1.0).item(), 4)                # exact: 2 (1 − 3), from one draw
      -4.0
    """

    order: int = static(default=2)
    reference: ClassVar[str] = (
        "Paisley, Blei & Jordan (2012), Variational Bayesian Inference with Stochastic Search."
    )

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"DeltaMethod(order=…) needs 1 or 2; got {self.order!r}. Pass 2.")

    @property
    def expansion_order(self) -> int:
        return self.order

    def check(self, dist: Distribution) -> None:
        family = type(dist).__name__.lstrip("_")
        if dist.closed_forms.mean is None:
            raise ValueError(
                f"DeltaMethod() needs a mean in closed form; {family} has none. Use LeaveOneOut()."
            )
        if self.order == 2 and not _independent_with_variances(dist):
            raise ValueError(
                f"DeltaMethod(order=2) needs independent coordinates with variances in closed form; {family} has none. "
                "Use DeltaMethod(order=1)."
            )

    def term(self, site: Site) -> Array:
        return _taylor(site)


class MuProp(Baseline):
    """MuProp: the first-order expansion of f around the mean of Bernoullis, p = σ(logits), as a control variate.

    (f(x) − f(p) − f′(p)·(x − p)) s + f′(p)·∇p, s = x − p per logit: unbiased; f must accept numbers
    between 0 and 1. Cost: one further evaluation of f and its gradient. It can be worse than a mean
    baseline.

    Raises:
      ValueError: the distribution is not of Bernoullis.
    References:
      Gu, Levine, Sutskever & Mnih (2016), "MuProp: Unbiased Backpropagation for Stochastic Neural
      Networks". Checked against the code of later papers: beam2d/sbn,
      `sbn/estimators/likelihood_ratio.py`, and tensorflow/models, `research/rebar/rebar.py` (which
      learns scales of the two terms).
    Example:
      >>> import jax, jax.numpy as jnp, logtrick as lt
      >>> value = lambda logits: lt.expect(jax.random.key(0), lambda x: 2.0 * x[0] - x[1], lt.Bernoulli(logits),
      ...                                  estimator=lt.ScoreFunction(lt.MuProp()), num_samples=1)
      >>> jax.grad(value)(jnp.zeros(2)).tolist()               # exact for linear f: ¼ (2, −1)
      [0.5, -0.25]
    """

    reference: ClassVar[str] = (
        "Gu, Levine, Sutskever & Mnih (2016), MuProp: Unbiased Backpropagation for Stochastic Neural Networks."
    )

    @property
    def expansion_order(self) -> int:
        return 1

    def check(self, dist: Distribution) -> None:
        with_mean = dist.closed_forms.mean is not None
        if not isinstance(dist.support, Boolean) or not with_mean:
            family = type(dist).__name__.lstrip("_")
            instead = "DeltaMethod(order=1), or LeaveOneOut()" if with_mean else "LeaveOneOut()"
            raise ValueError(f"MuProp() needs Bernoullis; got {family}. Use {instead}.")

    def term(self, site: Site) -> Array:
        return _taylor(site)


def _independent_with_variances(dist: Distribution) -> bool:
    """Whether variances are known and each coordinate is a factor: entries of a one-hot row, or of a simplex, are not."""
    if dist.closed_forms.variance is None or dist.independent_factors is None:
        return False
    factors = jax.eval_shape(dist.log_prob_factors, jnp.zeros(dist.event_shape))
    return factors.shape == dist.event_shape


def _taylor(site: Site) -> Array:
    """E h(θ) − E h − h(x) (box − 1), with h's coefficients held constant.

    At μ(θ) = μ + δ: E h(θ) − E h = f′·δ + ½ δᵀ f″ δ + ½ Σ f″_dd (Var x_d(θ) − Var x_d).
    """
    value, slope, *curved = site.expansion
    live = site.dist.mean()
    mean = stop(live)
    away, moved = value_of(site.x) - mean, live - mean
    h, expected = value + jnp.sum(slope * away), jnp.sum(slope * moved)
    for hessian in curved:
        size = mean.size
        flat = hessian.reshape(size, size)
        quadratic = lambda v: 0.5 * v.reshape(size) @ flat @ v.reshape(size)
        variance = site.dist.variance()
        spread = 0.5 * jnp.sum(jnp.diagonal(flat) * (variance - stop(variance)).reshape(size))
        h, expected = h + quadratic(away), expected + quadratic(moved) + spread
    return (expected - h * (site.box - 1)).astype(site.total.dtype)

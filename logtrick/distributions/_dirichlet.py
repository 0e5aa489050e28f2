"""The Dirichlet distribution."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma

from logtrick.bijectors import Exp
from logtrick.distributions._capabilities import ClosedForms
from logtrick.distributions._draw import Draw
from logtrick.distributions._factorized import Factorized
from logtrick.distributions._implicit import implicit_logit
from logtrick.distributions._log_densities import dirichlet_log_density
from logtrick.distributions._parameters import Array, parameters, positive, where_inside
from logtrick.distributions._special import gamma_divergence, gamma_entropy
from logtrick.noise import KeyPerRun
from logtrick.supports import Simplex, Support


class Dirichlet(Factorized):
    """Independent Dirichlets, p(x) = Γ(Σ a) Π xₖ^(aₖ − 1) / Γ(aₖ) in every row, a = concentration.

    Reparameterized to first order, through the marginals: xₖ ~ Beta(aₖ, Σ others) moves with aₖ by its univariate
    implicit derivative, and the others, independent of it given their sum, shrink in proportion. Drawn in log space, and
    scored there: an entry that underflows to 0 keeps its finite score.

    Args:
      concentration: a > 0, shape (…, K), K ≥ 2; draws have its shape, and rows that sum to 1.
    Raises:
      ValueError: no row of two or more, or a concrete concentration is not positive and finite. (Traced ones give nan.)
    References:
      Jankowiak & Obermeyer (2018), "Pathwise Derivatives Beyond the Reparameterization Trick".
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> round(lt.Dirichlet(jnp.ones(3)).log_prob(jnp.array([0.2, 0.3, 0.5])).item(), 4)     # log 2!
      0.6931
    """

    concentration: Any
    reparameterized = True
    charts = (Exp(), None)  # the coordinates are log x, whose rows sum to 1 as x does

    def __post_init__(self) -> None:
        parameters(self, concentration=self.concentration)
        positive(self, "concentration")
        if self.concentration.ndim == 0 or self.concentration.shape[-1] < 2:
            raise ValueError(
                f"Dirichlet(concentration=…) needs shape (…, K), K at least 2; "
                f"got {self.concentration.shape}. Use Beta."
            )

    @property
    def support(self) -> Support:
        return Simplex()

    @property
    def noise_spec(self) -> KeyPerRun:
        return KeyPerRun()

    @property
    def closed_forms(self) -> ClosedForms:
        return ClosedForms(self._mean, self._variance, self._entropy, self._kl_divergence)

    def _transform(self, noise: Array) -> Draw:
        a = self.concentration
        log_gamma = jax.random.loggamma(noise, lax.stop_gradient(a), dtype=a.dtype)
        log_x = jax.nn.log_softmax(_moving(log_gamma, a), axis=-1)
        return Draw(jnp.exp(log_x), log_x, Exp())

    def _log_kernel(self, x: Any) -> Array:
        a = self.concentration
        x = jnp.asarray(x)
        slack = 8 * a.shape[-1] * jnp.finfo(a.dtype).eps
        inside = jnp.all(x >= 0, axis=-1) & (jnp.abs(jnp.sum(x, axis=-1) - 1) <= slack)
        log_x = jnp.log(jnp.where(inside[..., None], x, 1.0))
        return where_inside(inside, dirichlet_log_density(a, log_x))

    def _log_kernel_at(self, coordinates: Any) -> Array:
        return dirichlet_log_density(self.concentration, coordinates)

    def _mean(self) -> Array:
        return self.concentration / jnp.sum(self.concentration, axis=-1, keepdims=True)

    def _variance(self) -> Array:
        mean = self._mean()
        return mean * (1 - mean) / (jnp.sum(self.concentration, axis=-1, keepdims=True) + 1)

    def _entropy(self) -> Array:
        a = self.concentration
        total = jnp.sum(a, axis=-1)
        of_total = gamma_entropy(total) + (a.shape[-1] - 1) * digamma(total)
        return jnp.sum(jnp.sum(gamma_entropy(a), axis=-1) - of_total)

    def _kl_divergence(self, other: Any) -> Array:
        a, b = self.concentration, other.concentration
        of_total = gamma_divergence(jnp.sum(a, axis=-1), jnp.sum(b, axis=-1))
        return jnp.sum(jnp.sum(gamma_divergence(a, b), axis=-1) - of_total)


@jax.custom_jvp
def _moving(log_gamma: Array, a: Array) -> Array:
    """`log_gamma` itself, each entry with the implicit derivative of its marginal's logit in its own a."""
    return log_gamma


@_moving.defjvp
def _moving_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    log_gamma, a = primals
    others = lax.stop_gradient(_without(a, lax.cumsum, jnp.add, 0.0, a.ndim - 1))
    logit = log_gamma - _without(log_gamma, lax.cumlogsumexp, jnp.logaddexp, -jnp.inf, a.ndim - 1)
    return log_gamma, jax.jvp(lambda a: implicit_logit(logit, a, others), (a,), (tangents[1],))[1]


def _without(x: Array, cumulate: Any, combine: Any, empty: float, axis: int) -> Array:
    """The combination of all entries but one, for each: of what is before and what is after, nothing subtracted."""
    blank = jnp.full_like(x[..., :1], empty)
    before = jnp.concatenate([blank, cumulate(x, axis=axis)[..., :-1]], axis=-1)
    after = jnp.concatenate([cumulate(x, axis=axis, reverse=True)[..., 1:], blank], axis=-1)
    return combine(before, after)

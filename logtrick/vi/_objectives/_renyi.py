"""Importance-weighted and Rényi bounds."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.kernel import first_order, stop
from logtrick._core.module import assign, static
from logtrick.vi._objectives._base import Array, Objective


class IWELBO(Objective):
    """The importance-weighted bound of k draws: E[log (1/k) Σᵢ wᵢ], between the ELBO (k = 1) and log Z.

    Args:
      k: draws of one bound, at least 1.
    Raises:
      TypeError: k is no static int.
      ValueError: k is below 1.
    References:
      Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders".
    Example:
      >>> import jax, jax.numpy as jnp
      >>> from logtrick import vi
      >>> round(vi.IWELBO(2).value(jnp.log(jnp.array([1.0, 3.0]))).item(), 4)          # log 2
      0.6931
    """

    k: int = static()
    reference: ClassVar[str] = (
        "Burda, Grosse & Salakhutdinov (2016), Importance Weighted Autoencoders."
    )

    def __post_init__(self) -> None:
        assign(self, k=checks.positive_int("vi.IWELBO", "k", self.k))

    @property
    def num_draws(self) -> int:
        return self.k

    def value(self, log_weights: Array) -> Array:
        return log_mean_exp(log_weights)


class Renyi(Objective):
    """The variational Rényi bound of k draws: E[1/(1 − α) log (1/k) Σᵢ wᵢ^(1 − α)].

    α = 0 is the IWELBO, α → 1 the ELBO; for α ≥ 0 it is a lower bound of log Z at any k, and is maximized. CUBO(n), the
    χ upper bound, is `Renyi(1 − n)`: for α < 0 the bound is minimized, through log q with the draws held constant
    (`HeldDraws`): the derivative of the bound at k → ∞ by normalized weights, biased by O(1/k). The bound of finite k itself
    would be minimized by moving q off the posterior.

    Args:
      alpha: α, a static number other than 1 (that is `ELBO()`).
      k: draws of one bound, at least 2.
    Raises:
      TypeError: k is no static int, α no static number.
      ValueError: α = 1, or k below 2, at which the bound is the ELBO whatever α.
    References:
      Li & Turner (2016), "Rényi Divergence Variational Inference"; Dieng, Tran, Ranganath, Paisley & Blei (2017),
      "Variational Inference via χ Upper Bound Minimization".
    Example:
      >>> import jax.numpy as jnp
      >>> from logtrick import vi
      >>> log_w = jnp.log(jnp.array([1.0, 4.0]))
      >>> [round(vi.Renyi(a, k=2).value(log_w).item(), 4) for a in (-1.0, 0.0, 0.5)]   # α = 0: log 2.5
      [1.07, 0.9163, 0.8109]
    """

    alpha: float = static()
    k: int = static(default=16)
    reference: ClassVar[str] = "Li & Turner (2016), Rényi Divergence Variational Inference."

    def __post_init__(self) -> None:
        if isinstance(self.alpha, bool) or not isinstance(self.alpha, int | float):
            raise TypeError(
                f"vi.Renyi(alpha=…) needs a static number; got {type(self.alpha).__name__}. Pass a Python float."
            )
        if self.alpha == 1:
            raise ValueError("vi.Renyi(alpha=…) needs α other than 1; got 1. Use vi.ELBO().")
        assign(self, k=checks.positive_int("vi.Renyi", "k", self.k, 2))
        assign(self, alpha=float(self.alpha))

    @property
    def num_draws(self) -> int:
        return self.k

    @property
    def maximize(self) -> bool:  # type: ignore[override]  # an upper bound for α < 0
        return self.alpha >= 0

    def value(self, log_weights: Array) -> Array:
        power = 1 - self.alpha
        return log_mean_exp(power * log_weights) / power

    def held(self, log_weights: Array) -> Array:
        # ∇ 1/(1 − α) log ∫ q^α p^(1 − α) = α/(1 − α) E[∇ log q] under the weights w^(1 − α); log w has −log q in it
        power = 1 - self.alpha
        weights = jax.nn.softmax(power * log_weights)
        moving = first_order("vi.Renyi", -self.alpha / power * weights, log_weights)
        return stop(self.value(log_weights)) + moving


def log_mean_exp(x: Array) -> Array:
    """log (1/n) Σ exp x of a vector."""
    return jax.nn.logsumexp(x) - jnp.log(jnp.asarray(x.shape[0], x.dtype))


def at_least(where: str, num_draws: Any, least: int) -> None:
    """Refuse fewer than `least` log-weights."""
    if num_draws < least:
        raise ValueError(
            f"{where} needs num_samples >= {least}; got {num_draws}. Use more draws: with fewer the gradient is 0."
        )

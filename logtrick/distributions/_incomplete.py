"""Distribution functions of gammas and betas: the incomplete gamma and beta functions, right for large parameters too.

`jax.scipy.special.gammainc` and `betainc` take the exponential of a difference of log-gammas. In float32 that is off by 1e-3
for parameters of 1e4, and gives −1841 for 1e7.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import gammainc, gammaincc, ndtr

from logtrick.distributions._implicit import continued_fraction, gamma_slope, slopes
from logtrick.distributions._log_densities import beta_log_density, gamma_log_density
from logtrick.distributions._special import deviance

Array = jax.Array
_EXPANDED = 20.0  # from here on the expansion below is right to 1e-6
# Temme's C₀ and C₁ in powers of η.
_FIRST = (
    -1 / 3,
    1 / 12,
    -2 / 135,
    1 / 864,
    1 / 2835,
    -139 / 777_600,
    1 / 25_515,
    -571 / 261_273_600,
)
_SECOND = (-1 / 540, -1 / 288, 1 / 378, -77 / 77_760, 1 / 4_860)


@jax.custom_jvp
def gamma_cdf(a: Array, m: Array) -> Array:
    """P(X ≤ m) of X ~ Gamma(a, 1), elementwise; differentiable to first order."""
    return _gamma_tail(a, m, upper=False)


@gamma_cdf.defjvp
def _gamma_cdf_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    a, m = primals
    in_a, in_m = tangents
    density = jnp.where(m > 0, jnp.exp(gamma_log_density(a, m, jnp.log(m))), 0.0)
    return gamma_cdf(a, m), density * (in_m - gamma_slope(m, a) * in_a)


def poisson_cdf(x: Array, rate: Array) -> Array:
    """P(X ≤ x) of X ~ Poisson(rate), rate > 0: that of a Gamma(x + 1, 1) above the rate."""
    count = jnp.clip(jnp.floor(x), -1.0, 1e30)
    return jnp.where(count < 0, 0.0, _gamma_tail(jnp.maximum(count, 0.0) + 1, rate, upper=True))


def _gamma_tail(a: Array, m: Array, *, upper: bool) -> Array:
    """P(X ≤ m), or P(X > m), of X ~ Gamma(a, 1): in float32 for large a by Temme's uniform expansion,

        P(X ≤ m) = Φ(√a η) − φ(√a η) (C₀(η) + C₁(η)/a + …) / √a,    a η²/2 = D(a, m),  η > 0 for m > a.

    Temme (1979), "The Asymptotic Expansion of the Incomplete Gamma Functions"; the coefficients from DiDonato & Morris
    (1986), "Computation of the Incomplete Gamma Function Ratios and Their Inverse".
    """
    directly = gammaincc if upper else gammainc
    if jnp.result_type(a, m).itemsize > 4:
        return directly(a, m)
    large = jnp.maximum(a, _EXPANDED)
    held = jnp.where(m > 0, m, 1.0)
    twice = 2 * jnp.maximum(deviance(large, held, jnp.log(large) - jnp.log(held)), 0.0)
    z = jnp.where(held > large, 1.0, -1.0) * jnp.sqrt(twice)
    eta = jnp.clip(z / jnp.sqrt(large), -1.5, 1.5)  # beyond, φ does not count
    series = _polynomial(_FIRST, eta) + _polynomial(_SECOND, eta) / large
    rest = jnp.exp(-0.5 * twice) / jnp.sqrt(2 * math.pi * large) * series
    expanded = ndtr(-z) + rest if upper else ndtr(z) - rest
    at_zero = 1.0 if upper else 0.0
    expanded = jnp.where(m > 0, expanded, jnp.where(jnp.isnan(m), jnp.nan, at_zero))
    return jnp.where(a < _EXPANDED, directly(jnp.minimum(a, _EXPANDED), m), expanded)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    total = jnp.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = coefficient + x * total
    return total


@jax.custom_jvp
def beta_cdf(a: Array, b: Array, log_x: Array, log_rest: Array) -> Array:
    """P(X ≤ x) of X ~ Beta(a, b), x in (0, 1), elementwise; differentiable to first order.

    Args:
      a, b: the concentrations.
      log_x: log x, in which the derivative in x is taken.
      log_rest: log(1 − x).
    """
    x = jnp.exp(log_x)
    below = x < (a + 1) / (a + b + 2)
    p = jnp.where(below, a, b)
    q = jnp.where(below, b, a)
    log_p = jnp.where(below, log_x, log_rest)
    log_q = jnp.where(below, log_rest, log_x)
    fraction = continued_fraction(jnp.exp(log_p), jnp.exp(log_q), p, q)[0]
    tail = jnp.exp(beta_log_density(p, q, log_p, log_q) + log_p + log_q) * fraction / p
    return jnp.where(below, tail, 1 - tail)


@beta_cdf.defjvp
def _beta_cdf_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    a, b, log_x, log_rest = primals
    in_a, in_b, in_log_x, _ = tangents
    times_x = jnp.exp(beta_log_density(a, b, log_x, log_rest) + log_x)
    slope_a, slope_b = slopes(log_x - log_rest, a, b)
    moved = (slope_a * in_a + slope_b * in_b) * jnp.exp(log_rest)
    return beta_cdf(a, b, log_x, log_rest), times_x * (in_log_x - moved)

"""Log-gammas of large arguments, and log densities made of them, without their cancellation.

    log Γ(x) = (x − ½) log x − x + ½ log 2π + s(x),    s(x) = 1/12x − 1/360x³ + 1/1260x⁵ − 1/1680x⁷ + 1/1188x⁹ − …

In float32 a log-gamma of 1e6 is right to half a nat only. In a log density such terms cancel, and what is left of them is

    D(x, m) = x log(x/m) − (x − m) ≥ 0,

the deviance of x from its mean m, which is computed without a difference of large numbers where x is near m
(Loader 2000, "Fast and Accurate Computation of Binomial Probabilities"). `jax.scipy.stats` subtracts log-gammas, and its
`betaln` is off by 1e-6 in float64 for arguments between 8 and 20.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import digamma, gammaln

Array = jax.Array
_LARGE = 10.0  # from here on s(x) is right to 2e-14
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_LOG_FACTORIALS = np.array([math.lgamma(k + 1) for k in range(10)])


def _remainder_of_large(x: Array) -> Array:
    """s(x) for x ≥ 10."""
    r = 1 / x**2
    return (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / x


def _remainder(x: Array) -> Array:
    """s(x) for x > 0."""
    small = jnp.minimum(x, _LARGE)
    by_definition = gammaln(small + 1) - (small + 0.5) * jnp.log(small) + small - _HALF_LOG_2PI
    return jnp.where(x < _LARGE, by_definition, _remainder_of_large(jnp.maximum(x, _LARGE)))


def _digamma_remainder_of_large(x: Array) -> Array:
    """log x − 1/2x − ψ(x) = −s′(x) = 1/12x² − 1/120x⁴ + 1/252x⁶ − 1/240x⁸ + 1/132x¹⁰ − …, for x ≥ 10."""
    r = 1 / x**2
    return r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))


@jax.custom_jvp
def log_beta(a: Any, b: Any) -> Array:
    """log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b), elementwise; ∂ₐ log B = ψ(a) − ψ(a + b)."""
    total = a + b
    main = -(a - 0.5) * jnp.log1p(b / a) - (b - 0.5) * jnp.log1p(a / b) - 0.5 * jnp.log(total)
    return main + _HALF_LOG_2PI + (_remainder(a) + _remainder(b) - _remainder(total))


def _log_beta_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    a, b = primals
    value = log_beta(a, b)
    tangent = jnp.zeros_like(value)
    for x, y, t in ((a, b, tangents[0]), (b, a, tangents[1])):
        if not isinstance(t, SymbolicZero):
            tangent = tangent - digamma_difference(x, y) * t
    return value, tangent


log_beta.defjvp(_log_beta_jvp, symbolic_zeros=True)


def deviance(x: Array, m: Array) -> Array:
    """D(x, m) for positive x and m."""
    return _deviance(x, m, jnp.log(x) - jnp.log(m))


def _deviance(x: Array, m: Array, log_ratio: Array) -> Array:
    """D(x, m), log(x/m) being given for x far from m, also where m is too small or too large for a number."""
    return x * _log_ratio(x, m, log_ratio) - (x - m)


def _log_ratio(x: Array, m: Array, far: Array) -> Array:
    """log(x/m): that of 1 + (x − m)/m, in which no digit is lost where x is near m; `far` elsewhere."""
    near = (x > 0.1 * m) & (x < 1e6 * m)
    return jnp.where(near, jnp.log1p(jnp.where(near, (x - m) / m, 0.0)), far)


def poisson_log_density(x: Array, rate: Array) -> Array:
    """x log rate − rate − log x! for whole x ≥ 0, elementwise; x is held constant.

    The value is Loader's, held constant; the derivative is that of x log rate − rate, to every order.
    """
    x, held, log_rate = lax.stop_gradient(x), lax.stop_gradient(rate), jnp.log(rate)
    held_log = lax.stop_gradient(log_rate)
    return _poisson_value(x, held, held_log) + x * (log_rate - held_log) - (rate - held)


def _poisson_value(x: Array, m: Array, log_m: Array) -> Array:
    """x log m − m − log x! for whole x ≥ 0, without a derivative."""
    below = jnp.minimum(x, _LARGE - 1)
    log_factorial = jnp.asarray(_LOG_FACTORIALS, m.dtype)[below.astype(jnp.int32)]
    by_table = below * log_m - m - log_factorial
    large = jnp.maximum(x, _LARGE)
    log_large = jnp.log(large)
    by_stirling = (
        -_deviance(large, m, log_large - log_m)
        - 0.5 * log_large
        - (_HALF_LOG_2PI + _remainder_of_large(large))
    )
    return jnp.where(x < _LARGE, by_table, by_stirling)


def binomial_log_density(x: Array, n: Array, log_p: Array, log_q: Array) -> Array:
    """log C(n, x) + x log p + (n − x) log q for whole 0 ≤ x ≤ n, elementwise; x and n are held constant.

    Two Poissons of means N p and N q, given their sum n, are binomial for every N: here N is n, or 1 where n is 0. The value
    is held constant; the derivative is that of x log p + (n − x) log q, to every order.
    """
    x, n = lax.stop_gradient((x, n))
    held_p, held_q = lax.stop_gradient((log_p, log_q))
    mean = jnp.maximum(n, 1.0)
    log_mean = jnp.log(mean)
    value = (
        _poisson_value(x, mean * jnp.exp(held_p), log_mean + held_p)
        + _poisson_value(n - x, mean * jnp.exp(held_q), log_mean + held_q)
        - _poisson_value(n, mean, log_mean)
    )
    return value + x * (log_p - held_p) + (n - x) * (log_q - held_q)


@jax.custom_jvp
def negative_binomial_log_density(x: Array, r: Array, log_p: Array, log_q: Array) -> Array:
    """log Γ(x + r) / (x! Γ(r)) + x log p + r log q for whole x ≥ 0 and r > 0, or x = r = 0; x is held constant.

    Below 10 the coefficient is the product of (r + i) / (i + 1) over i < x. From 10 on, with y = x + r,

        s(y) − s(x) − s(r) − D(x, y p) − D(r, y q) − ½ log 2πx y/r.
    """
    few = x < _LARGE
    scale = jnp.maximum(
        r, 1.0
    )  # the product is of (r + i) / (i + 1) scale, which does not overflow
    product = jnp.ones_like(x)
    for i in range(int(_LARGE) - 1):
        product = product * jnp.where(x > i, (r + i) / ((i + 1) * scale), 1.0)
    large = jnp.maximum(x, _LARGE)
    log_either = jnp.log(jnp.where(few, product, large))  # one logarithm for both
    by_product = log_either + x * (log_p + jnp.log(scale)) + r * log_q

    held = jnp.where(r == 0, 1.0, r)
    total = large + held
    log_total, log_held = jnp.log(total), jnp.log(held)
    deviances = _deviance(large, total * jnp.exp(log_p), log_either - (log_total + log_p))
    deviances += _deviance(held, total * jnp.exp(log_q), log_held - (log_total + log_q))
    remainders = _remainder_of_large(total) - _remainder_of_large(large) - _remainder(held)
    logs = 0.5 * (log_either + (log_total - log_held)) + _HALF_LOG_2PI
    return jnp.where(few, by_product, remainders - deviances - logs)


def _negative_binomial_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, r, log_p, log_q = primals
    _, in_r, in_log_p, in_log_q = tangents
    value = negative_binomial_log_density(*primals)
    tangent = jnp.zeros_like(value)
    if not isinstance(in_r, SymbolicZero):
        # ψ(x + r) − ψ(r), which is 0 for x = 0, and is not used for r = 0 and another x
        rising = digamma_difference(jnp.where((r == 0) | (x == 0), 1.0, r), x)
        tangent = tangent + (rising + log_q) * in_r
    if not isinstance(in_log_p, SymbolicZero):
        tangent = tangent + x * in_log_p
    if not isinstance(in_log_q, SymbolicZero):
        tangent = tangent + r * in_log_q
    return value, tangent


negative_binomial_log_density.defjvp(_negative_binomial_jvp, symbolic_zeros=True)


@jax.custom_jvp
def gamma_log_density(a: Array, m: Array, log_m: Array) -> Array:
    """(a − 1) log m − m − log Γ(a), elementwise; from a = 10 on −D(a, m) − log m + ½ log a/2π − s(a).

    Args:
      a: the concentration.
      m: rate times x.
      log_m: its logarithm, in which the derivative is taken, and which is right where m is too small for a number.
    """
    small = jnp.minimum(a, _LARGE)
    direct = jnp.where(a == 1, 0.0, (small - 1) * log_m) - m - gammaln(small)
    large = jnp.maximum(a, _LARGE)
    log_large = jnp.log(large)
    by_stirling = (
        (large - 1) * _log_ratio(m, large, log_m - log_large)
        - (m - large)
        - (0.5 * log_large + _HALF_LOG_2PI + _remainder_of_large(large))
    )
    return jnp.where(a < _LARGE, direct, by_stirling)


def _gamma_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    a, m, log_m = primals
    in_a, _, in_log_m = tangents
    value = gamma_log_density(a, m, log_m)
    tangent = jnp.zeros_like(value)
    if not isinstance(in_a, SymbolicZero):
        tangent = tangent + (log_m - digamma(a)) * in_a
    if not isinstance(in_log_m, SymbolicZero):
        tangent = tangent + (a - 1 - jnp.exp(log_m)) * in_log_m
    return value, tangent


gamma_log_density.defjvp(_gamma_jvp, symbolic_zeros=True)


def beta_log_density(a: Array, b: Array, log_x: Array, log_rest: Array) -> Array:
    """(a − 1) log x + (b − 1) log(1 − x) − log B(a, b), elementwise: `dirichlet_log_density` of two entries."""
    total = a + b
    log_total = jnp.log(total)
    terms = _share(a, log_x + log_total) + _share(b, log_rest + log_total)
    return terms - gamma_log_density(total, total, log_total) + log_total


def dirichlet_log_density(a: Array, log_x: Array) -> Array:
    """log Γ(t) + Σ (aₖ − 1) log xₖ − log Γ(aₖ), t = Σ aₖ, along the last axis of K entries.

    Independent gammas of concentrations aₖ, given that their sum is t, are t x: with the log densities gₖ at t xₖ and g of
    Gamma(t) at t, it is Σ gₖ − g + (K − 1) log t.
    """
    total = jnp.sum(a, axis=-1, keepdims=True)
    log_total = jnp.log(total)
    terms = jnp.sum(_share(a, log_x + log_total), axis=-1)
    given = gamma_log_density(total, total, log_total) - (a.shape[-1] - 1) * log_total
    return terms - given[..., 0]


def _share(a: Array, log_m: Array) -> Array:
    return gamma_log_density(a, jnp.exp(log_m), log_m)


def gamma_entropy(a: Array) -> Array:
    """a + log Γ(a) + (1 − a) ψ(a), the entropy of a gamma variate of rate 1, elementwise."""
    small, large = jnp.minimum(a, _LARGE), jnp.maximum(a, _LARGE)
    direct = small + gammaln(small) + (1 - small) * digamma(small)
    main = 0.5 * jnp.log(large) + _HALF_LOG_2PI + 0.5 - 0.5 / large
    rest = _remainder_of_large(large) + (large - 1) * _digamma_remainder_of_large(large)
    return jnp.where(a < _LARGE, direct, main + rest)


def gamma_divergence(a: Array, b: Array, ratio: Any = 1.0) -> Array:
    """The Kullback–Leibler divergence of Gamma(a, 1) from Gamma(b, ratio), elementwise:

    log Γ(b) − log Γ(a) − (b − a) ψ(a) − b log ratio + a (ratio − 1); for large a and b, with δ = (b − a)/a,

        D(b, a ratio) + ½ (δ − log(1 + δ)) + s(b) − s(a) + (b − a) (log a − 1/2a − ψ(a)).
    """
    direct = gammaln(b) - gammaln(a) - (b - a) * digamma(a) - b * jnp.log(ratio) + a * (ratio - 1)
    p, q = jnp.maximum(a, _LARGE), jnp.maximum(b, _LARGE)
    step = (q - p) / p
    rest = _remainder_of_large(q) - _remainder_of_large(p)
    rest += (q - p) * _digamma_remainder_of_large(p)
    by_stirling = deviance(q, p * ratio) + 0.5 * (step - jnp.log1p(step)) + rest
    return jnp.where((a < _LARGE) | (b < _LARGE), direct, by_stirling)


def digamma_difference(x: Array, step: Any) -> Array:
    """ψ(x + step) − ψ(x).

    For large x by ψ(x) = log x − 1/2x − 1/12x² + 1/120x⁴ − 1/252x⁶ + …, whose terms are subtracted on paper.
    """
    far_off = (x > 20) & (x + step >= 20)
    large, by = jnp.where(far_off, x, 20.0), jnp.where(far_off, step, 0.0)
    u, v = 1 / large, 1 / (large + by)
    inverses = by * u * v  # u − v; a step may be too small to be seen in x + step
    series = 1 / 2 + (u + v) * (1 / 12 - (u**2 + v**2) / 120 + (u**4 + u**2 * v**2 + v**4) / 252)
    far = jnp.log1p(by * u) + inverses * series
    return jnp.where(far_off, far, digamma(x + step) - digamma(x))

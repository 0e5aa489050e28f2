"""Log densities whose large terms cancel on paper: of counts, and of gammas, betas and Dirichlets.

`jax.scipy.stats` subtracts log-gammas, which in float32 leaves an error of nats for parameters of 1e6. Here the
subtraction is done on paper (`_special`), in float32 and float64.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import digamma, gammaln

from logtrick.distributions._special import (
    HALF_LOG_2PI,
    LARGE,
    deviance,
    digamma_difference,
    log_of_ratio,
    remainder,
    remainder_of_large,
)

Array = jax.Array
_LOG_FACTORIALS = np.array([math.lgamma(k + 1) for k in range(int(LARGE))])


def poisson_log_density(x: Array, rate: Array) -> Array:
    """x log rate − rate − log x! for whole x ≥ 0, elementwise; x is held constant.

    The value is computed by the deviance and held constant; the derivative is that of x log rate − rate, to every order.
    """
    x, held = lax.stop_gradient((x, rate))
    log_rate = jnp.log(rate)
    held_log = lax.stop_gradient(log_rate)
    return _poisson_value(x, held, held_log) + x * (log_rate - held_log) - (rate - held)


def _poisson_value(x: Array, m: Array, log_m: Array) -> Array:
    """x log m − m − log x! for whole x ≥ 0; from 10 on −D(x, m) − ½ log 2πx − s(x). Without a derivative."""
    below = jnp.minimum(x, LARGE - 1)
    log_factorial = jnp.asarray(_LOG_FACTORIALS, m.dtype)[below.astype(jnp.int32)]
    by_table = below * log_m - m - log_factorial
    large = jnp.maximum(x, LARGE)
    log_large = jnp.log(large)
    logs = 0.5 * log_large + HALF_LOG_2PI
    by_deviance = -deviance(large, m, log_large - log_m) - logs - remainder_of_large(large)
    return jnp.where(x < LARGE, by_table, by_deviance)


def binomial_log_density(x: Array, n: Array, log_p: Array, log_q: Array) -> Array:
    """log C(n, x) + x log p + (n − x) log q for whole 0 ≤ x ≤ n, elementwise; x and n are held constant.

    Two Poissons of means n p and n q, given that their sum is n, are binomial. The value is held constant; the derivative
    is that of x log p + (n − x) log q, to every order.
    """
    x, n = lax.stop_gradient((x, n))
    held_p, held_q = lax.stop_gradient((log_p, log_q))
    mean = jnp.maximum(n, 1.0)  # n = 0 has no logarithm
    log_mean = jnp.log(mean)
    value = (
        _poisson_value(x, mean * jnp.exp(held_p), log_mean + held_p)
        + _poisson_value(n - x, mean * jnp.exp(held_q), log_mean + held_q)
        - _poisson_value(n, mean, log_mean)
    )
    value = jnp.where(n == 0, 0.0, value)
    return value + x * (log_p - held_p) + (n - x) * (log_q - held_q)


@jax.custom_jvp
def negative_binomial_log_density(x: Array, r: Array, log_p: Array, log_q: Array) -> Array:
    """log Γ(x + r) / (x! Γ(r)) + x log p + r log q for whole x ≥ 0 and r > 0, or x = r = 0, elementwise.

    Below x = 10 the fraction is the product of (r + i) / (i + 1) over i < x. From 10 on the whole is, with y = x + r,

        s(y) − s(x) − s(r) − D(x, y p) − D(r, y q) − ½ log 2πx y/r.
    """
    few = x < LARGE
    scale = jnp.maximum(
        r, 1.0
    )  # the factors are divided by it, so that their product does not overflow
    product = jnp.ones_like(x)
    for i in range(int(LARGE) - 1):
        product = product * jnp.where(x > i, (r + i) / ((i + 1) * scale), 1.0)
    large = jnp.maximum(x, LARGE)
    log_either = jnp.log(jnp.where(few, product, large))  # one logarithm for both forms
    by_product = log_either + x * (log_p + jnp.log(scale)) + r * log_q

    held_r = jnp.where(r == 0, 1.0, r)
    log_r = jnp.log(held_r)
    total = large + held_r
    log_total = jnp.log(total)
    of_x = deviance(large, total * jnp.exp(log_p), log_either - (log_total + log_p))
    of_r = deviance(held_r, total * jnp.exp(log_q), log_r - (log_total + log_q))
    remainders = remainder_of_large(total) - remainder_of_large(large) - remainder(held_r)
    logs = 0.5 * (log_either + (log_total - log_r)) + HALF_LOG_2PI
    return jnp.where(few, by_product, remainders - of_x - of_r - logs)


def _negative_binomial_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, r, _, log_q = primals
    _, in_r, in_log_p, in_log_q = tangents  # x is held constant
    value = negative_binomial_log_density(*primals)
    tangent = jnp.zeros_like(value)
    if not isinstance(in_r, SymbolicZero):
        # ψ(x + r) − ψ(r); 0 at x = 0, for r = 0 too; for r = 0 and another x a number that nobody uses
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
    """(a − 1) log m − m − log Γ(a), elementwise; from a = 10 on (a − 1) log(m/a) − (m − a) − ½ log 2πa − s(a).

    Args:
      a: the concentration.
      m: the rate times x.
      log_m: its logarithm, in which the derivative is taken; it is a number where m underflows to 0.
    """
    small = jnp.minimum(a, LARGE)
    direct = jnp.where(a == 1, 0.0, (small - 1) * log_m) - m - gammaln(small)
    large = jnp.maximum(a, LARGE)
    log_large = jnp.log(large)
    main = (large - 1) * log_of_ratio(m, large, log_m - log_large) - (m - large)
    by_deviance = main - (0.5 * log_large + HALF_LOG_2PI + remainder_of_large(large))
    return jnp.where(a < LARGE, direct, by_deviance)


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

    Independent gammas of concentrations aₖ, given that their sum is t, are t x: with the log densities gₖ at t xₖ and that
    of their sum, g at t, it is Σ gₖ − g + (K − 1) log t.
    """
    total = jnp.sum(a, axis=-1, keepdims=True)
    log_total = jnp.log(total)
    terms = jnp.sum(_share(a, log_x + log_total), axis=-1)
    of_sum = gamma_log_density(total, total, log_total) - (a.shape[-1] - 1) * log_total
    return terms - of_sum[..., 0]


def _share(a: Array, log_m: Array) -> Array:
    return gamma_log_density(a, jnp.exp(log_m), log_m)

"""Log-gammas of large arguments without their cancellation, by Stirling's series with an exact remainder.

    log Γ(x) = (x − ½) log x − x + ½ log 2π + s(x),    s(x) = 1/12x − 1/360x³ + 1/1260x⁵ − 1/1680x⁷ + 1/1188x⁹ − …

In differences the large terms cancel on paper. (jax.scipy.special.betaln is off by 1e-6 in float64 for arguments
between 8 and 20; sums of gammaln lose 0.5 nats in float32 for arguments of 1e6.)
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
_REMAINDERS = np.array(
    [math.lgamma(k + 1) - (k + 0.5) * math.log(max(k, 1)) + k - _HALF_LOG_2PI for k in range(10)]
)


def _remainder(x: Array) -> Array:
    """s(x) for x ≥ 10."""
    r = 1 / x**2
    return (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / x


@jax.custom_jvp
def log_beta(a: Any, b: Any) -> Array:
    """log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b), elementwise; ∂ₐ log B = ψ(a) − ψ(a + b)."""
    a, b = jnp.minimum(a, b), jnp.maximum(a, b)
    small_a, small_b = jnp.minimum(a, _LARGE), jnp.minimum(b, _LARGE)
    both_small = gammaln(small_a) + gammaln(small_b) - gammaln(small_a + small_b)
    large_a, large_b = jnp.maximum(a, _LARGE), jnp.maximum(b, _LARGE)

    total = small_a + large_b
    ratio = -(large_b - 0.5) * jnp.log1p(small_a / large_b) - small_a * (jnp.log(total) - 1)
    one_large = gammaln(small_a) + ratio + _remainder(large_b) - _remainder(total)

    total = large_a + large_b
    main = (
        (large_a - 0.5) * jnp.log(large_a / total)
        - large_b * jnp.log1p(large_a / large_b)
        - 0.5 * jnp.log(large_b)
    )
    both_large = (
        main + _HALF_LOG_2PI + _remainder(large_a) + _remainder(large_b) - _remainder(total)
    )
    return jnp.where(b < _LARGE, both_small, jnp.where(a < _LARGE, one_large, both_large))


def _log_beta_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    a, b = primals
    moving = [
        (x, y, t)
        for x, y, t in ((a, b, tangents[0]), (b, a, tangents[1]))
        if not isinstance(t, SymbolicZero)
    ]
    tangent = sum(-digamma_difference(x, y) * t for x, y, t in moving)
    value = log_beta(a, b)
    return value, jnp.broadcast_to(tangent, value.shape).astype(value.dtype)


log_beta.defjvp(_log_beta_jvp, symbolic_zeros=True)


def log_choose(n: Array, k: Array) -> Array:
    """log n! / (k! (n − k)!) for whole 0 ≤ k ≤ n, n ≥ 1, elementwise; both are held constant.

    With a the smaller of k and n − k, b the other:

        (a + ½) log n/a + (b + ½) log(1 + a/b) − ½ log 2πn + s(n) − s(a) − s(b),    0 where a = 0.
    """
    n, k = lax.stop_gradient((n, k))
    smaller = jnp.minimum(k, n - k)
    a = jnp.maximum(smaller, 1.0)
    b = jnp.maximum(n - smaller, 1.0)
    main = (a + 0.5) * jnp.log(n / a) + (b + 0.5) * jnp.log1p(a / b)
    rest = _whole_remainder(n) - 0.5 * jnp.log(n) - _HALF_LOG_2PI
    return jnp.where(smaller > 0, main + (rest - _whole_remainder(a) - _whole_remainder(b)), 0.0)


def _whole_remainder(k: Array) -> Array:
    """s(k) for whole k ≥ 1."""
    by_table = jnp.asarray(_REMAINDERS, k.dtype)[jnp.minimum(k, _LARGE - 1).astype(jnp.int32)]
    return jnp.where(k < _LARGE, by_table, _remainder(jnp.maximum(k, _LARGE)))


def poisson_log_density(x: Array, rate: Array) -> Array:
    """x log rate − rate − log x! for whole x ≥ 0, elementwise; x is held constant.

    The value is Loader's saddle-point form, held constant; the derivative is that of x log rate − rate, to every order.
    """
    x = lax.stop_gradient(x)
    log_rate, held = jnp.log(rate), lax.stop_gradient(rate)
    large = jnp.maximum(x, _LARGE)
    below = jnp.minimum(x, _LARGE - 1)
    by_table = (
        below * jnp.log(held)
        - held
        - jnp.asarray(_LOG_FACTORIALS, held.dtype)[below.astype(jnp.int32)]
    )
    by_stirling = -_deviance(large, held) - 0.5 * jnp.log(large) - _HALF_LOG_2PI - _remainder(large)
    value = lax.stop_gradient(jnp.where(x < _LARGE, by_table, by_stirling))
    return value + x * (log_rate - lax.stop_gradient(log_rate)) - (rate - held)


def _deviance(x: Array, m: Array) -> Array:
    """x log(x/m) − (x − m)."""
    near = jnp.abs(x - m) < 0.5 * m
    step = jnp.where(near, (x - m) / m, 0.0)
    return x * jnp.where(near, jnp.log1p(step), jnp.log(x) - jnp.log(m)) - (x - m)


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

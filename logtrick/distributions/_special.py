"""Log-gammas and digammas of large arguments, and what is made of them, without their cancellation.

    log Γ(x) = (x − ½) log x − x + ½ log 2π + s(x),    s(x) = 1/12x − 1/360x³ + 1/1260x⁵ − 1/1680x⁷ + 1/1188x⁹ − …

In float32 a log-gamma of 1e6 is right to half a nat only. In differences the large terms cancel on paper, and what is left
of them is the deviance D(x, m) = x log(x/m) − (x − m) ≥ 0 of x from a mean m, which needs no difference of large numbers
where x is near m (Loader 2000, "Fast and Accurate Computation of Binomial Probabilities").
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import digamma, gammaln

Array = jax.Array
LARGE = 10.0  # from here on s(x) is right to 2e-14
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def remainder_of_large(x: Array) -> Array:
    """s(x) for x ≥ 10."""
    r = 1 / x**2
    return (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r * (1 / 1680 - r / 1188)))) / x


def remainder(x: Array) -> Array:
    """s(x) for x > 0."""
    small = jnp.minimum(x, LARGE)
    by_definition = gammaln(small + 1) - (small + 0.5) * jnp.log(small) + small - HALF_LOG_2PI
    return jnp.where(x < LARGE, by_definition, remainder_of_large(jnp.maximum(x, LARGE)))


def _slope_of_large(x: Array) -> Array:
    """−s′(x) = log x − 1/2x − ψ(x) = 1/12x² − 1/120x⁴ + 1/252x⁶ − 1/240x⁸ + 1/132x¹⁰ − …, for x ≥ 10."""
    r = 1 / x**2
    return r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r / 132))))


def log_of_ratio(x: Array, m: Array, far: Array) -> Array:
    """log(x/m): where x is near m, that of 1 + (x − m)/m, in which no digit is lost; elsewhere `far`, which is log x − log m.

    m may underflow to 0, where its logarithm is a number.
    """
    near = (x > 0.1 * m) & (x < 1e6 * m)
    return jnp.where(near, jnp.log1p(jnp.where(near, (x - m) / m, 0.0)), far)


def deviance(x: Array, m: Array, far: Array) -> Array:
    """D(x, m); `far` as in `log_of_ratio`."""
    return x * log_of_ratio(x, m, far) - (x - m)


@jax.custom_jvp
def log_beta(a: Any, b: Any) -> Array:
    """log B(a, b) = log Γ(a) + log Γ(b) − log Γ(a + b), elementwise; ∂ₐ log B = ψ(a) − ψ(a + b).

    (jax.scipy.special.betaln is off by 1e-6 in float64 for arguments between 8 and 20.)
    """
    total = a + b
    main = -(a - 0.5) * jnp.log1p(b / a) - (b - 0.5) * jnp.log1p(a / b) - 0.5 * jnp.log(total)
    return main + HALF_LOG_2PI + (remainder(a) + remainder(b) - remainder(total))


def _log_beta_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    a, b = primals
    value = log_beta(a, b)
    tangent = jnp.zeros_like(value)
    for x, y, t in ((a, b, tangents[0]), (b, a, tangents[1])):
        if not isinstance(t, SymbolicZero):
            tangent = tangent - digamma_difference(x, y) * t
    return value, tangent


log_beta.defjvp(_log_beta_jvp, symbolic_zeros=True)


def gamma_entropy(a: Array) -> Array:
    """a + log Γ(a) + (1 − a) ψ(a), the entropy of Gamma(a, 1), elementwise."""
    small = jnp.minimum(a, LARGE)
    direct = small + gammaln(small) + (1 - small) * digamma(small)
    large = jnp.maximum(a, LARGE)
    main = 0.5 * jnp.log(large) + HALF_LOG_2PI + 0.5 - 0.5 / large
    rest = remainder_of_large(large) + (large - 1) * _slope_of_large(large)
    return jnp.where(a < LARGE, direct, main + rest)


def gamma_divergence(a: Array, b: Array, ratio: Any = 1.0) -> Array:
    """KL(Gamma(a, 1) ‖ Gamma(b, ratio)), elementwise.

    It is log Γ(b) − log Γ(a) − (b − a) ψ(a) − b log ratio + a (ratio − 1). For large a and b, with δ = (b − a)/a, that is

        D(b, a ratio) + ½ (δ − log(1 + δ)) + s(b) − s(a) − (b − a) s′(a).
    """
    direct = gammaln(b) - gammaln(a) - (b - a) * digamma(a) - b * jnp.log(ratio) + a * (ratio - 1)
    large_a = jnp.maximum(a, LARGE)
    large_b = jnp.maximum(b, LARGE)
    mean = large_a * ratio
    step = (large_b - large_a) / large_a
    by_stirling = (
        deviance(large_b, mean, jnp.log(large_b) - jnp.log(mean))
        + 0.5 * (step - jnp.log1p(step))
        + (remainder_of_large(large_b) - remainder_of_large(large_a))
        + (large_b - large_a) * _slope_of_large(large_a)
    )
    return jnp.where((a < LARGE) | (b < LARGE), direct, by_stirling)


def digamma_difference(x: Array, step: Any) -> Array:
    """ψ(x + step) − ψ(x).

    For large x by ψ(x) = log x − 1/2x − 1/12x² + 1/120x⁴ − 1/252x⁶ + …, whose terms are subtracted on paper.
    """
    far_off = (x > 20) & (x + step >= 20)
    large = jnp.where(far_off, x, 20.0)
    by = jnp.where(far_off, step, 0.0)
    u = 1 / large
    v = 1 / (large + by)
    inverses = by * u * v  # u − v; a step may be too small to be seen in x + step
    series = 1 / 2 + (u + v) * (1 / 12 - (u**2 + v**2) / 120 + (u**4 + u**2 * v**2 + v**4) / 252)
    far = jnp.log1p(by * u) + inverses * series
    return jnp.where(far_off, far, digamma(x + step) - digamma(x))

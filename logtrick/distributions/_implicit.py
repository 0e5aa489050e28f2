"""The implicit derivatives of gamma and beta variates; Beta, Dirichlet and Student's t use the latter.

For x with distribution function F(x; a, b) and density p, holding the quantile F(x; a, b) fixed gives dx/da = −∂ₐF / p
(Figurnov, Mohamed & Mnih 2018; Jankowiak & Obermeyer 2018). With the continued fraction h of the incomplete beta
function,

    F = xᵃ (1 − x)ᵇ h(x; a, b) / (a B(a, b)),    F / p = x (1 − x) h / a,

so that, for the logit z of x, in which nothing is lost at either end,

    dz/da = −(h/a) ∂ₐ log F = −(h/a) (log x + ψ(a + b) − ψ(a + 1) + ∂ₐ log h),
    dz/db = −(h/a) ∂_b log F = −(h/a) (log(1 − x) + ψ(a + b) − ψ(b) + ∂_b log h).

h converges fast below the mean; above it 1 − x ~ Beta(b, a) takes the place of x. Its derivatives are carried along,
term by term (Boik & Robison-Cox 1998, "Derivatives of the Incomplete Beta Function").

For a gamma variate x of rate 1 JAX has dx/da. In float32 it is off by 5 % at a = 1e6; there, with λ = x/a,

    dx/da = λ log λ / (λ − 1) + 1/6a + O(a^(−3/2)):

to leading order the quantile is that of the signed root of D(a, x) = a log(a/x) − (a − x) (Temme 1979).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma

from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import refuse
from logtrick._core.smooth import log_sigmoid
from logtrick.distributions._special import digamma_difference

Array = jax.Array
_MOST_TERMS = 20_000
_LARGE_SHAPE = 1_000.0
_State = tuple[Array, Array, Array]  # hₙ₋₁, gₙ / αₙ, hₙ


@jax.custom_jvp
def implicit_log_gamma(log_x: Array, a: Array) -> Array:
    """`log_x` itself, the logarithm of a Gamma(a, 1) draw, with the implicit derivative in a (to first order).

    `jax.random.loggamma` takes the draws one by one for it on the CPU, and a draw below the least float for that number.
    """
    return log_x


@implicit_log_gamma.defjvp
def _implicit_log_gamma_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    message = "The implicit derivative of a gamma variate is right to first order only. Use ScoreFunction() beyond."
    log_x, a = refuse(primals, message, DerivativeOrderError)
    x = jnp.exp(log_x)
    tiny = x < 1e-10  # where P(X ≤ x) is xᵃ / Γ(a + 1)
    of_tiny = (digamma(a + 1) - log_x) / a
    slope = jnp.where(tiny, of_tiny, gamma_slope(x, a) / jnp.where(tiny, 1.0, x))
    return primals[0], slope * tangents[1]


def gamma_slope(x: Array, a: Array) -> Array:
    """dx/da of a Gamma(a, 1) variate at fixed quantile."""
    x, a = lax.stop_gradient((x, a))
    if x.dtype.itemsize > 4:  # JAX's is right in float64
        return lax.random_gamma_grad(a, x)
    by_jax = lax.random_gamma_grad(jnp.minimum(a, _LARGE_SHAPE), x)
    return jnp.where(a < _LARGE_SHAPE, by_jax, _slope_of_large(x, a))


def _slope_of_large(x: Array, a: Array) -> Array:
    step = (x - a) / a
    some = step != 0
    ratio = jnp.where(some, jnp.log1p(step) / jnp.where(some, step, 1.0), 1.0)
    return (1 + step) * ratio + 1 / (6 * a)


@jax.custom_jvp
def implicit_logit(logit: Array, a: Array, b: Array) -> Array:
    """`logit` itself, the logit of a Beta(a, b) draw, with the implicit derivative in a and b (to first order).

    Its own derivative is zero: the draw is what the fixed quantile makes of a and b.
    """
    return logit


@implicit_logit.defjvp
def _implicit_logit_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    message = "The implicit derivative of a beta variate is right to first order only. Use ScoreFunction() beyond."
    in_a, in_b = slopes(*refuse(primals, message, DerivativeOrderError))
    return primals[0], in_a * tangents[1] + in_b * tangents[2]


def slopes(logit: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """dz/da and dz/db at fixed quantile."""
    a, b, logit = lax.stop_gradient(jnp.broadcast_arrays(a, b, logit))
    below = jax.nn.sigmoid(logit) < (a + 1) / (a + b + 2)
    p = jnp.where(below, a, b)
    q = jnp.where(below, b, a)
    z = jnp.where(below, logit, -logit)
    h, log_h_in_p, log_h_in_q = continued_fraction(jax.nn.sigmoid(z), jax.nn.sigmoid(-z), p, q)
    in_p = -(h / p) * (log_sigmoid(z) + digamma_difference(p + 1, q - 1) + log_h_in_p)
    in_q = -(h / p) * (log_sigmoid(-z) + digamma_difference(q, p) + log_h_in_q)
    return jnp.where(below, in_p, -in_q), jnp.where(below, in_q, -in_p)


def continued_fraction(x: Array, y: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """h, ∂ₐ log h and ∂_b log h for x below the mean and y = 1 − x; nan where it does not converge.

    That of Didonato & Morris (1992), "Significant Digit Computation of the Incomplete Beta Function Ratios" (BFRAC): with
    the n-th convergent hₙ, hₙ₊₁ = hₙ + gₙ (hₙ₋₁ − hₙ) / (gₙ + βₙ), gₙ = αₙ / (gₙ₋₁ + βₙ₋₁). No digit is lost where x is
    near 1, since y is given, too.
    """
    tolerance = 4 * jnp.finfo(x.dtype).eps
    ones = jnp.ones_like(x)

    def below_mean(a: Array, b: Array) -> Array:
        return 1 + jnp.where(x < 0.5, a - (a + b) * x, (a + b) * y - b)

    def first(a: Array, b: Array) -> _State:
        h = (1 + a) / below_mean(a, b)
        return jnp.zeros_like(h), h, h

    def turn(state: _State, n: Array, a: Array, b: Array) -> tuple[_State, Array]:
        before, scale, h = state
        odd = a + 2 * n - 1
        w = n * (b - n) * x
        # the first one's a is left out, as it is from the first scale, h/a
        alpha = jnp.where(n == 1, 1.0, a + n - 1) * (a + b + n - 1) / odd**2 * w * x
        beta = n + w / odd + (a + n) / (odd + 2) * (below_mean(a, b) + n * (1 + y))
        g = alpha * scale
        denominator = _away_from_zero(g + beta)
        after = h + g * (before - h) / denominator
        return (h, 1 / denominator, after), after / h

    def body(carry: Any) -> Any:
        n, _, state, along_a, along_b = carry
        (state, factor), (along_a, change_a) = jax.jvp(
            lambda s, a: turn(s, n, a, b), (state, a), (along_a, ones)
        )
        _, (along_b, change_b) = jax.jvp(
            lambda s, b: turn(s, n, a, b), (carry[2], b), (along_b, ones)
        )
        moved = jnp.maximum(jnp.abs(factor - 1), jnp.maximum(jnp.abs(change_a), jnp.abs(change_b)))
        return n + 1, moved, state, along_a, along_b

    def moves(carry: Any) -> Array:
        return (carry[0] < _MOST_TERMS) & jnp.any(carry[1] > tolerance)

    state, along_a = jax.jvp(lambda a: first(a, b), (a,), (ones,))
    _, along_b = jax.jvp(lambda b: first(a, b), (b,), (ones,))
    start = (jnp.ones((), x.dtype), ones, state, along_a, along_b)
    _, moved, (_, _, h), (_, _, in_a), (_, _, in_b) = lax.while_loop(moves, body, start)
    h = jnp.where(moved <= tolerance, h, jnp.nan)
    return h, in_a / h, in_b / h


def _away_from_zero(x: Array) -> Array:
    tiny = jnp.finfo(x.dtype).tiny * 1e8
    return jnp.where(jnp.abs(x) < tiny, tiny, x)

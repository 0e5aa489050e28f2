"""The implicit derivative of a beta variate, which Beta, Dirichlet and Student's t use.

For x with distribution function F(x; a, b) and density p, holding the quantile F(x; a, b) fixed gives dx/da = −∂ₐF / p
(Figurnov, Mohamed & Mnih 2018; Jankowiak & Obermeyer 2018). With the continued fraction h of the incomplete beta
function,

    F = xᵃ (1 − x)ᵇ h(x; a, b) / (a B(a, b)),    F / p = x (1 − x) h / a,

so that, for the logit z of x, in which nothing is lost at either end,

    dz/da = −(h/a) ∂ₐ log F = −(h/a) (log x + ψ(a + b) − ψ(a + 1) + ∂ₐ log h),
    dz/db = −(h/a) ∂_b log F = −(h/a) (log(1 − x) + ψ(a + b) − ψ(b) + ∂_b log h).

h converges fast below the mean; above it 1 − x ~ Beta(b, a) takes the place of x. Its derivatives are carried along,
term by term (Boik & Robison-Cox 1998, "Derivatives of the Incomplete Beta Function").
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from logtrick._core.errors import DerivativeOrderError
from logtrick._core.kernel import refuse
from logtrick._core.smooth import log_sigmoid
from logtrick.distributions._special import digamma_difference

Array = jax.Array
_MOST_TERMS = 20_000


@jax.custom_jvp
def implicit_logit(logit: Array, a: Array, b: Array) -> Array:
    """`logit` itself, the logit of a Beta(a, b) draw, with the implicit derivative in a and b (to first order).

    Its own derivative is zero: the draw is what the fixed quantile makes of a and b.
    """
    return logit


@implicit_logit.defjvp
def _implicit_logit_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    message = "The implicit derivative of a beta variate is right to first order only. Use ScoreFunction() beyond."
    in_a, in_b = _slopes(*refuse(primals, message, DerivativeOrderError))
    return primals[0], in_a * tangents[1] + in_b * tangents[2]


def _slopes(logit: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """dz/da and dz/db at fixed quantile."""
    a, b, logit = lax.stop_gradient(jnp.broadcast_arrays(a, b, logit))
    below = jax.nn.sigmoid(logit) < (a + 1) / (a + b + 2)
    p = jnp.where(below, a, b)
    q = jnp.where(below, b, a)
    z = jnp.where(below, logit, -logit)
    h, log_h_in_p, log_h_in_q = _continued_fraction(jax.nn.sigmoid(z), p, q)
    in_p = -(h / p) * (log_sigmoid(z) + digamma_difference(p + 1, q - 1) + log_h_in_p)
    in_q = -(h / p) * (log_sigmoid(-z) + digamma_difference(q, p) + log_h_in_q)
    return jnp.where(below, in_p, -in_q), jnp.where(below, in_q, -in_p)


def _continued_fraction(x: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """h, ∂ₐ log h and ∂_b log h by the modified Lentz method; nan where it does not converge."""
    tolerance = 4 * jnp.finfo(x.dtype).eps
    ones = jnp.ones_like(x)

    def first(a: Array, b: Array) -> tuple[Array, Array, Array]:
        d = 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
        return d, jnp.ones_like(d), d  # h, c, d

    def turn(state: Any, m: Array, a: Array, b: Array) -> tuple[Any, Array]:
        h, c, d = state
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        factor = ones
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            factor = factor * c * d
        return (h * factor, c, d), factor

    def body(carry: Any) -> Any:
        m, _, state, along_a, along_b = carry
        (state, factor), (along_a, change_a) = jax.jvp(
            lambda s, a: turn(s, m, a, b), (state, a), (along_a, ones)
        )
        _, (along_b, change_b) = jax.jvp(
            lambda s, b: turn(s, m, a, b), (carry[2], b), (along_b, ones)
        )
        moved = jnp.maximum(jnp.abs(factor - 1), jnp.maximum(jnp.abs(change_a), jnp.abs(change_b)))
        return m + 1, moved, state, along_a, along_b

    def moves(carry: Any) -> Array:
        return (carry[0] < _MOST_TERMS) & jnp.any(carry[1] > tolerance)

    state, along_a = jax.jvp(lambda a: first(a, b), (a,), (ones,))
    _, along_b = jax.jvp(lambda b: first(a, b), (b,), (ones,))
    start = (jnp.ones((), x.dtype), ones, state, along_a, along_b)
    _, moved, (h, _, _), (in_a, _, _), (in_b, _, _) = lax.while_loop(moves, body, start)
    h = jnp.where(moved <= tolerance, h, jnp.nan)
    return h, in_a / h, in_b / h


def _away_from_zero(x: Array) -> Array:
    tiny = jnp.finfo(x.dtype).tiny * 1e8
    return jnp.where(jnp.abs(x) < tiny, tiny, x)

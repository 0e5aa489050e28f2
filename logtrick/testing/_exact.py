"""Exact expectations and gradients: enumeration of finite supports, Gauss–Hermite quadrature of normals."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logtrick._core import checks
from logtrick._core.calls import in_words
from logtrick._core.kernel import stop
from logtrick.distributions import Distribution, value_of
from logtrick.programs import check_distribution, host_errors_surface
from logtrick.testing._atoms import weighted_atoms
from logtrick.testing._nodes import is_normal, normal_rule, size_of, spread, unsupported

Array = jax.Array
_POINTS = 2**20


@host_errors_surface([])
@in_words("lt.testing.exact_expectation")
def exact_expectation(
    f: Callable[[Any], Any], dist: Distribution, *, order: int | None = None
) -> Array:
    """E_{x∼p_θ}[f(x, θ)] without noise, differentiable at every order.

    Σ_x p_θ(x) f(x, θ) over a finite support (points of probability zero are left out). The points are listed from
    `dist.support`, not by `dist.enumerate()`, which an oracle may have to judge; their probabilities must sum to 1.

    Where the noise is standard normal (up to four dimensions or so), Σ_k w_k [p_θ(x_k) / stop(p_θ(x_k))] f(x_k, θ) at
    x_k = stop(T(z_k, θ)), z_k and w_k of Gauss–Hermite: exact for polynomials f and their derivatives. f need not be
    differentiable in x; where it is not smooth, quadrature is not exact.

    Args:
      f: a scalar cost of one draw.
      dist: a distribution of finite support, or of standard-normal noise.
      order: nodes a dimension; None takes 64, or as many as 2²⁰ points allow.
    Returns:
      The expectation, shape (), in the precision that JAX works in: use 64-bit mode for oracles.
    Raises:
      ValueError: another distribution; too many dimensions; probabilities that do not sum to 1 (traced ones give nan).
    Example:
      >>> import jax, logtrick as lt
      >>> round(lt.testing.exact_expectation(lambda x: x**2, lt.Normal(1.0, 2.0)).item(), 3)
      5.0
      >>> round(jax.grad(lambda t: lt.testing.exact_expectation(lambda x: 3 * x, lt.Bernoulli(t)))(0.0).item(), 4)
      0.75
    """
    check_distribution("lt.testing.exact_expectation", dist)
    if dist.support.finite:
        points, log_p, one = weighted_atoms("exact_expectation", dist)
        empty = log_p == -jnp.inf
        weights = one * jnp.where(empty, 0.0, jnp.exp(jnp.where(empty, 0.0, log_p)))
        likely = jnp.argmax(log_p)
        points = jax.tree.map(
            lambda x: jnp.where(empty.reshape(-1, *[1] * (x.ndim - 1)), x[likely], x), points
        )
    elif is_normal(dist):
        nodes, logs = normal_rule(size_of(dist.noise_spec), order, _POINTS)
        draws = jax.vmap(dist.draw)(spread(dist.noise_spec, nodes))
        points, log_p = value_of(draws), jax.vmap(dist.log_prob)(draws)
        weights = jnp.asarray(jnp.exp(logs), log_p.dtype) * jnp.exp(log_p - stop(log_p))
    else:
        raise unsupported("exact_expectation", dist)

    def total(x: Any) -> Array:
        value = f(x)
        values = value if isinstance(value, tuple) else (value,)
        return sum((checks.scalar_cost("f", v) for v in values), jnp.zeros(()))

    return weights @ jax.vmap(total)(points).astype(weights.dtype)


@host_errors_surface([])
@in_words("lt.testing.exact_gradient")
def exact_gradient(
    f: Callable[[Any, Any], Any],
    family: Callable[[Any], Distribution],
    params: Any,
    *,
    order: int | None = None,
) -> Any:
    """∇_θ E_{x∼p_θ}[f(x, θ)] without noise, the direct term included.

    Args:
      f: `f(x, params) -> scalar`.
      family: `family(params)` is the distribution.
      params: θ, a pytree of float arrays.
      order: nodes a dimension, as for `exact_expectation`.
    Returns:
      A pytree like `params`.
    Raises:
      ValueError: a distribution that is neither finite nor normal; probabilities that do not sum to 1.
    Example:
      >>> import logtrick as lt
      >>> lt.testing.exact_gradient(lambda x, t: t * x, lt.Bernoulli, 0.0).item()         # σ(t) + t σ'(t)
      0.5
    """
    checks.differentiable("exact_gradient", params)
    dist = family(params)
    if dist.support.finite:
        weighted_atoms(
            "exact_gradient", dist
        )  # known parameters: probabilities that do not sum to 1 raise
    return jax.grad(lambda p: exact_expectation(lambda x: f(x, p), family(p), order=order))(params)

"""Weak derivatives: the mean of c (f(x⁺) − f(x⁻)) is the gradient, coupled or not, for families that declare them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import noise
from logtrick.distributions import weak_noise_spec, weak_terms


def f(x: jax.Array) -> jax.Array:
    """Of two coordinates, not additive, with a jump."""
    x = x.reshape(2, -1) @ jnp.arange(1.0, 1.0 + x.size // 2)
    return x[0] ** 2 + 2 * x[0] * x[1] + jnp.where(x[1] > 1.0, 3.0, 0.0)


@functools.cache
def exact(name: str) -> tuple:
    """∇E[f] by summing or integrating the density over a product grid."""
    make, params = FAMILIES[name]
    dist = make(*params)
    if dist.support.finite:
        points, weights = dist.enumerate(), 1.0
    else:
        line = jnp.arange(60.0) if dist.support.discrete else jnp.arange(-12.0, 24.0, 0.02) + 0.01
        line = line if dist.support.discrete or dist.support.whole_space else line[line > 0]
        points = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
        weights = 1.0 if dist.support.discrete else 0.02**2
    values = jax.vmap(f)(points)
    total = lambda p: weights * jnp.exp(jax.vmap(make(*p).log_prob)(points)) @ values
    return jax.jit(jax.grad(total))(params)


FAMILIES = {
    "Normal": (lt.Normal, (jnp.array([0.4, 1.1]), jnp.array([0.8, 1.2]))),
    "Poisson": (lt.Poisson, (jnp.array([0.7, 1.9]),)),
    "Exponential": (lt.Exponential, (jnp.array([1.5, 0.9]),)),
    "Gamma": (lambda rate: lt.Gamma(jnp.array([2.0, 3.0]), rate), (jnp.array([1.5, 2.5]),)),
    "Bernoulli": (lt.Bernoulli, (jnp.array([0.4, -0.9]),)),
    "Categorical": (lt.Categorical, (jnp.array([[0.3, -1.0, 0.5], [1.0, 0.0, -jnp.inf]]),)),
    "OneHotCategorical": (lt.OneHotCategorical, (jnp.array([[0.3, -1.0, 0.5], [1.0, 0.0, -0.4]]),)),
}


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_mean_is_the_gradient(name: str, coupled: bool) -> None:
    make, params = FAMILIES[name]
    count = 60_000

    @jax.jit
    def estimates(params: tuple, key: jax.Array) -> tuple:
        dist = make(*params)
        rows = noise.rows(weak_noise_spec(dist, coupled=coupled), key, 0, count, count)

        def one(row):
            terms = weak_terms(dist, row, coupled=coupled)
            return tuple(
                t.coefficient * (jax.vmap(f)(t.plus) - jax.vmap(f)(t.minus)) for t in terms
            )

        return jax.vmap(one)(rows)

    truth = tuple(np.nan_to_num(np.asarray(g)).ravel() for g in exact(name))
    lt.testing.assert_unbiased(estimates(params, jax.random.key(6)), truth, resolve=0.1)


def test_the_parameter_carries_the_derivative_and_points_keep_the_other_coordinates() -> None:
    rate = jnp.array([0.7, 1.9])
    dist = lt.Poisson(rate)
    key = jax.random.key(0)
    (term,) = weak_terms(dist, {"draw": key, "weak": None})
    x = dist.draw(key)
    np.testing.assert_array_equal(term.minus, x[None])  # one draw serves both entries
    np.testing.assert_array_equal(term.plus, np.asarray(x) + np.eye(2))
    of = lambda r: weak_terms(lt.Poisson(r), {"draw": key, "weak": None})[0]
    np.testing.assert_array_equal(jax.jacobian(lambda r: of(r).parameter)(rate), np.eye(2))
    normal = lt.Normal(0.0, jnp.ones(3))
    shared = weak_terms(normal, noise.example(weak_noise_spec(normal)))[0]
    assert shared.parameter.shape == (
        3,
    )  # a scalar mean of three coordinates has three terms, whose sum it feels


def test_a_parameter_without_a_weak_derivative_is_refused() -> None:
    row = {"draw": jax.random.key(0), "weak": jnp.array(0.5)}

    def coefficient(a, b):
        return weak_terms(lt.Gamma(a, b), row)[0].coefficient[0]

    with pytest.raises(
        ValueError, match=r"Gamma has weak derivatives in rate only. Use ScoreFunction\(\)"
    ):
        jax.grad(jax.jit(coefficient))(2.0, 1.0)
    assert jax.grad(coefficient, 1)(2.0, 1.0) == 0  # held: only `parameter` carries the derivative

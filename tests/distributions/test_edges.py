"""Draws that round onto the edge of their support in float32: their score is finite, and that of float64."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.bijectors import (
    Affine,
    Chain,
    CholeskyCorrelation,
    Exp,
    Interval,
    Invert,
    Ordered,
    Sigmoid,
    Softplus,
    StickBreaking,
)
from logtrick.distributions import Draw, value_of
from tests.core.x64 import double_precision
from tests.distributions.registry import CASES

KEYS = 4_000
a = np.array


def tanh(loc: Any, scale: Any = 1.0) -> lt.Distribution:
    return lt.Transformed(lt.Normal(loc, scale), Interval(-1.0, 1.0))


def through(*steps: Any) -> Callable[..., lt.Distribution]:
    return lambda p: lt.Transformed(
        lt.Normal(p, 30.0), Chain(steps) if len(steps) > 1 else steps[0]
    )


# One family or bijector with an open edge each, at parameters at which float32 draws hit it.
EDGES: dict[str, tuple[Callable[[Any], lt.Distribution], np.ndarray]] = {
    "Gamma": (lambda p: lt.Gamma(p, 1.0), a(1e-2)),
    "Beta": (lambda p: lt.Beta(p[0], p[1]), a([0.02, 0.03])),
    "Dirichlet": (lt.Dirichlet, a([0.01, 0.02, 0.03])),
    "LogNormal": (lambda p: lt.LogNormal(p[0], p[1]), a([-20.0, 60.0])),
    "Transformed": (lambda p: tanh(p[0], p[1]), a([7.0, 4.0])),
    "Mixture": (
        lambda p: lt.Mixture(p[:2], (lt.Beta(p[2], 0.5), lt.Beta(0.5, p[3]))),
        a([0.3, 0.0, 0.02, 0.03]),
    ),
    "mixture of squashed normals": (
        lambda p: lt.Mixture(jnp.zeros(2, p.dtype), (tanh(p[0]), tanh(p[1]))),
        a([17.0, -20.0]),
    ),
    "mixture on two intervals": (
        lambda p: lt.Mixture(
            jnp.zeros(2, p.dtype),
            (tanh(p[0]), lt.Transformed(lt.Normal(p[1], 1.0), Interval(-1.0, 3.0))),
        ),
        a([16.0, -30.0]),
    ),
    "mixture of two families": (
        lambda p: lt.Mixture(jnp.zeros(2, p.dtype), (lt.Gamma(p[0], 1.0), lt.Exponential(p[1]))),
        a([0.01, 1.0]),
    ),
    "a normal beside a beta": (
        lambda p: lt.Mixture(p[:2], (lt.Normal(p[2], 1.0), lt.Beta(0.5, p[3]))),
        a([0.3, 0.0, 0.5, 0.03]),
    ),
    "a beta beside a squashed normal": (
        lambda p: lt.Mixture(p[:2], (lt.Beta(p[2], 0.5), tanh(p[3], 5.0))),
        a([0.3, 0.0, 0.02, 3.0]),
    ),
    "a gamma beside a softplus": (
        lambda p: lt.Mixture(
            p[:2], (lt.Gamma(p[2], 1.0), lt.Transformed(lt.Normal(p[3], 60.0), Softplus()))
        ),
        a([0.3, 0.0, 0.01, 3.0]),
    ),
    "a mixture of three kinds, one within another": (
        lambda p: lt.Mixture(
            p[:2],
            (
                lt.Mixture(p[1:3], (lt.Gamma(p[3], 1.0), lt.Normal(p[0], 1.0))),
                lt.Transformed(lt.Normal(p[4], 30.0), Sigmoid()),
            ),
        ),
        a([0.3, 0.0, 0.5, 0.02, 5.0]),
    ),
    "Joint": (
        lambda p: lt.Joint({"x": lt.LogNormal(p[0], p[1]), "y": lt.Normal(p[0], 1.0)}),
        a([-20.0, 60.0]),
    ),
    "mixture of joints": (
        lambda p: lt.Mixture(
            jnp.zeros(2, p.dtype), tuple(lt.Joint((lt.LogNormal(q, 60.0),)) for q in (p[0], p[1]))
        ),
        a([-20.0, -30.0]),
    ),
    "a mixture squashed": (
        lambda p: lt.Transformed(
            lt.Mixture(jnp.zeros(2, p.dtype), (lt.Normal(p[0], 1.0), lt.Normal(p[1], 1.0))),
            Interval(-1.0, 1.0),
        ),
        a([17.0, -20.0]),
    ),
    "a gamma moved": (
        lambda p: lt.Transformed(lt.Gamma(p, 1.0), Affine(1.0, 2.0)),
        a(1e-2),
    ),
    "Sigmoid": (through(Sigmoid()), a(5.0)),
    "Softplus": (through(Softplus()), a(-90.0)),
    "Exp": (through(Chain((Exp(), Affine(1.0, 1.0)))), a(-10.0)),
    "parameters inside": (
        lambda p: lt.Transformed(lt.Normal(p[0], 1.0), Chain((Affine(p[1], 9.0), Sigmoid()))),
        a([0.5, 3.0]),
    ),
    "StickBreaking": (through(StickBreaking()), a([5.0, 20.0])),
    "Ordered": (through(Ordered()), a([5.0, -20.0])),
    "CholeskyCorrelation": (through(CholeskyCorrelation()), a([5.0, 20.0, 1.0])),
}


def cost(x: Any) -> Any:
    parts = [
        jnp.arctan(leaf) * (1 + np.arange(leaf.size).reshape(leaf.shape))
        for leaf in jax.tree.leaves(x)
    ]
    return sum(jnp.sum(part) for part in parts)


@functools.cache
def terms(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """f · score of every draw, the log-prob from the coordinates, and that of the value."""
    make, params = EDGES[name]

    @jax.jit
    def every(params: Any, keys: Any) -> Any:
        def one(key: Any) -> Any:
            dist = make(params)
            draw = dist.draw(dist.noise(key))
            value, score = jax.value_and_grad(lambda p: make(p).log_prob(draw))(params)
            return cost(value_of(draw)) * score, value, value_of(draw)

        return jax.vmap(one)(keys)

    params = params.astype(dtype)
    product, log_p, x = every(params, jax.random.split(jax.random.key(7), KEYS))
    # compiled apart: in one program XLA takes log(exp(z)) for z, and nothing is rounded
    of_value = jax.jit(lambda p, x: jax.vmap(make(p).log_prob)(x))(params, x)
    return np.asarray(product), np.asarray(log_p), np.asarray(of_value)


# Of a gamma beside an exponential the mixture of three kinds proves the same, and more.
THINNED = [
    pytest.param(name, marks=pytest.mark.full if name == "mixture of two families" else ())
    for name in EDGES
]


@pytest.mark.parametrize("name", THINNED)
def test_the_score_at_the_edge_is_finite_and_that_of_float64(name: str) -> None:
    got, from_coordinates, from_value = terms(name, "float32")
    assert np.isfinite(from_coordinates).all() and np.isfinite(got).all()
    assert not np.isfinite(from_value).all()  # some draws did round onto the edge
    with double_precision():
        want = terms(name, "float64")[0]
    error = np.sqrt((got.astype(float).var(0) + want.var(0)) / KEYS)
    assert (np.abs(got.mean(0) - want.mean(0)) < 5 * error).all()


def test_every_family_whose_draws_carry_coordinates_is_here() -> None:
    made = {case.name: case.make(*case.params) for case in CASES}
    continuous = {name: dist for name, dist in made.items() if not dist.support.discrete}
    with_charts = {name for name, dist in continuous.items() if dist.charts is not None}
    assert with_charts <= set(EDGES) and len(with_charts) >= 4


@pytest.mark.parametrize("name", sorted({case.name for case in CASES} & set(EDGES)))
def test_coordinates_and_value_give_one_density(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    dist = case.make(*(np.asarray(p, np.float32) for p in case.params))
    draw = dist.draw(dist.noise(jax.random.key(3)))
    np.testing.assert_allclose(dist.log_prob(draw), dist.log_prob(value_of(draw)), rtol=1e-5)


@pytest.mark.parametrize("name", ["Transformed", "Beta", "mixture of squashed normals"])
def test_through_expect(name: str) -> None:
    make, params = EDGES[name]
    value = lambda p, key: lt.expect(key, cost, make(p), num_samples=64)
    both = jax.jit(jax.vmap(jax.value_and_grad(value), (None, 0)))
    values, slopes = both(params.astype("float32"), jax.random.split(jax.random.key(1), 200))
    assert np.isfinite(values).all() and np.isfinite(slopes).all()
    want = terms(name, "float32")[0]
    error = np.sqrt(want.var(0) / KEYS + slopes.var(0) / len(slopes))
    assert (np.abs(slopes.mean(0) - want.mean(0)) < 5 * error).all()


def _log_density_of_log_gamma(z: Any, p: Any) -> Any:
    return p * z - jnp.exp(z) - jax.scipy.special.gammaln(p)


def _log_density_of_logit_beta(z: Any, p: Any) -> Any:
    log_p = p[0] * jax.nn.log_sigmoid(z) + p[1] * jax.nn.log_sigmoid(-z)
    return log_p - jax.scipy.special.betaln(p[0], p[1])


# the draw of a number on the whole line, and the log-density of that number
ON_A_LINE = {
    "Gamma": (jnp.exp, _log_density_of_log_gamma),
    "Beta": (jax.nn.sigmoid, _log_density_of_logit_beta),
}


@pytest.mark.parametrize("name", ON_A_LINE)
def test_through_generalized_reparameterization(name: str) -> None:
    """Its standardized draw is computed from the coordinates: the logarithm of a draw that underflowed is infinite.

    The mean of 4,000 gradients against quadrature, within 5 standard errors (a false alarm in 10⁶), which are at most 4 %.
    """
    make, params = EDGES[name]
    draw, log_density = ON_A_LINE[name]

    def integral(p: Any) -> Any:
        z = jnp.linspace(-4000.0, 3000.0, 1_000_001)
        return jnp.trapezoid(jax.vmap(cost)(draw(z)) * jnp.exp(log_density(z, p)), z)

    with double_precision():
        want = np.asarray(jax.jit(jax.grad(integral))(jnp.asarray(params, "float64")))
    estimator = lt.GeneralizedReparameterization()
    value = lambda p, key: lt.expect(key, cost, make(p), estimator=estimator, num_samples=64)
    slopes = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(
        params.astype("float32"), jax.random.split(jax.random.key(1), KEYS)
    )
    assert np.isfinite(slopes).all()
    error = slopes.std(0) / KEYS**0.5
    assert (error < 0.04 * np.abs(want)).all()
    assert (np.abs(slopes.mean(0) - want) < 5 * error).all()


def test_the_best_baseline_of_a_squashed_policy_is_that_of_its_normal() -> None:
    """Its scores are taken in all leaves of the distribution, among them the ends of the interval, which are constants."""
    estimator, key = lt.ScoreFunction(lt.OptimalBaseline()), jax.random.key(2)

    def squashed(p):
        dist = lt.Transformed(lt.Normal(p[0], p[1]), Interval(-1.0, 1.0))
        return lt.expect(key, lambda x: x**2, dist, estimator=estimator, num_samples=8)

    def base(p):
        f = lambda z: Interval(-1.0, 1.0).forward(z) ** 2
        return lt.expect(key, f, lt.Normal(p[0], p[1]), estimator=estimator, num_samples=8)

    p = jnp.array([16.0, 9.0])
    np.testing.assert_allclose(jax.grad(squashed)(p), jax.grad(base)(p), rtol=1e-4)
    moving = lambda high: lt.expect(
        key,
        lambda x: x**2,
        lt.Transformed(lt.Normal(0.0, 1.0), Interval(0.0, high)),
        estimator=estimator,
        num_samples=8,
    )
    with pytest.raises(ValueError, match="Transformed: the support moves with bijector"):
        jax.grad(moving)(2.0)


def test_half_precision() -> None:
    """A bfloat16 draw of Beta(2, 0.3) is 1 one time in five."""
    make = lambda p: lt.Beta(p[0], p[1])
    slope = jax.jit(
        jax.grad(lambda p: lt.expect(jax.random.key(0), cost, make(p), num_samples=4000))
    )
    half = slope(jnp.array([2.0, 0.3], jnp.bfloat16)).astype(jnp.float32)
    full = slope(jnp.array([2.0, 0.3]).astype(jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_allclose(half, full, rtol=0.05, atol=0.01)


def test_a_parameter_that_moves_the_edge_is_refused_without_fixed_support_too() -> None:
    make = lambda high: lt.Transformed(lt.Normal(0.0, 1.0), Interval(0.0, high))
    draw = make(2.0).draw(jnp.array(0.3))
    assert isinstance(draw, Draw)
    with pytest.raises(ValueError, match="Transformed: the support moves with bijector"):
        jax.grad(lambda high: make(high).log_prob(draw))(2.0)


def test_the_draw_of_another_family_is_read_by_its_value() -> None:
    draw = lt.Gamma(2.0, 1.0).draw(jax.random.key(0))
    np.testing.assert_array_equal(
        lt.Exponential(1.0).log_prob(draw), lt.Exponential(1.0).log_prob(draw.value)
    )
    np.testing.assert_array_equal(
        lt.Beta(2.0, 1.0).log_prob(draw), lt.Beta(2.0, 1.0).log_prob(draw.value)
    )
    with pytest.raises(ValueError, match="needs one draw, shape"):
        lt.Gamma(np.ones(2), 1.0).log_prob(draw)


def test_factors_from_coordinates() -> None:
    dist = lt.Gamma(np.full(3, 0.003, np.float32), 1.0)
    draw = dist.draw(jax.random.key(4))
    assert (draw.value == 0).any()
    np.testing.assert_allclose(dist.log_prob_factors(draw).sum(), dist.log_prob(draw), rtol=1e-6)


UNDONE = {
    "log of a gamma": (lambda p: lt.Gamma(p[0], p[1]), Exp(), a([2.0, 1.5]), a([0.01, 1.0])),
    "logit of a beta": (lambda p: lt.Beta(p[0], p[1]), Sigmoid(), a([2.0, 3.0]), a([0.02, 0.03])),
    "logit of a logit-normal": (
        lambda p: lt.Transformed(lt.Normal(p[0], p[1]), Sigmoid()),
        Sigmoid(), a([0.5, 1.0]), a([17.0, 9.0]),
    ),
    "log of a mixture": (
        lambda p: lt.Mixture(p[:2], (lt.Gamma(p[0], 1.0), lt.Gamma(p[1], 2.0))),
        Exp(), a([1.0, 2.0]), a([0.01, 0.02]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("then", [(), (Affine(0.5, 2.0),), (Affine(0.0, 0.01), Sigmoid())])
@pytest.mark.parametrize("name", UNDONE)
def test_a_bijector_that_undoes_the_chart_of_its_base(name: str, then: Any) -> None:
    """The draw is made of the coordinates: the logarithm of a value that underflowed is infinite."""
    make, chart, inner, edge = UNDONE[name]
    bijector = Chain((Invert(chart), *then))
    pushed = lambda p: lt.Transformed(make(p), bijector)
    compiled = functools.cache(lambda f: jax.jit(jax.value_and_grad(f)))
    both = lambda f, p: compiled(f)(p.astype("float32"))
    for estimator in (lt.ScoreFunction(lt.NoBaseline()), lt.Pathwise()):
        kind = {"estimator": estimator, "num_samples": 64}
        whole = lambda p: lt.expect(jax.random.key(0), jnp.arctan, pushed(p), **kind)
        outside = lambda p: lt.expect(
            jax.random.key(0), lambda x: jnp.arctan(bijector.forward(x)), make(p), **kind
        )
        for got, want in zip(both(whole, inner), both(outside, inner)):
            np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)
        if "mixture" not in name:  # whose pathwise derivative divides by the density of the value
            value, slope = both(whole, edge)
            assert np.isfinite(value) and np.isfinite(slope).all()
    # not compiled, where XLA would take log(exp(z)) for z
    dist = pushed(edge.astype("float32"))
    draws = [dist.draw(dist.noise(key)) for key in jax.random.split(jax.random.key(1), 8)]
    assert np.isfinite([value_of(draw) for draw in draws]).all()
    assert np.isfinite([dist.log_prob(draw) for draw in draws]).all()

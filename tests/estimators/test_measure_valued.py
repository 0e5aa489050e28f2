"""Measure-valued derivatives: oracle rows, exact identities, counted evaluations, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import logtrick as lt
from logtrick._core.meter import evaluations_counted
from tests.estimators.exact import LOGITS, cells, coupled_bits_cost, exact, moments, product
from tests.oracles.problems import ROWS, check, problem
from tests.programs.exact import estimate

ROW_IDS = [i for i in ROWS if i.rsplit("/", 1)[1] in ("mvd_coupled", "mvd_indep")]


def _held_shape(p):
    return lt.Gamma(jax.lax.stop_gradient(p["alpha"]), p["rate"])


@pytest.mark.parametrize("name", ROW_IDS)
def test_row(name):
    row = ROWS[name]
    p = problem(row)
    p = dataclasses.replace(p, dist=_held_shape) if row["distribution"] == "gamma" else p
    draws = p.gradients(lt.MeasureValued(coupled=name.endswith("coupled")), 1, row["suggested_M"])
    print(name, check(row, draws))


@pytest.mark.parametrize("name", [i for i in ROWS if i.startswith("bern/") and i.endswith("/mvd")])
def test_bernoulli_row_has_no_variance(x64, name):
    """Its difference f(1) − f(0) is the whole of the gradient in one dimension: every call gives the exact number."""
    row = ROWS[name]
    draws = problem(row).gradients(lt.MeasureValued(), 1, 20)
    assert row["exact_variance"] == 0
    np.testing.assert_allclose(draws, np.full_like(draws, row["exact_gradient"]), rtol=1e-10)


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_bernoullis_exactly(x64, size, coupled):
    """Every draw of the other coordinates, enumerated."""
    params = jnp.asarray(LOGITS[size])
    u, weights = product(*(cells(special.expit(l), 1) for l in LOGITS[size]))
    noise = {"draw": u[:, None], "weak": None}
    estimator = lt.MeasureValued(coupled)
    value, gradient, _ = moments(estimator, lt.Bernoulli, coupled_bits_cost, params, noise, weights)
    want_value, want = exact(lt.Bernoulli, coupled_bits_cost, params)
    np.testing.assert_allclose(value, want_value, atol=1e-10)
    np.testing.assert_allclose(gradient, want, atol=1e-10)


@pytest.mark.parametrize("family", [lt.Categorical, lt.OneHotCategorical])
def test_categoricals_exactly(x64, family):
    logits = jnp.array([[0.3, -1.0, 0.8], [0.0, 0.5, -0.2]])
    cost = lambda l, x: _table(family, l, x)
    p = special.softmax(logits, -1)
    draw = [cells(np.cumsum(row)[:-1], 1) for row in p]
    # the noise of the class against the others: thresholds of every conditional law
    weak = [cells(np.concatenate([_conditional(row, k) for k in range(3)]), 1) for row in p]
    points, weights = product(*draw, *weak)
    noise = {"draw": points[:, None, :2], "weak": points[:, None, 2:]}
    value, gradient, _ = moments(lt.MeasureValued(), family, cost, logits, noise, weights)
    want_value, want = exact(family, cost, logits)
    np.testing.assert_allclose(value, want_value, atol=1e-10)
    np.testing.assert_allclose(gradient, want, atol=1e-10)


def _conditional(row, k):
    others = np.where(np.arange(row.size) == k, 0, row)
    return np.cumsum(others / others.sum())[:-1]


def _table(family, logits, x):
    index = x if family is lt.Categorical else jnp.argmax(x, -1)
    i, j = index[0], index[1]
    return (i - 0.7) ** 2 * (j + 1.0) + jnp.sin(3.0 * j) + jnp.sum(logits) * i


@pytest.mark.parametrize("coupled", [True, False])
def test_normal_exactly(x64, coupled):
    """E of both laws by quadrature of their own noise: f = x⁴ − x³ in loc and scale, f's own parameter included."""
    params = {"loc": jnp.array(0.4), "scale": jnp.array(1.3)}
    dist_of = lambda p: lt.Normal(p["loc"], p["scale"])
    cost = lambda p, x: x**4 - x**3 + p["loc"] * x

    def value(params, key):
        return lt.expect(
            key,
            lambda x: cost(params, x),
            dist_of(params),
            estimator=lt.MeasureValued(coupled),
            num_samples=1,
        )

    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(
        params, jax.random.split(jax.random.key(0), 200_000)
    )
    m, s = 0.4, 1.3
    exact_value = lambda m, s, c: m**4 + 6 * m**2 * s**2 + 3 * s**4 - m**3 - 3 * m * s**2 + c * m
    want = {
        "loc": jax.grad(exact_value, 0)(m, s, m) + m,
        "scale": jax.grad(exact_value, 1)(m, s, m),
    }
    for name in want:
        lt.testing.assert_unbiased(draws[name], want[name], resolve=0.02 * abs(want[name]) + 0.3)


def test_a_shared_scale_and_several_coordinates():
    """Parameters that broadcast to the event: the derivative is the sum over the coordinates."""
    cost = lambda x: jnp.sum(x) ** 2

    def value(params, key):
        dist = lt.Normal(params["loc"], params["scale"])
        return lt.expect(key, cost, dist, estimator=lt.MeasureValued(), num_samples=4)

    params = {"loc": jnp.array([0.5, -1.0, 2.0]), "scale": jnp.array(0.7)}
    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(
        params, jax.random.split(jax.random.key(1), 20_000)
    )
    lt.testing.assert_unbiased(draws["scale"], 2 * 3 * 0.7, resolve=0.2)
    lt.testing.assert_unbiased(draws["loc"], jnp.full(3, 2 * 1.5), resolve=0.2)


@pytest.mark.parametrize(
    ("dist", "want"),
    [
        (lt.Normal(jnp.zeros(3), 1.0), 4 * 3 + 1),
        (lt.Poisson(jnp.ones(4)), 4 + 1),
        (lt.Poisson(1.5), 2),
        (lt.Exponential(2.0), 2),
        (_held_shape({"alpha": 3.0, "rate": 2.0}), 2),
        (lt.Bernoulli(jnp.zeros(3)), 2 * 3 + 1),
        (lt.OneHotCategorical(jnp.zeros((2, 3))), 2 * 2 * 3 + 1),
    ],
)
def test_evaluations_are_counted(dist, want):
    estimator, points = lt.MeasureValued(), []

    def f(x):
        jax.debug.callback(lambda _: points.append(1), jnp.sum(x), ordered=False)
        return jnp.sum(x)

    with evaluations_counted() as counts:
        lt.expect(jax.random.key(0), f, dist, estimator=estimator, num_samples=2)
    jax.effects_barrier()
    assert (
        counts == [2 * want]
        and estimator.count_evaluations(dist) == want
        and len(points) == 2 * want
    )


def test_inside_a_program(x64):
    """An earlier score-function site credits the later site's term; a later one is evaluated at every point."""

    def program(params, middle):
        a = yield lt.sample(lt.Bernoulli(params[0]), lt.Enumerate())
        b = yield lt.sample(lt.Bernoulli(params[1] + a), middle)
        c = yield lt.sample(lt.Bernoulli(params[2] - 2.0 * b), lt.Enumerate())
        yield lt.cost((a - 0.3) * (b + 0.7) ** 2 + c * b - params[2] * c)

    params = jnp.array([0.4, -0.8, 1.1])
    enumerated = lambda p: lt.expect_program(
        jax.random.key(0), program, p, lt.Enumerate(), num_samples=1
    )
    u, weights = cells(
        special.expit(np.array([-0.8, 0.2])), 1
    )  # the thresholds of b, given a = 0 and 1

    def gradient(u):
        noises = [None, {"draw": u[None], "weak": None}, None]
        return jax.grad(lambda p: estimate(lambda: program(p, lt.MeasureValued()), noises, 1))(
            params
        )

    gradients = jax.jit(jax.vmap(gradient))(jnp.asarray(u))
    want = jax.grad(enumerated)(params)
    np.testing.assert_allclose(weights @ gradients, want, atol=1e-10)
    np.testing.assert_allclose(
        gradients[:, 1], np.full(u.size, want[1]), atol=1e-10
    )  # no variance in its own

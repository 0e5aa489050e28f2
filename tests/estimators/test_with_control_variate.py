"""A control variate for any estimator: unbiased exactly, whatever is fitted, and without variance where f is linear in h."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.estimators.exact import cells, exact, moments, product
from tests.programs.exact import estimate

SQUARE = lambda x: x**2
SECOND_MOMENT = lambda dist: dist.loc**2 + dist.scale**2
NORMAL = lambda t: lt.Normal(t[0], t[1])


def test_pathwise_exactly(x64):
    """Three samples by a product rule of five Hermite nodes: exact, since the coefficient does not see its own sample."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    noise, weights = product(*[(nodes, weights / weights.sum())] * 3)
    cost = lambda t, x: x**3 - x + t[0] * x
    params = jnp.array([0.4, 1.3])
    plain = moments(lt.Pathwise(), NORMAL, cost, params, noise, weights)
    fitted = lt.WithControlVariate(lt.Pathwise(), SQUARE, SECOND_MOMENT)
    value, mean, _ = moments(fitted, NORMAL, cost, params, noise, weights)
    m, s = 0.4, 1.3
    want = [3 * (m**2 + s**2) - 1 + 2 * m, 6 * m * s]
    np.testing.assert_allclose(value, m**3 + 3 * m * s**2 - m + m**2, rtol=1e-10)
    np.testing.assert_allclose(plain[1], want, rtol=1e-10)
    np.testing.assert_allclose(mean, want, rtol=1e-10)


def test_measure_valued_exactly(x64):
    """Three samples of two bits, every cell of the uniforms weighted by its volume."""
    params = jnp.array([0.4, -0.8])
    cost = lambda t, x: (x[0] - 2 * x[1] + 0.5 * x[0] * x[1] - 0.3) ** 2 + 0.3 * t[0] * x[1]
    h, mean = (lambda x: x[0] * x[1] + x[1]), lambda d: d.mean()[0] * d.mean()[1] + d.mean()[1]
    axes = [cells(p, nodes=1) for p in np.asarray(jax.nn.sigmoid(params))] * 3
    noise, weights = product(*axes)
    noise = {"draw": noise.reshape(-1, 3, 2), "weak": None}
    for inner in (lt.MeasureValued(), lt.ScoreFunction(lt.NoBaseline())):
        drawn = noise if isinstance(inner, lt.MeasureValued) else noise["draw"]
        estimator = lt.WithControlVariate(inner, h, mean)
        value, gradient, _ = moments(estimator, lt.Bernoulli, cost, params, drawn, weights)
        want = exact(lt.Bernoulli, cost, params)
        np.testing.assert_allclose(value, want[0], rtol=1e-10)
        np.testing.assert_allclose(gradient, want[1], rtol=1e-10)


@pytest.mark.parametrize("inner", [lt.Pathwise(), lt.MeasureValued(), lt.Pathwise(lt.Antithetic())])
def test_no_variance_where_f_is_linear_in_h(inner):
    estimator = lt.WithControlVariate(inner, SQUARE, SECOND_MOMENT)

    def value(t):
        f = lambda x: 3.0 * x**2 + 1.0
        return lt.expect(jax.random.key(0), f, NORMAL(t), estimator=estimator, num_samples=8)

    gradient = jax.jit(jax.grad(value))(jnp.array([0.4, 1.3]))
    np.testing.assert_allclose(gradient, [2.4, 7.8], rtol=2e-4)


def test_the_second_derivative_exactly(x64):
    """The mean of the Hessians over the product rule: E x³ = m³ + 3 m s²."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    noise, weights = product(*[(nodes, weights / weights.sum())] * 3)
    fitted = lt.WithControlVariate(lt.Pathwise(), SQUARE, SECOND_MOMENT)
    assert fitted.max_order == np.inf

    def value(t, noise):
        def program():
            x = yield lt.sample(NORMAL(t), fitted)
            yield lt.cost(x**3)

        return estimate(program, [noise], 3)

    m, s = 0.4, 1.3
    hessians = jax.jit(jax.vmap(jax.hessian(value), (None, 0)))(jnp.array([m, s]), noise)
    want = [[6 * m, 6 * s], [6 * s, 6 * m]]
    np.testing.assert_allclose(np.tensordot(weights, hessians, 1), want, atol=1e-9)


def test_in_loops_and_plates():
    fitted = lt.WithControlVariate(lt.Pathwise(), SQUARE, SECOND_MOMENT)

    def program(t):
        def element(_):
            x = yield lt.sample(NORMAL(t), fitted)
            yield lt.cost(3.0 * x**2)

        def step(carry, _):
            yield from element(None)
            return carry, None

        yield lt.plate(element, length=2)
        yield lt.scan(step, 0.0, length=1)

    value = lambda t: lt.expect_program(jax.random.key(0), program, t, num_samples=4)
    gradient = jax.jit(jax.grad(value))(jnp.array([0.4, 1.3]))
    np.testing.assert_allclose(gradient, [7.2, 23.4], rtol=2e-4)


def test_refusals():
    make = lt.WithControlVariate
    with pytest.raises(TypeError, match=r"WithControlVariate\(estimator=…\) needs an estimator"):
        make("pathwise", SQUARE, SECOND_MOMENT)
    with pytest.raises(TypeError, match=r"WithControlVariate\(h=…\) needs a function"):
        make(lt.Pathwise(), 1.0, SECOND_MOMENT)
    with pytest.raises(
        ValueError, match="neither learns nor differentiates f by itself; got REBAR"
    ):
        make(lt.REBAR(learn=True), SQUARE, SECOND_MOMENT)
    value = lambda: lt.expect(
        jax.random.key(0), SQUARE, lt.Normal(0.0, 1.0),
        estimator=make(lt.Pathwise(), SQUARE, SECOND_MOMENT), num_samples=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match="needs at least 3 samples"):
        value()


@pytest.mark.parametrize("estimator", [lt.Pathwise(), lt.GeneralizedReparameterization()])
@pytest.mark.parametrize("h", [lambda x: x > 0, lambda x: jnp.floor(x).astype(int)])
def test_a_step_as_control_variate_where_it_is_differentiated(estimator, h):
    """The gradient of E h was subtracted, and nothing for it added: biased, by ten standard errors of 400 gradients."""
    probability = lambda dist: jax.scipy.stats.norm.cdf(dist.loc)
    controlled = lt.WithControlVariate(estimator, h, probability)
    with pytest.raises(ValueError, match="needs an h that is differentiable in x, since"):
        lt.expect(jax.random.key(0), SQUARE, lt.Normal(0.3, 1.0), estimator=controlled)
    lt.expect(
        jax.random.key(0), SQUARE, lt.Normal(0.3, 1.0),
        estimator=lt.WithControlVariate(lt.MeasureValued(), h, probability),
    )  # fmt: skip

"""LAX: unbiased for every surrogate, at every order; its surrogate learns, and nothing else does through it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.estimators.exact import moments
from tests.programs.exact import estimate

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(12)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
KEY = jax.random.key(2)
SURROGATE = lambda w, x: w[0] + w[1] * x + w[2] * x**2
COST = lambda theta, x: x**3 - 2.0 * x + theta[0] * x
NORMAL = lambda theta: lt.Normal(theta[0], theta[1])
THETA = np.array([0.6, 1.2])


def exact(theta):
    m, s = theta
    return m**3 + 3 * m * s**2 - 2 * m + m**2


@pytest.mark.parametrize("w", [(0.0, 0.0, 0.0), (0.7, -1.3, 2.0)])
def test_value_and_gradient(x64, w):
    estimator = lt.LAX(SURROGATE, jnp.array(w))
    value, gradient, _ = moments(
        estimator, NORMAL, COST, jnp.asarray(THETA), NODES[:, None], WEIGHTS
    )
    np.testing.assert_allclose(value, exact(THETA), atol=1e-10)
    np.testing.assert_allclose(gradient, jax.grad(exact)(THETA), atol=1e-10)


def test_hessian(x64):
    estimator = lt.LAX(SURROGATE, jnp.array([0.7, -1.3, 2.0]))

    def value(theta, noise):
        def program():
            x = yield lt.sample(NORMAL(theta), estimator)
            yield lt.cost(COST(theta, x))

        return estimate(program, [noise], 1)

    hessians = jax.jit(jax.vmap(jax.hessian(value), (None, 0)))(jnp.asarray(THETA), NODES[:, None])
    np.testing.assert_allclose(
        np.tensordot(WEIGHTS, hessians, 1), jax.hessian(exact)(THETA), atol=1e-9
    )


def test_no_variance_where_the_surrogate_is_f(x64):
    """And the adaptive loss is then the squared norm of the gradient itself."""
    cost = lambda theta, x: 2.0 + x - 3.0 * x**2
    estimator = lt.LAX(SURROGATE, jnp.array([2.0, 1.0, -3.0]))
    _, gradient, variance = moments(
        estimator, lambda m: lt.Normal(m, 1.0), cost, 0.4, NODES[:, None], WEIGHTS
    )
    np.testing.assert_allclose(gradient, 1 - 6 * 0.4, atol=1e-10)
    # along the path ∇ c(x) = 1 − 6 x still varies: (f − c) s is what vanishes
    np.testing.assert_allclose(variance, 36.0, rtol=1e-10)


def objective(params, key, num_samples=16):
    context = jax.lax.stop_gradient(params["mu"])
    estimator = lt.LAX(lambda w, x: SURROGATE(w, x) + 0.0 * context**2 * x, params["w"])
    cost = lambda x: jnp.where(x > 0.5, 2.0, 0.0) + x**2
    return lt.expect(
        key,
        cost,
        lt.Normal(params["mu"], 1.0),
        estimator=estimator,
        num_samples=num_samples,
        has_aux=True,
    )


def test_adaptive_loss_is_the_squared_gradient_and_reaches_only_the_surrogate():
    params = {"mu": jnp.array(0.3), "w": jnp.array([0.2, 0.5, -0.1])}
    single = lambda p: objective(p, KEY, 1)
    gradient = jax.grad(lambda mu: single({**params, "mu": mu})[0])(params["mu"])
    # per-run gradient in loc; that in scale is the other leaf of the distribution
    loss, of_loss = jax.value_and_grad(lambda p: single(p)[1].adaptive_loss)(params)
    assert loss > gradient**2 and np.all(of_loss["w"] != 0) and of_loss["mu"] == 0
    of_value = jax.grad(lambda p: single(p)[0])(params)
    assert np.all(of_value["w"] == 0) and of_value["mu"] != 0

    def by_hand(mu, scale):
        dist = lt.Normal(mu, scale)
        estimator = lt.LAX(SURROGATE, params["w"])
        cost = lambda x: jnp.where(x > 0.5, 2.0, 0.0) + x**2
        return lt.expect(KEY, cost, dist, estimator=estimator, num_samples=1, has_aux=True)[0]

    both = jax.grad(by_hand, (0, 1))(params["mu"], 1.0)
    np.testing.assert_allclose(loss, sum(g**2 for g in both), rtol=1e-5)


def test_training_lowers_the_variance():
    """The model at rest: the surrogate alone is trained, and the variance of the gradient falls below the path-free one's."""
    params = {"mu": jnp.array(0.3), "w": jnp.zeros(3)}
    frozen = {"mu": "frozen", "w": "trained"}
    optimizer = optax.multi_transform(
        {"trained": optax.adam(0.05), "frozen": optax.set_to_zero()}, frozen
    )
    fit = lt.minimize(KEY, objective, params, optimizer, num_steps=300)

    def variance(w):
        one = lambda k: jax.grad(lambda mu: objective({"mu": mu, "w": w}, k, 1)[0])(0.3)
        return jnp.var(jax.jit(jax.vmap(one))(jax.random.split(KEY, 20_000)))

    assert variance(fit.params["w"]) < 0.5 * variance(params["w"])
    assert fit.params["mu"] == params["mu"]


def test_refusals():
    with pytest.raises(TypeError, match=r"LAX\(fn=…\) needs a function fn\(params, x\); got float"):
        lt.LAX(1.0, 2.0)
    with pytest.raises(
        ValueError, match=r"LAX\(\) needs a reparameterized distribution; Bernoulli is not"
    ):
        lt.expect(
            KEY,
            lambda x: x,
            lt.Bernoulli(0.0),
            estimator=lt.LAX(SURROGATE, jnp.zeros(3)),
            has_aux=True,
        )
    with pytest.raises(ValueError, match="without has_aux=True it never would"):
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), estimator=lt.LAX(SURROGATE, jnp.zeros(3)))
    with pytest.raises(
        ValueError, match=r"LAX\(fn=…\) must return a scalar for one draw; got shape \(3,\)"
    ):
        objective({"mu": jnp.zeros(()), "w": jnp.zeros((3, 3))}, KEY)

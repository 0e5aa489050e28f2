"""Combinations: unbiased with fixed and with learned weights, every draw evaluated once, in one call."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick._core.meter import evaluations_counted
from logtrick.programs import run_block, start, structure_of
from tests.estimators.exact import gradients, moments
from tests.programs.exact import estimate

KEY = jax.random.key(4)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
BOTH = (lt.Pathwise(), lt.ScoreFunction())
COST = lambda theta, x: x**3 - 2.0 * x + theta[0] * x
NORMAL = lambda theta: lt.Normal(theta[0], theta[1])
THETA = np.array([0.6, 1.2])


def exact(theta):
    m, s = theta
    return m**3 + 3 * m * s**2 - 2 * m + m**2


def grid(dimensions):
    index = np.indices((5,) * dimensions).reshape(dimensions, -1)
    return NODES[index], np.prod(WEIGHTS[index], axis=0)


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 0.0)])
def test_value_gradient_and_hessian(x64, weights):
    """Two runs of two estimators, each with noise of its own: a rule in four dimensions, exact for these polynomials."""
    points, rule = grid(4)
    noise = (points[:2].T, points[2:].T)
    estimator = lt.Combination(BOTH, weights)
    value, gradient, variance = moments(estimator, NORMAL, COST, jnp.asarray(THETA), noise, rule)
    np.testing.assert_allclose(value, exact(THETA), atol=1e-10)
    np.testing.assert_allclose(gradient, jax.grad(exact)(THETA), atol=1e-10)
    single = [
        moments(e, NORMAL, COST, jnp.asarray(THETA), points[:2].T, rule)[2] for e in BOTH
    ]  # independent draws: variances add
    np.testing.assert_allclose(
        variance, weights[0] ** 2 * single[0] + weights[1] ** 2 * single[1], rtol=1e-9
    )

    def hessian(noise):
        def program(theta):
            x = yield lt.sample(NORMAL(theta), estimator)
            yield lt.cost(COST(theta, x))

        return jax.hessian(lambda theta: estimate(lambda: program(theta), [noise], 2))(
            jnp.asarray(THETA)
        )

    hessians = jax.jit(lambda noise: jax.lax.map(hessian, noise))(noise)
    np.testing.assert_allclose(
        np.tensordot(rule, hessians, 1), jax.hessian(exact)(THETA), atol=1e-9
    )


def objective(params, key, num_samples=8):
    estimator = lt.Combination(BOTH, tuple(params["w"]), learn=True)
    cost = lambda x: x**2 + x
    return lt.expect(
        key,
        cost,
        lt.Normal(params["mu"], 1.0),
        estimator=estimator,
        num_samples=num_samples,
        has_aux=True,
    )


def test_learned_weights(x64):
    """They go where the variance is least; the model's gradient is that of the normalized weights all the while."""
    params = {"mu": jnp.array(0.5), "w": jnp.array([0.5, 0.5])}
    of_loss = jax.jit(jax.grad(lambda p: objective(p, KEY, 1000)[1].adaptive_loss))(params)
    assert of_loss["mu"] == 0 and of_loss["w"][0] < 0 < of_loss["w"][1]  # towards the path
    gradient = jax.jit(jax.grad(lambda p: objective(p, KEY)[0]))
    of_value = gradient(params)
    assert np.all(of_value["w"] == 0)
    scaled = gradient({**params, "w": 3 * params["w"]})  # wherever an optimizer goes
    np.testing.assert_allclose(scaled["mu"], of_value["mu"], rtol=1e-12)
    fixed = lambda mu: lt.expect(
        KEY,
        lambda x: x**2 + x,
        lt.Normal(mu, 1.0),
        estimator=lt.Combination(BOTH, (0.5, 0.5)),
        num_samples=8,
    )
    np.testing.assert_allclose(of_value["mu"], jax.grad(fixed)(0.5), rtol=1e-12)


def test_learned_weights_in_the_training_loop():
    params = {"mu": jnp.array(0.5), "w": jnp.array([0.5, 0.5])}
    frozen = {"mu": "frozen", "w": "trained"}
    optimizer = optax.multi_transform(
        {"trained": optax.adam(0.02), "frozen": optax.set_to_zero()}, frozen
    )
    w = lt.minimize(KEY, objective, params, optimizer, num_steps=200).params["w"]
    share = float(w[0] / w.sum())
    # per run: Var path = 4 in loc, 4 μ² … in scale; score's is several times as large: most weight on the path
    assert 0.7 < share <= 1.1


def test_statistics_and_learned_parts_of_the_parts():
    parts = (
        lt.ScoreFunction(lt.MovingAverage(0.5)),
        lt.ScoreFunction(lt.LearnedBaseline(lambda b: b, jnp.array(0.0))),
    )
    estimator = lt.Combination(parts, (0.25, 0.75))
    _, aux = lt.expect(
        KEY, lambda x: 3.0, lt.Normal(0.0, 1.0), estimator=estimator, num_samples=2, has_aux=True
    )
    assert aux.estimator.estimators[0].baseline.average == 1.5 and aux.adaptive_loss == 9.0


def test_estimators_of_several_points(x64):
    """DisARM's pair, an enumeration and a score in one call: with weights 0 and 1 each is itself, draw by draw."""
    logits = jnp.array([0.4, -0.8])
    parts = (lt.DisARM(), lt.Enumerate(), lt.MeasureValued(), lt.ScoreFunction())
    cost = lambda l, x: (x[0] - 2.0 * x[1] + 0.3) ** 2 + l[0] * x[1]
    u = jax.random.uniform(KEY, (3, 4, 2))  # cases, runs, coordinates
    noise = (u, None, {"draw": u, "weak": None}, u)
    for i, part in enumerate(parts):
        weights = tuple(float(i == j) for j in range(4))
        got = gradients(lt.Combination(parts, weights), lt.Bernoulli, cost, logits, noise)
        alone = noise[i] if noise[i] is not None else u
        want = gradients(part, lt.Bernoulli, cost, logits, alone)
        np.testing.assert_allclose(got[0], want[0], atol=1e-12)
        np.testing.assert_allclose(got[1], want[1], atol=1e-12)
    estimator = lt.Combination(parts, (0.25, 0.25, 0.25, 0.25))
    with evaluations_counted() as counts:
        lt.expect(
            KEY, lambda x: cost(logits, x), lt.Bernoulli(logits), estimator=estimator, num_samples=2
        )
    assert (
        counts == [2 * estimator.count_evaluations(lt.Bernoulli(logits))] == [2 * (2 + 4 + 5 + 1)]
    )


def test_learned_weights_over_estimators_of_first_order():
    """The per-run gradients are taken apart from the model's: DisARM's first-order term is differentiated once."""
    estimator = lt.Combination((lt.DisARM(), lt.ScoreFunction()), (0.5, 0.5), learn=True)
    cost = lambda x: (x[0] - 2.0 * x[1] + 0.3) ** 2
    logits = jnp.array([0.4, -0.8])

    def value(logits, key):
        return lt.expect(
            key, cost, lt.Bernoulli(logits), estimator=estimator, num_samples=4, has_aux=True
        )[0]

    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(logits, jax.random.split(KEY, 10_000))
    want = jax.grad(lambda l: lt.expect(KEY, cost, lt.Bernoulli(l), estimator=lt.Enumerate()))(
        logits
    )
    lt.testing.assert_unbiased(draws, want, resolve=0.2)


def test_capabilities_and_evaluations():
    estimator = lt.Combination(BOTH, (0.5, 0.5))
    assert (estimator.evaluations, estimator.max_order, estimator.unbiased) == (2, np.inf, True)
    pairs = lt.Combination((lt.Pathwise(lt.Antithetic()), lt.Pathwise()), (0.5, 0.5))
    with pytest.raises(ValueError, match="needs a multiple of 2"):
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), estimator=pairs, num_samples=3)
    with evaluations_counted() as counts:
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), estimator=estimator, num_samples=3)
    assert counts == [6]


def test_refusals():
    with pytest.raises(
        ValueError,
        match=r"Combination\(weights=…\) needs numbers >= 0 that sum to 1; got \(0.5, 0.6\)",
    ):
        lt.Combination(BOTH, (0.5, 0.6))
    with pytest.raises(ValueError, match=r"needs numbers >= 0 that sum to 1; got \(-0.5, 1.5\)"):
        lt.Combination(BOTH, (-0.5, 1.5))
    with pytest.raises(ValueError, match="needs one weight an estimator; got 1 for 2"):
        lt.Combination(BOTH, (1.0,))
    with pytest.raises(TypeError, match=r"Combination\(estimators=…\) needs a tuple of estimators"):
        lt.Combination([lt.Pathwise()], (1.0,))
    with pytest.raises(ValueError, match=r"Pathwise\(\) needs a reparameterized distribution"):
        lt.expect(KEY, lambda x: x, lt.Bernoulli(0.0), estimator=lt.Combination(BOTH, (0.5, 0.5)))


@pytest.mark.parametrize(
    "parts",
    [
        (lt.DoubleCV(0.3), lt.ScoreFunction(lt.MuProp())),
        (lt.ScoreFunction(lt.DeltaMethod(order=1)), lt.DisARM()),
        (lt.RODEO(lambda w, u: jnp.tanh(w @ u), 0.3 * jnp.eye(2)), lt.Enumerate()),
    ],
    ids=lambda parts: ", ".join(type(p).__name__ for p in parts),
)
def test_over_estimators_that_differentiate_f(x64, parts):
    """Each part is shown its own points and derivatives: the combination is the weighted sum of the parts alone."""
    logits = jnp.array([0.4, -0.8])
    cost = lambda x: (x[0] - 2 * x[1] + 0.5 * x[0] * x[1] - 0.3) ** 2

    def gradient(estimator, noise):
        def value(logits):
            program = lambda: _one_site(lt.Bernoulli(logits), estimator, cost)
            begin = start(program, ())
            block, _ = run_block(begin, structure_of(begin, 2), [noise], 2, False)
            return jnp.mean(block.totals)

        return jax.grad(value)(logits)

    noises = tuple(
        None if isinstance(p, lt.Enumerate) else jax.random.uniform(jax.random.key(i), (2, 2))
        for i, p in enumerate(parts)
    )
    both = gradient(lt.Combination(parts, (0.3, 0.7)), noises)
    apart = 0.3 * gradient(parts[0], noises[0]) + 0.7 * gradient(parts[1], noises[1])
    np.testing.assert_allclose(both, apart, atol=1e-12)


def _one_site(dist, estimator, cost):
    x = yield lt.sample(dist, estimator)
    yield lt.cost(cost(x))

"""Optimal baselines and control variates: published properties, variances, and refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.module import replace
from logtrick._core.samples import over_samples
from tests.baselines.bits import bit_noise
from tests.estimators.exact import bernoulli, gradients, moments
from tests.oracles.problems import ROWS, check, problem
from tests.programs.exact import estimate

LOGITS = np.array([-1.2, 0.3])
COST = lambda params, x: 4.0 * x[0] - 8.0 * x[1] + x[0] * x[1] + 5.0


def variance(baseline, runs):
    return moments(
        lt.ScoreFunction(baseline), bernoulli, COST, jnp.asarray(LOGITS), *bit_noise(LOGITS, runs)
    )[2]


def test_optimal_with_two_runs_is_leave_one_out(x64):
    noise, _ = bit_noise(LOGITS, 2)
    two = [
        gradients(lt.ScoreFunction(b), bernoulli, COST, jnp.asarray(LOGITS), noise)[1]
        for b in (lt.OptimalBaseline(), lt.LeaveOneOut())
    ]
    np.testing.assert_allclose(*two, atol=1e-12)


def test_optimal_goes_to_the_least_variance_and_leave_one_out_does_not(x64):
    """n Var → E[f² s²] − g² − E[f s²]² / E[s²] per coordinate, b* = E[f s²] / E[s²]; E f stays above."""
    p = 1 / (1 + np.exp(-LOGITS))
    points = np.array(list(itertools.product([0.0, 1.0], repeat=2)))
    weights = np.prod(np.where(points == 1, p, 1 - p), axis=1)
    f = np.array([COST(None, x) for x in points])[:, None]
    s = points - p
    expectation = lambda h: weights @ h
    best = expectation(f * s**2) / expectation(s**2)
    least = lambda b: expectation(((f - b) * s) ** 2) - expectation(f * s) ** 2
    dist, n = lt.Bernoulli(jnp.asarray(LOGITS)), 200
    cost = lambda x: COST(None, x)

    def draws(baseline):
        def one(key):
            value = lambda l: lt.expect(
                key, cost, lt.Bernoulli(l), estimator=lt.ScoreFunction(baseline), num_samples=n
            )
            return jax.grad(value)(dist.logits)

        return np.asarray(
            jax.jit(lambda k: jax.lax.map(one, k, batch_size=500))(
                jax.random.split(jax.random.key(1), 4000)
            )
        )

    for baseline, want in (
        (lt.OptimalBaseline(), least(best)),
        (lt.LeaveOneOut(), least(expectation(f))),
    ):
        got = draws(baseline)
        np.testing.assert_allclose(
            n * got.var(0), want, rtol=0.12
        )  # 4000 calls: 2.2 % each; estimation of b: O(1/n)
    assert np.all(least(best) < 0.95 * least(expectation(f)))


def test_sums_of_others_keep_small_terms():
    """A rare event's score is 10⁵ times the others': its rounding must not be left in their sum."""
    x = jnp.array([1e8, 1.0, 2.0, 4.0], jnp.float32)
    sums = lambda block: over_samples(
        lambda runs, x: replace(runs, block=block).sum_of_others(x), 4, x
    )
    np.testing.assert_array_equal(sums(1)[0], 7.0)
    np.testing.assert_allclose(sums(1)[1:], [1e8, 1e8, 1e8], rtol=1e-6)
    np.testing.assert_array_equal(sums(2)[:2], [6.0, 6.0])
    means = over_samples(
        lambda runs, x: replace(runs, block=2).leave_one_out(x), 4, jnp.arange(4.0)
    )
    np.testing.assert_allclose(means, [2.5, 2.5, 0.5, 0.5])


def test_control_variate_is_exact_where_f_is_linear_in_h(x64):
    cost = lambda params, x: 3.0 - 2.0 * (x[0] + 4.0 * x[1])
    control = lt.ControlVariate(
        lambda x: x[0] + 4.0 * x[1], lambda d: d.mean() @ jnp.array([1.0, 4.0])
    )
    dist_of = lambda params: lt.Normal(params, 1.0)
    noise = jax.random.normal(jax.random.key(0), (5, 3, 2))
    _, gradient = gradients(lt.ScoreFunction(control), dist_of, cost, jnp.zeros(2), noise)
    np.testing.assert_allclose(gradient, np.tile([-2.0, -8.0], (5, 1)), atol=1e-9)


@pytest.mark.parametrize("n", [3, 2**18])
def test_control_variate_in_float32_whatever_the_number_of_samples(n):
    """From 2¹⁸ samples on, the spread of h was taken for rounding, and the control variate was off without a word."""

    def gradient(baseline):
        value = lambda mu: lt.expect(
            jax.random.key(0),
            lambda x: 5.0 * x + 2.0,
            lt.Normal(mu, 1.0),
            estimator=lt.ScoreFunction(baseline),
            num_samples=n,
            chunk_size=n,
        )
        return jax.grad(value)(0.0)

    linear = lt.ControlVariate(lambda x: x, lambda d: d.loc)
    np.testing.assert_allclose(gradient(linear), 5.0, rtol=1e-6)
    constant = lt.ControlVariate(lambda x: 0.1, lambda d: 0.1)  # without spread: no slope
    np.testing.assert_allclose(gradient(constant), gradient(lt.LeaveOneOut()), rtol=1e-5)


def test_control_variate_pays(x64):
    h, mean = (lambda x: x[0] - 2.0 * x[1]), (lambda d: d.mean() @ jnp.array([1.0, -2.0]))
    assert np.all(variance(lt.ControlVariate(h, mean), 4) < 0.4 * variance(lt.LeaveOneOut(), 4))


def test_control_variate_holds_what_it_closes_over():
    """expected_h may close over the parameter: only its dependence through dist counts."""

    def value(mu, closed):
        control = lt.ControlVariate(lambda x: closed * x, lambda d: closed * d.loc)
        return lt.expect(
            jax.random.key(0),
            lambda x: x,
            lt.Normal(mu, 1.0),
            estimator=lt.ScoreFunction(control),
            num_samples=3,
        )

    assert jax.grad(value, argnums=1)(1.0, 2.0) == 0
    np.testing.assert_allclose(jax.grad(value)(1.0, 2.0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("wrt", ["loc", "scale"])
def test_delta_method_is_exact_on_quadratics(x64, wrt):
    matrix = jnp.array([[2.0, -0.7], [0.4, 1.5]])
    cost = lambda params, x: x @ matrix @ x + x[0] - 3.0
    at = {"loc": jnp.array([0.5, -1.0]), "scale": jnp.array([0.8, 1.3])}
    dist_of = lambda theta: lt.Normal(**{**at, wrt: theta})
    noise = jax.random.normal(jax.random.key(0), (4, 1, 2))
    _, gradient = gradients(lt.ScoreFunction(lt.DeltaMethod(2)), dist_of, cost, at[wrt], noise)
    want = {
        "loc": (matrix + matrix.T) @ at["loc"] + jnp.array([1.0, 0.0]),
        "scale": 2 * jnp.diagonal(matrix) * at["scale"],
    }[wrt]
    np.testing.assert_allclose(gradient, np.tile(want, (4, 1)), atol=1e-10)


def test_delta_method_expands_the_rest_of_a_program(x64):
    """The cost is quadratic only through a later pathwise site: f and its derivatives are the whole rest's."""

    def program(mu):
        x = yield lt.sample(lt.Normal(mu, 1.0), lt.ScoreFunction(lt.DeltaMethod(2)))
        y = yield lt.sample(lt.Normal(3.0 * x, 0.5), lt.Pathwise())
        yield lt.cost(y**2)

    gradient = jax.grad(lambda mu: lt.expect_program(jax.random.key(0), program, mu, num_samples=2))
    steps = jnp.array([0.0, 1.0])
    slope = jax.jit(jax.vmap(gradient))(steps)
    np.testing.assert_allclose(
        slope[1] - slope[0], 18.0, rtol=1e-10
    )  # d/dμ E y² = 18 μ + noise of y alone


def test_evaluations_are_counted():
    from logtrick._core.meter import evaluations_counted

    for baseline, want in ((lt.DeltaMethod(2), 2), (lt.MuProp(), 2), (lt.OptimalBaseline(), 1)):
        estimator = lt.ScoreFunction(baseline)
        with evaluations_counted() as counts:
            jax.eval_shape(
                lambda: lt.expect(
                    jax.random.key(0),
                    lambda x: x**2,
                    lt.Bernoulli(0.0),
                    estimator=estimator,
                    num_samples=3,
                )
            )
        assert counts == [3 * want] and estimator.evaluations == want


@pytest.mark.parametrize(
    "name", ["bernD4/poly/muprop", "ts200/theta.5/muprop", "ts200/theta.7/muprop"]
)
def test_muprop_rows(name):
    row = ROWS[name]
    draws = problem(row).gradients(
        lt.ScoreFunction(lt.MuProp()), row["n_samples"], row["suggested_M"]
    )
    print(name, check(row, draws))


def test_muprop_is_differentiable_in_forward_mode_too():
    value = lambda l: lt.expect(
        jax.random.key(0),
        lambda x: jnp.sum(x**3),
        lt.Bernoulli(l),
        estimator=lt.ScoreFunction(lt.MuProp()),
    )
    l = jnp.array([0.3, -1.0])
    forward, reverse = jax.jit(lambda l: (jax.jacfwd(value)(l), jax.grad(value)(l)))(l)
    np.testing.assert_allclose(forward, reverse, rtol=1e-5)


def test_first_order_expansion_of_a_one_hot_row(x64):
    values, at = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, -0.5, 0.2])
    p = jax.nn.softmax(at)
    noise = jnp.cumsum(p) - p / 2  # the middle of each class's cell

    def value(logits, noise):
        def program():
            x = yield lt.sample(
                lt.OneHotCategorical(logits), lt.ScoreFunction(lt.DeltaMethod(order=1))
            )
            yield lt.cost((x @ values) ** 2)

        return estimate(program, [noise[None]], 1)

    mean = p @ jax.jit(jax.vmap(jax.grad(value), (None, 0)))(at, noise)
    want = jax.grad(lambda logits: jax.nn.softmax(logits) @ values**2)(at)
    np.testing.assert_allclose(mean, want, atol=1e-12)


REFUSED = [
    (
        lt.OptimalBaseline(),
        lt.Bernoulli(0.0),
        1,
        r"ScoreFunction\(OptimalBaseline\(\)\) needs num_samples >= 2",
    ),
    (lt.ControlVariate(lambda x: x, lambda d: 0.5), lt.Bernoulli(0.0), 2, "needs num_samples >= 3"),
    (
        lt.ControlVariate(lambda x: jnp.ones(2), lambda d: 0.5),
        lt.Bernoulli(0.0),
        3,
        r"ControlVariate: h must return a sc",
    ),
    (
        lt.ControlVariate(lambda x: x, lambda d: None),
        lt.Bernoulli(0.0),
        3,
        "ControlVariate: expected_h must return",
    ),
    (lt.MuProp(), lt.Normal(0.0, 1.0), 3, r"MuProp\(\) needs Bernoullis; got Normal"),
    (
        lt.DeltaMethod(1),
        lt.Categorical(jnp.zeros(3)),
        3,
        r"DeltaMethod\(\) needs a mean in closed form; Categorical",
    ),
    (
        lt.DeltaMethod(2),
        lt.MultivariateNormal(jnp.zeros(2), jnp.eye(2)),
        3,
        r"DeltaMethod\(order=2\) needs independent",
    ),
    # the entries of a row depend on each other: their variances alone gave a gradient a third as large
    (
        lt.DeltaMethod(),
        lt.OneHotCategorical(jnp.zeros(3)),
        3,
        r"needs independent coordinates .* OneHotCategorical",
    ),
    (
        lt.DeltaMethod(2),
        lt.Dirichlet(jnp.ones(3)),
        3,
        r"needs independent .*Dirichlet has none.*DeltaMethod\(order=1\)",
    ),
]


@pytest.mark.parametrize(("baseline", "dist", "runs", "match"), REFUSED)
def test_refusals(baseline, dist, runs, match):
    with pytest.raises(ValueError, match=match):
        lt.expect(
            jax.random.key(0), jnp.sum, dist, estimator=lt.ScoreFunction(baseline), num_samples=runs
        )


def test_arguments():
    with pytest.raises(ValueError, match=r"DeltaMethod\(order=…\) needs 1 or 2; got 3"):
        lt.DeltaMethod(3)
    with pytest.raises(
        TypeError, match=r"ControlVariate\(expected_h=…\) needs a function; got 0.5"
    ):
        lt.ControlVariate(lambda x: x, 0.5)
    with pytest.raises(
        TypeError, match=r"ScoreFunction\(baseline=…\) needs a baseline; got float 3.0"
    ):
        lt.ScoreFunction(3.0)


def test_the_optimal_baseline_of_large_costs():
    """In float32: 10⁶ in f moved the gradient by 2 %, 10⁸ made it any number between −2 and 4."""

    def gradient(shift):
        value = lambda logit: lt.expect(
            jax.random.key(0),
            lambda x: shift + 8 * x,
            lt.Bernoulli(logit),
            estimator=lt.ScoreFunction(lt.OptimalBaseline()),
            num_samples=64,
        )
        return jax.jit(jax.grad(value))(0.3)

    np.testing.assert_allclose(gradient(1e6), gradient(0.0), rtol=1e-3)
    np.testing.assert_allclose(gradient(1e8), gradient(0.0), rtol=0.5)

"""Exact expectations, gradients and variances against closed forms (Mohamed et al. 2020, JMLR 21(132), section 3)."""

import itertools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.noise import KeyPerRun, Uniform
from logtrick.testing import exact_estimator_variance, exact_expectation, exact_gradient


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        yield


def close(a, b):
    np.testing.assert_allclose(np.asarray(a), b, rtol=1e-10, atol=1e-12)


def normal(mu):
    return lt.Normal(mu, jnp.asarray(1.0))


def sigmoid(t):
    return 1 / (1 + np.exp(-t))


def test_finite_expectations_by_hand():
    logits = jnp.array([0.3, -1.0])
    p = sigmoid(np.array(logits))
    f = lambda x: (x[0] + 2 * x[1]) ** 2
    by_hand = sum(
        np.prod(np.where(x, p, 1 - p)) * (x[0] + 2 * x[1]) ** 2
        for x in map(np.array, itertools.product([0, 1], repeat=2))
    )
    close(exact_expectation(f, lt.Bernoulli(logits)), by_hand)
    close(
        exact_expectation(lambda x: x**2, lt.Categorical(jnp.log(jnp.array([0.2, 0.3, 0.5])))),
        0.3 + 4 * 0.5,
    )
    close(
        exact_expectation(lambda x: (x, 2.0), lt.Bernoulli(jnp.asarray(0.0))), 2.5
    )  # costs are summed


def test_derivatives_to_second_order():
    orders = lambda f, at: jax.jit(lambda t: (f(t), jax.grad(f)(t), jax.grad(jax.grad(f))(t)))(at)
    mean = lambda t: exact_expectation(lambda x: 3 * x, lt.Bernoulli(t))
    p = sigmoid(0.7)
    close(orders(mean, 0.7), [3 * p, 3 * p * (1 - p), 3 * p * (1 - p) * (1 - 2 * p)])
    square = lambda m: exact_expectation(lambda x: x**4, normal(m))
    close(orders(square, 1.5), [21.5625, 31.5, 39.0])
    spread = lambda s: exact_expectation(lambda x: x**2, lt.Normal(jnp.asarray(0.5), s))
    close(orders(spread, 2.0), [4.25, 4.0, 2.0])


def test_several_dimensions():
    chol = jnp.array([[1.0, 0.0], [0.5, 2.0]])
    close(
        exact_expectation(
            lambda x: x[0] * x[1], lt.MultivariateNormal(jnp.array([1.0, 2.0]), chol)
        ),
        2.5,
    )
    close(exact_expectation(jnp.sum, lt.Normal(jnp.arange(3.0), 1.0)), 3.0)
    close(exact_expectation(lambda x: 2.0 + jnp.sum(x), lt.Normal(jnp.zeros(0), 1.0)), 2.0)


def test_f_need_not_be_differentiable_in_x():
    close(
        jax.grad(lambda m: exact_expectation(lambda x: jax.lax.stop_gradient(x**2), normal(m)))(
            1.0
        ),
        2.0,
    )


def test_the_gradient_has_the_direct_term():
    close(
        exact_gradient(lambda x, t: t * x, lt.Bernoulli, 0.7),
        sigmoid(0.7) + 0.7 * sigmoid(0.7) * sigmoid(-0.7),
    )
    gradient = exact_gradient(
        lambda x, p: x * p["b"], lambda p: normal(p["a"]), {"a": 2.0, "b": 3.0}
    )
    close([gradient["a"], gradient["b"]], [3.0, 2.0])


def test_points_of_probability_zero_contribute_nothing():
    dist = lt.Categorical(jnp.array([0.0, -jnp.inf, 0.0]))
    close(exact_expectation(lambda x: jnp.where(x == 1, jnp.nan, x), dist), 1.0)


KEY = jax.random.key(0)
NAIVE = lt.ScoreFunction(lt.NoBaseline())


@pytest.mark.parametrize("n", [1, 2])
def test_closed_form_variances_of_the_normal(n):
    """f = x², μ = σ = 1, d/dμ: the score function's variance is 30 / n, pathwise 4 / n."""
    f = lambda x, m: x**2
    for estimator, variance in ((NAIVE, 30.0), (lt.Pathwise(), 4.0)):
        moments = exact_estimator_variance(f, normal, 1.0, estimator=estimator, num_samples=n)
        close([moments.mean, moments.variance, moments.value], [2.0, variance / n, 2.0])


def test_leave_one_out_by_hand():
    """n = 2: g = (f₁ − f₂)(s₁ − s₂) / 2, all four pairs."""
    p, f = sigmoid(0.4), lambda x: (x - 0.45) ** 2
    pairs = [(a, b, np.prod([p if x else 1 - p for x in (a, b)])) for a in (0, 1) for b in (0, 1)]
    g = np.array([(f(a) - f(b)) * (a - b) / 2 for a, b, _ in pairs])
    w = np.array([w for *_, w in pairs])
    moments = exact_estimator_variance(lambda x, t: f(x), lt.Bernoulli, 0.4, num_samples=2)
    close([moments.mean, moments.variance], [w @ g, w @ g**2 - (w @ g) ** 2])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_means_of_independent_runs_have_a_variance_over_n(n):
    """Odd numbers of runs too: the engine asks for rows past the end, which must not be taken twice."""
    logits = jnp.array([0.3, -0.5])
    f = lambda x, t: jnp.sum((x - 0.45) ** 2) + t[0] * x[1]
    one = exact_estimator_variance(f, lt.Bernoulli, logits, estimator=NAIVE, num_samples=1)
    several = exact_estimator_variance(f, lt.Bernoulli, logits, estimator=NAIVE, num_samples=n)
    close(several.mean, exact_gradient(f, lt.Bernoulli, logits))
    close(several.variance, np.asarray(one.variance) / n)
    if n > 1:
        close(exact_estimator_variance(f, lt.Bernoulli, logits, num_samples=n).mean, one.mean)


def test_categorical_draws_through_the_engine():
    logits = jnp.array([0.1, 0.5, -0.4])
    f = lambda x, t: (x - 0.6) ** 2 + t[2]
    moments = exact_estimator_variance(f, lt.Categorical, logits, num_samples=2)
    close(moments.mean, exact_gradient(f, lt.Categorical, logits))
    assert np.all(moments.variance > 0)


def test_enumerate_has_no_variance():
    moments = exact_estimator_variance(
        lambda x, t: x.sum() ** 2,
        lt.Bernoulli,
        jnp.zeros(3),
        estimator=lt.Enumerate(),
        num_samples=5,
    )
    close(moments.variance, np.zeros(3))
    close(moments.mean, exact_gradient(lambda x, t: x.sum() ** 2, lt.Bernoulli, jnp.zeros(3)))


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.9, 1.1])
def test_a_planted_bias_shows(factor):
    class Biased(lt.Estimator):
        def draw(self, noise, dist):
            return lt.Points(dist.draw(noise), dist)

        def close(self, costs, points, runs):
            box = lt.magic_box(points.dist.log_prob(points.x))
            return costs.plus(factor * jax.lax.stop_gradient(costs.total) * (box - 1))

    f = lambda x, t: (x - 0.2) ** 2
    exact = exact_gradient(f, lt.Bernoulli, 0.5)
    close(
        exact_estimator_variance(f, lt.Bernoulli, 0.5, estimator=Biased(), num_samples=2).mean,
        factor * exact,
    )


class ARM(lt.Estimator):
    """Augment-REINFORCE-merge for one Bernoulli (Yin & Zhou 2019): uniform noise of its own, jumps at σ(±θ)."""

    max_order: ClassVar[float] = 1

    def noise(self, dist):
        return {"u": Uniform((), dist.logits.dtype)}

    def draw(self, noise, dist):
        u, p = noise["u"], jax.nn.sigmoid(jax.lax.stop_gradient(dist.logits))
        pair = jnp.stack([u > 1 - p, u < p]).astype(dist.logits.dtype)
        return lt.Points(pair, dist, stacked=True, kept=u)

    def close(self, costs, points, runs):
        difference = costs.total[0] - costs.total[1]
        linear = points.dist.logits - jax.lax.stop_gradient(points.dist.logits)
        zero = jax.lax.stop_gradient(difference * (points.kept - 0.5)) * linear
        return costs.averaged(jnp.array([0.5, 0.5])).plus(zero)


def test_an_estimator_with_uniform_noise_of_its_own():
    f, theta = lambda x, t: (x - 0.45) ** 2, 0.8
    p = sigmoid(theta)
    moments = exact_estimator_variance(
        f, lt.Bernoulli, theta, estimator=ARM(), num_samples=1, breaks=[[1 - p, p]]
    )
    close(moments.mean, exact_gradient(f, lt.Bernoulli, theta))
    # the difference is ±0.1 outside of (1 − p, p): E[g²] = 0.01 · 2 ∫_p¹ (u − ½)² du
    second = 0.01 * 2 * (0.125 - (p - 0.5) ** 3) / 3
    close(moments.variance, second - np.asarray(moments.mean) ** 2)
    two = exact_estimator_variance(
        f, lt.Bernoulli, theta, estimator=ARM(), num_samples=2, breaks=[[1 - p, p]]
    )
    close([two.mean, two.variance], [moments.mean, moments.variance / 2])
    for breaks in (None, [[0.5], [0.5]]):
        with pytest.raises(ValueError, match="a sequence for each of the 1 coordinates"):
            exact_estimator_variance(f, lt.Bernoulli, theta, estimator=ARM(), breaks=breaks)


@pytest.mark.parametrize("name", ["ARM", "DisARM", "LocalExpectation", "GumbelSoftmax"])
def test_estimators_of_bits_have_uniforms_of_their_own(name):
    """As many as the bits: they were taken for the bits' own, and the moments were wrong without a word."""
    estimator = {"GumbelSoftmax": lambda: lt.GumbelSoftmax(1.0)}.get(name, getattr(lt, name))()
    theta, f = jnp.array([0.8, -0.3]), lambda x, t: (x[0] - 2.0 * x[1] + 0.3 * t[0]) ** 2
    breaks = [[sigmoid(t), 1 - sigmoid(t)] for t in np.asarray(theta)]
    moments = exact_estimator_variance(
        f, lt.Bernoulli, theta, estimator=estimator, num_samples=1, breaks=breaks, order=12
    )
    value = lambda t, key: lt.expect(
        key, lambda x: f(x, t), lt.Bernoulli(t), estimator=estimator, num_samples=1
    )
    draws = jax.jit(jax.vmap(jax.grad(value), (None, 0)))(
        theta, jax.random.split(jax.random.key(0), 20_000)
    )
    lt.testing.assert_unbiased(draws, moments.mean, resolve=0.1, scale=1.0)
    np.testing.assert_allclose(np.var(draws, 0), moments.variance, rtol=0.1)
    with pytest.raises(ValueError, match="a sequence for each of the 2 coordinates"):
        exact_estimator_variance(f, lt.Bernoulli, theta, estimator=estimator, num_samples=1)


class Keyed(lt.Estimator):
    def noise(self, dist: Any) -> Any:
        return KeyPerRun()

    def draw(self, noise: Any, dist: Any) -> lt.Points:
        return lt.Points(jnp.zeros(()), dist)

    def close(self, costs: Any, points: lt.Points, runs: Any) -> Any:
        return costs


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (
            lambda f: exact_expectation(lambda x: x, lt.Poisson(jnp.asarray(2.0))),
            "needs a finite support or standard-normal",
        ),
        (
            lambda f: exact_estimator_variance(f, lt.Poisson, 2.0),
            "needs a finite support or standard-normal",
        ),
        (
            lambda f: exact_expectation(jnp.sum, lt.Normal(jnp.zeros(9), 1.0)),
            "in each of 9 dimensions needs 8 or more",
        ),
        (
            lambda f: exact_estimator_variance(f, lt.Bernoulli, jnp.zeros(5), num_samples=4),
            "make 1048576 tuples of 4",
        ),
        (
            lambda f: exact_estimator_variance(f, lt.Bernoulli, 0.0, estimator=Keyed()),
            "own noise is uniform; got KeyPerRun",
        ),
        (lambda f: exact_estimator_variance(f, lt.Bernoulli, 0.0, num_samples=0), "at least 1"),
        (
            lambda f: exact_estimator_variance(
                lambda x, t: x * lt.expect(KEY, jnp.sum, lt.Bernoulli(t)), lt.Bernoulli, 0.0
            ),
            "another one, inside of its f, would get the same numbers",
        ),
        (lambda f: exact_gradient(f, lt.Bernoulli, {}), "no trainable parameters"),
        (
            lambda f: exact_expectation(lambda x: x[None], lt.Bernoulli(jnp.asarray(0.0))),
            r"got shape \(1,\)",
        ),
    ],
)
def test_what_it_refuses(call, match):
    with pytest.raises(ValueError, match=match):
        call(lambda x, t: jnp.sum(x))

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

import logtrick as lt
from logtrick.estimators import Costs
from logtrick.estimators._unordered_set import set_weights
from tests.estimators.exact import LOGITS, bernoulli, coupled_bits_cost, exact, gradients, moments
from tests.oracles.problems import ROWS, check, problem

CAT = {3: np.array([0.3, -1.1, 0.8]), 4: np.array([0.5, -0.2, 1.5, -1.0])}
categorical = lambda params: lt.Categorical(params)


def indexed_cost(params, x):
    return jnp.array([3.0, 1.0, -2.0, 5.0])[x] + 0.3 * jnp.sin(x + jnp.sum(params**2))


def set_probability(p, points):
    """P(S): the sum over its orders."""
    total = 0.0
    for order in itertools.permutations(points):
        left, weight = 1.0, 1.0
        for s in order:
            weight, left = weight * p[s] / left, left - p[s]
        total += weight
    return total


def set_noise(p, k):
    """Uniforms that make every set of k points the top k, and its exact probability."""
    noise, weights = [], []
    for points in itertools.combinations(range(len(p)), k):
        u = np.full(len(p), 1e-12)
        u[list(points)] = 1 - 1e-12
        noise.append(u)
        weights.append(set_probability(p, points))
    assert abs(sum(weights) - 1) < 1e-12
    return np.array(noise)[:, None], np.array(weights)


def point_probabilities(dist):
    return np.asarray(jnp.exp(jax.vmap(dist.log_prob)(dist.enumerate())))


CASES = [(categorical, indexed_cost, CAT[3], k) for k in (1, 2)]
CASES += [(categorical, indexed_cost, CAT[4], k) for k in (3, 4)]
CASES += [(bernoulli, coupled_bits_cost, LOGITS[3], 3)]
MORE = [(categorical, indexed_cost, CAT[4], 2), (bernoulli, coupled_bits_cost, LOGITS[3], 5)]
MORE += [(bernoulli, coupled_bits_cost, LOGITS[2], k) for k in (1, 2, 4)]
CASES += [pytest.param(*case, marks=pytest.mark.full) for case in MORE]


@pytest.mark.parametrize("dist_of, cost, params, k", CASES)
def test_unbiased_over_all_sets(x64, dist_of, cost, params, k):
    noise, weights = set_noise(point_probabilities(dist_of(params)), k)
    value, mean, variance = moments(lt.UnorderedSet(k), dist_of, cost, params, noise, weights)
    want_value, want = exact(dist_of, cost, params)
    np.testing.assert_allclose(value, want_value, atol=1e-12)
    np.testing.assert_allclose(mean, want, atol=1e-12)
    if len(weights) == 1:  # the whole support: enumeration
        assert np.all(variance < 1e-28)


def one_run_value(params, noise, k):
    rest = lambda x: Costs({(0,): indexed_cost(params, x)})
    return lt.UnorderedSet(k)(noise[0], lt.Categorical(params), rest, None).total_and_zero


@pytest.mark.parametrize("k", [2, pytest.param(3, marks=pytest.mark.full)])
def test_the_second_derivative_over_all_sets(x64, k):
    """Magic boxes with R held constant are right at every order, the built-in baseline included."""
    params = CAT[3]
    noise, weights = set_noise(softmax(params), k)
    hessians = jax.jit(jax.vmap(jax.hessian(one_run_value), (None, 0, None)), static_argnums=2)(
        params, noise, k
    )
    want = jax.hessian(
        lambda p: jax.nn.softmax(p) @ jax.vmap(lambda x: indexed_cost(p, x))(jnp.arange(3))
    )(params)
    np.testing.assert_allclose(np.tensordot(weights, hessians, 1), want, atol=1e-12)


@pytest.mark.parametrize(
    "name", [i for i in ROWS if "/unordered" in i and "nobl" not in i and not i.startswith("ts")]
)
def test_oracle_row_exactly(x64, name):
    row, p = ROWS[name], problem(ROWS[name])
    params = np.asarray(p.params[p.wrt])
    dist_of = lambda theta: p.dist({**p.params, p.wrt: theta})
    noise, weights = set_noise(point_probabilities(dist_of(params)), row["n_samples"])
    _, mean, variance = moments(
        lt.UnorderedSet(row["n_samples"]),
        dist_of,
        lambda _, x: p.cost(p.params, x),
        params,
        noise,
        weights,
    )
    np.testing.assert_allclose(np.atleast_1d(mean), np.atleast_1d(row["exact_mean"]), atol=1e-12)
    np.testing.assert_allclose(
        np.atleast_1d(variance), np.atleast_1d(row["exact_variance"]), rtol=1e-9
    )


@pytest.mark.parametrize("name", ["cat5/quad/unordered3", "kool/eta0.0/unordered_bl/k2"])
def test_oracle_row_as_drawn(name):
    """By Gumbel top-k: the law of the sets too."""
    row = {**ROWS[name], "suggested_rtol_var": 0.05}
    check(row, problem(row).gradients(lt.UnorderedSet(row["n_samples"]), 1, 200_000))


def exact_weights(log_p, points):
    """In extended precision."""
    p = np.exp(np.asarray(log_p, np.longdouble))
    p = p / p.sum()

    def remaining(taken):
        total, rest = np.longdouble(0), [s for s in points if s not in taken]
        for order in itertools.permutations(rest):
            gone, weight = list(taken), np.longdouble(1)
            for s in order:
                weight *= p[s] / sum(p[t] for t in range(len(p)) if t not in gone)
                gone.append(s)
            total += weight
        return total

    whole = remaining([])
    first = [p[s] * remaining([s]) / whole for s in points]
    second = [
        [0 if s == t else p[t] * remaining([s, t]) / remaining([s]) for t in points] for s in points
    ]
    return np.array(first, float), np.array(second, float)


LOW_ENTROPY = np.array([0.0, -20.0, -25.0, -40.0, -60.0, -61.0])


@pytest.mark.parametrize("k", [2, 3, 4, 6])
@pytest.mark.parametrize(
    "logits",
    [LOW_ENTROPY, np.array([1.0, 0.9, -0.5, 0.0, 0.2, -3.0]), np.array([0.0, 0, 0, -80, -80, -80])],
)
def test_weights_in_float32(logits, k):
    """Relative accuracy of every weight, at low entropy, and for the whole support."""
    log_p, weigh = jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), jax.jit(set_weights)
    for points in itertools.islice(itertools.combinations(range(6), k), 5):
        first, second = weigh(log_p, jnp.array(points))
        want_first, want_second = exact_weights(logits, points)
        np.testing.assert_allclose(
            first, want_first, rtol=2e-4, atol=1e-30
        )  # log p of −80 itself is right to 8e-6
        np.testing.assert_allclose(second, want_second, rtol=2e-4, atol=1e-30)


def test_weights_sum_to_one_with_twelve_draws():
    log_p = jax.nn.log_softmax(-3.0 * jnp.arange(20.0))
    first, second = jax.jit(set_weights)(log_p, jnp.arange(12))
    assert abs(float(first.sum()) - 1) < 1e-5
    inside = np.exp(np.asarray(log_p[:12]))
    np.testing.assert_allclose(second.sum(1) + inside, 1.0, atol=1e-5)


def test_impossible_points():
    """More draws than there are possible points: f is not evaluated at the impossible, and the result is exact."""
    logits = jnp.array([0.0, -jnp.inf, 1.0, -jnp.inf])
    cost = lambda params, x: jnp.array([1.0, jnp.nan, 3.0, jnp.nan])[x]
    noise = jax.random.uniform(jax.random.key(0), (20, 1, 4))
    values, grads = gradients(lt.UnorderedSet(3), categorical, cost, logits, noise)
    p = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(values, p[0] + 3 * p[2], rtol=1e-6)
    np.testing.assert_allclose(
        grads, np.tile(p * (np.array([1, 0, 3, 0]) - (p[0] + 3 * p[2])), (20, 1)), atol=1e-6
    )


def test_a_constant_changes_nothing():
    noise = jax.random.uniform(jax.random.key(0), (50, 1, 3))
    grad = lambda c: gradients(
        lt.UnorderedSet(2), categorical, lambda _, x: x**2 + c, CAT[3].astype(np.float32), noise
    )[1]
    np.testing.assert_allclose(grad(0.0), grad(64.0), atol=3e-5)


@pytest.mark.parametrize(
    "k, kind, message",
    [
        (0, ValueError, "UnorderedSet.num_draws=….* at least 1"),
        (13, ValueError, "needs at most 12 draws, .* got 13. Use more num_samples"),
        (True, TypeError, "needs a static positive int"),
    ],
)
def test_refuses_illegal_numbers(k, kind, message):
    with pytest.raises(kind, match=message):
        lt.UnorderedSet(k)


def test_refuses_more_draws_than_points():
    message = r"UnorderedSet\(num_draws=…\) needs at most as many draws as the support has points, 2; got 3. Use Enumerate\(\)"
    with pytest.raises(ValueError, match=message):
        lt.expect(jax.random.key(0), lambda x: x, lt.Bernoulli(0.0), estimator=lt.UnorderedSet(3))


@pytest.mark.parametrize("estimator", [lt.UnorderedSet(3), lt.SumAndSample(3)])
@pytest.mark.parametrize("shift", [0.0, 1e8])
@pytest.mark.parametrize("probs", [(0.0, 1.0, 0.0), (0.5, 0.5, 0.0), (0.2, 0.3, 0.5)])
def test_of_all_points_they_are_enumerate(estimator, shift, probs):
    """Also at probabilities of exactly 0, where they gave 0, and of large costs, where SumAndSample gave 1e8 for 4."""
    cost = jnp.array([24.0, 8.0, 40.0]) + shift

    def value(p, estimator):
        return lt.expect(
            jax.random.key(0), lambda x: cost[x], lt.Categorical(probs=p), estimator=estimator
        )

    at = jnp.array(probs)
    found, want = (
        jax.jit(jax.value_and_grad(value), static_argnums=1)(at, e)
        for e in (estimator, lt.Enumerate())
    )
    np.testing.assert_array_equal(found[0], want[0])
    np.testing.assert_array_equal(found[1], want[1])
    assert jax.eval_shape(jax.hessian(value), at, estimator).shape == (3, 3)

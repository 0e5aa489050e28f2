"""The law of programs: whatever the estimators of its sites, the expectation of every derivative is the derivative of
the expectation; all cells of the noise of two runs are summed, in double precision."""

import dataclasses
import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.programs.exact import all_runs, estimate, expected, up_to
from tests.programs.kinds import KINDS, Kind, chain_cells, exact

RUNS = 2
TWO = (0.3, -0.6)
THREE = (0.3, -0.6, 0.4)


def parameter(theta, i, values):
    """Each site depends on those before it; the third on the first through the second, and directly."""
    return theta[i] + sum((2.0 - 0.7 * j) * v for j, v in enumerate(values))


def pair_costs(theta, a, b):
    yield (b - 0.45) ** 2
    yield a * b * jnp.sin(theta[0]) + theta[1] ** 2 * a + theta[0] * theta[1]


def pair(theta, first, second):
    a = yield lt.sample(first.family.dist(parameter(theta, 0, ())), first.estimator)
    b = yield lt.sample(second.family.dist(parameter(theta, 1, (a,))), second.estimator)
    for c in pair_costs(theta, a, b):
        yield lt.cost(c)


def triple_costs(theta, a, b, c):
    yield a * theta[0]
    yield (c - 0.3) ** 2 * (1 + theta[2])
    yield b * theta[0] * theta[1] + 0.5 * a * c


def triple(theta, *kinds):
    values = []
    for i, kind in enumerate(kinds):
        values.append(
            (yield lt.sample(kind.family.dist(parameter(theta, i, values)), kind.estimator))
        )
        if i == 0:
            yield lt.cost(values[0] * theta[0])
    for c in list(triple_costs(theta, *values))[1:]:
        yield lt.cost(c)


def check(program, costs, kinds, theta):
    theta = jnp.array(theta)
    order = int(min(2, *(k.estimator.max_order for k in kinds), math.inf))
    cells, probabilities = chain_cells(kinds, parameter, theta)
    noises, weights = all_runs(cells, probabilities, RUNS)
    assert abs(weights.sum() - 1) < 1e-12
    found = expected(
        lambda n: up_to(order, lambda t: estimate(lambda: program(t, *kinds), n, RUNS))(theta),
        noises,
        weights,
    )
    truth = up_to(order, lambda t: exact(kinds, parameter, lambda t, v: sum(costs(t, *v)), t))(
        theta
    )
    for o, (got, want) in enumerate(zip(found, truth)):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10, err_msg=f"order {o}")
    assert order < 2 or abs(truth[2][0, 1]) > 0.05  # the cross derivative is there to be lost


def ordered_pairs():
    """All of them. By default each kind is the first of three, and the second of three; the random programs have the others."""
    pairs = []
    for i, j in itertools.product(range(len(KINDS)), repeat=2):
        marks = [pytest.mark.full] if (j - i) % len(KINDS) in (2, 4) else []
        pairs.append(pytest.param(KINDS[i], KINDS[j], marks=marks))
    return pairs


@pytest.mark.parametrize("first, second", ordered_pairs(), ids=lambda k: k.name)
def test_every_ordered_pair(x64, first, second):
    check(pair, pair_costs, (first, second), TWO)


SCORE, LOO, SUM, PATH = KINDS[:4]


@pytest.mark.parametrize(
    "kinds",
    [(LOO, LOO, LOO), (LOO, SUM, SCORE), (PATH, LOO, SUM)],
    ids=lambda ks: ", ".join(k.name for k in ks),
)
def test_three_sites(x64, kinds):
    check(triple, triple_costs, kinds, THREE)


@pytest.mark.full
@pytest.mark.parametrize(
    "kinds", list(itertools.product(KINDS, repeat=3)), ids=lambda ks: ", ".join(k.name for k in ks)
)
def test_every_ordered_triple(x64, kinds):
    check(triple, triple_costs, kinds, THREE)


class AsZero(lt.Estimator):
    """The score function, all of it in a term of value zero."""

    credited: bool

    def draw(self, noise, dist):
        return lt.Points(dist.draw(noise), dist)

    def close(self, costs, points, runs):
        zero = costs.total * (lt.magic_box(points.dist.log_prob(points.x)) - 1)
        if self.credited:
            return costs.plus(zero)
        return dataclasses.replace(costs, others={**costs.others, (-3,): zero})


def test_terms_of_value_zero_are_credited_by_earlier_sites(x64):
    check(pair, pair_costs, (LOO, Kind("as zero", AsZero(True))), TWO)
    with pytest.raises(
        AssertionError, match="order 2"
    ):  # the gradient is right, the cross derivative is lost
        check(pair, pair_costs, (LOO, Kind("as zero", AsZero(False))), TWO)


def test_the_law_catches_a_shrunk_gradient(x64):
    class InSample(lt.Estimator):
        def draw(self, noise, dist):
            return lt.Points(dist.draw(noise), dist)

        def close(self, costs, points, runs):
            box = lt.magic_box(points.dist.log_prob(points.x))
            return costs.scored(box).plus(runs.sum(costs.total) / runs.count * (1 - box))

    with pytest.raises(AssertionError, match="order 1"):
        check(pair, pair_costs, (LOO, Kind("in-sample mean", InSample())), TWO)

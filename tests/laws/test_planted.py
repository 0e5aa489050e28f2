"""The tests of the tests: classic bugs, planted in doubles of the score function, each fail the exact law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.kernel import magic_box, stop


class Planted(lt.Estimator, abstract=True):
    """The score function in the open, for its subclasses to break."""

    def draw(self, noise, dist):
        x = dist.draw(noise)
        return lt.Points(x, dist, kept=dist.log_prob(x))


class Right(Planted):
    def close(self, costs, points, runs):
        box = magic_box(points.kept)
        return costs.scored(box).plus(runs.leave_one_out(stop(costs.total)) * (1 - box))


class OwnSample(Planted):
    """FAULTS 7: the mean of all runs."""

    def close(self, costs, points, runs):
        box = magic_box(points.kept)
        return costs.scored(box).plus(runs.sum(stop(costs.total)) / runs.count * (1 - box))


class NotStopped(Planted):
    """FAULTS 8: a baseline that carries a derivative of its own."""

    def close(self, costs, points, runs):
        box = magic_box(points.kept)
        return costs.scored(box).plus(
            costs.total * (1 - box) + 0.5 * (costs.total - stop(costs.total))
        )


class NoScore(Planted):
    """FAULTS 16: the score is lost."""

    def close(self, costs, points, runs):
        return costs


class NoDirectTerm(Planted):
    """FAULTS 6: f's own dependence on the parameters is lost."""

    def close(self, costs, points, runs):
        return costs.plus(
            -costs.total + stop(costs.total) + stop(costs.total) * (magic_box(points.kept) - 1)
        )


class WrongSign(Planted):
    def close(self, costs, points, runs):
        return costs.scored(2 - magic_box(points.kept))


class Shrunk(Planted):
    """0.9 of the score term: what a test at 10 % passes."""

    def close(self, costs, points, runs):
        return costs.scored(0.1 + 0.9 * magic_box(points.kept))


def mean_error(estimator, family, f):
    theta = jnp.array([0.4, -0.3])
    moments = lt.testing.exact_estimator_variance(
        f, family, theta, estimator=estimator, num_samples=2
    )
    exact = lt.testing.exact_gradient(f, family, theta)
    return float(np.max(np.abs(np.asarray(moments.mean) - np.asarray(exact))))


def bits(x, t):
    return (x[0] - 0.45) ** 2 + 0.7 * x[0] * x[1] * (1 + t[0])


FAMILIES = {"bernoulli": lt.Bernoulli, "normal": lambda t: lt.Normal(t, 1.0)}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_right_one_passes(family):
    assert mean_error(Right(), FAMILIES[family], bits) < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bug", [OwnSample, NotStopped, NoScore, NoDirectTerm, WrongSign, Shrunk])
def test_a_planted_bug_fails(bug, family):
    assert mean_error(bug(), FAMILIES[family], bits) > 1e-3


def test_a_lost_credit_fails():
    """A cost credited only to the site whose draw it names loses d/dt0 of b ~ Bern(t1 + 2a)."""

    def program(t, a_is_credited):
        a = yield lt.sample(lt.Bernoulli(t[0]), lt.Enumerate())
        b = yield lt.sample(
            lt.Bernoulli(t[1] + 2.0 * (a if a_is_credited else stop(0 * a + 0.5))), lt.Enumerate()
        )
        yield lt.cost(b)

    grad = lambda credited: jax.grad(
        lambda t: lt.expect_program(jax.random.key(0), program, t, credited, num_samples=1)
    )(jnp.array([0.2, -0.5]))
    assert grad(True)[0] > 0.05 and grad(False)[0] == 0.0

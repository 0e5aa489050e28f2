"""The oracle lists points from the support: a family whose own enumeration is wrong is found out, and does not mislead it."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import supports
from logtrick.distributions import Distribution, Enumeration, Factorized
from logtrick.noise import Uniform
from logtrick.testing._atoms import atoms

KEY = jax.random.key(0)


class Planted(Distribution):
    """A categorical of three classes, whose `enumerate` misses the last one."""

    logits: Any
    event_shape = ()
    support = supports.IntegerBelow(3)
    noise_spec = Uniform(())
    enumeration = Enumeration(lambda: jnp.arange(2))

    def _transform(self, noise):
        return lt.Categorical(self.logits).transform(noise)

    def _log_prob(self, x):
        return lt.Categorical(self.logits).log_prob(x)


LOGITS = np.array([0.3, -1.0, 0.7])


def cost(x, logits):
    return (x - 0.45) ** 2 + x


def by_hand(logits):
    return jax.nn.softmax(logits) @ cost(jnp.arange(3.0), logits)


def test_an_enumeration_that_misses_a_point_does_not_mislead_the_oracle(x64):
    value = lt.testing.exact_expectation(lambda x: cost(x, LOGITS), Planted(LOGITS))
    np.testing.assert_allclose(value, by_hand(LOGITS), rtol=1e-12)
    gradient = lt.testing.exact_gradient(cost, Planted, LOGITS)
    np.testing.assert_allclose(gradient, jax.grad(by_hand)(LOGITS), rtol=1e-12)
    score = lt.testing.exact_estimator_variance(cost, Planted, LOGITS, num_samples=2)
    np.testing.assert_allclose(score.mean, gradient, rtol=1e-10)
    summed = lt.testing.exact_estimator_variance(
        cost, Planted, LOGITS, estimator=lt.Enumerate(), num_samples=1
    )
    assert np.abs(summed.mean - gradient).max() > 0.1  # the fault is seen, where it is


def test_check_distribution_counts_what_is_enumerated():
    with pytest.raises(ValueError, match="enumerates .*lists 2 points, 2 of the 3 of its support"):
        lt.testing.check_distribution(KEY, Planted, jnp.asarray(LOGITS), num_samples=1000)


class Narrow(Factorized):
    """A categorical of three classes that declares two of them."""

    logits: Any
    event_shape = ()
    support = supports.IntegerBelow(2)
    noise_spec = Uniform(())

    def _transform(self, noise):
        return lt.Categorical(self.logits).transform(noise)

    def _log_kernel(self, x):
        return lt.Categorical(self.logits).log_prob(x)


def test_probabilities_that_do_not_sum_to_one_are_refused():
    said = "the 2 points in the support of Narrow, IntegerBelow.size=2., sum to 0.46"
    logits = jnp.asarray(LOGITS)
    with pytest.raises(ValueError, match=said):
        lt.testing.exact_expectation(lambda x: x * 1.0, Narrow(logits))
    with pytest.raises(ValueError, match=said):
        lt.testing.exact_gradient(cost, Narrow, logits)
    with pytest.raises(ValueError, match=said):
        lt.testing.exact_estimator_variance(cost, Narrow, logits)
    traced = jax.jit(lambda l: lt.testing.exact_expectation(lambda x: x * 1.0, Narrow(l)))
    assert np.isnan(traced(logits))


def test_no_finite_support_is_refused():
    with pytest.raises(
        ValueError, match="needs a finite support or standard-normal noise; Poisson"
    ):
        lt.testing.exact_expectation(lambda x: x, lt.Poisson(2.0))


BITS = [np.array(b, float) for b in itertools.product([0, 1], repeat=2)]
LISTED = {
    "bits": (lt.Bernoulli(jnp.zeros(2)), BITS),
    "one bit": (lt.Bernoulli(0.0), [0.0, 1.0]),
    "classes": (lt.Categorical(jnp.zeros((2, 3))), list(itertools.product(range(3), repeat=2))),
    "one-hot": (lt.OneHotCategorical(jnp.zeros((1, 3))), list(np.eye(3)[:, None])),
    "counts": (lt.Binomial(2, 0.0), [0.0, 1.0, 2.0]),
    "rankings": (
        lt.PlackettLuce(jnp.zeros(3), length=2),
        list(itertools.permutations(range(3), 2)),
    ),
}


@pytest.mark.parametrize("name", LISTED)
def test_the_points_of_each_support(name):
    dist, want = LISTED[name]
    listed = atoms("test", dist)
    np.testing.assert_array_equal(listed, np.array(want))
    assert listed.dtype == dist.sample(KEY).dtype


def test_the_points_of_a_product():
    pair = lt.Joint({"a": lt.Bernoulli(0.0), "b": lt.Joint((lt.Categorical(jnp.zeros(3)),))})
    listed = atoms("test", pair)
    assert jax.tree.structure(listed) == jax.tree.structure(pair.sample(KEY))
    seen = list(zip(listed["a"].tolist(), listed["b"][0].tolist()))
    assert seen == list(itertools.product([0.0, 1.0], range(3)))


def test_the_points_of_components_of_unequal_supports_are_their_own():
    mixture = lt.Mixture(jnp.zeros(2), (lt.Binomial(1, 0.0), lt.Binomial(2, 0.0)))
    np.testing.assert_array_equal(atoms("test", mixture), [0.0, 1.0, 2.0])
    value = lt.testing.exact_expectation(lambda x: x, mixture)
    np.testing.assert_allclose(value, 0.75, rtol=1e-6)


def test_too_many_points_are_refused():
    with pytest.raises(ValueError, match="the support has 2097152 points; at most 1048576"):
        lt.testing.exact_expectation(jnp.sum, lt.Bernoulli(jnp.zeros(21)))

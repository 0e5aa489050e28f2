"""The guides: distributions that sum to one, with samplers that draw what their log-probs say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._variable_selection.guides import (
    AUTOREGRESSIVE,
    GUIDES,
    AutoregressiveBits,
    autoregressive,
)
from logtrick.distributions import Bernoulli

POINTS = Bernoulli(jnp.zeros(4)).enumerate()


def moved(q):
    """The distribution with its parameters moved at random."""
    leaves, tree = jax.tree.flatten(q)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    return tree.unflatten([jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)])


RANDOM = moved(AUTOREGRESSIVE.start(4))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.name)
def test_a_guide_is_a_distribution_and_starts_uniform(guide):
    for q, uniform in ((guide.start(4), True), (moved(guide.start(4)), False)):
        log_q = np.asarray(jax.vmap(q.log_prob)(POINTS), np.float64)
        np.testing.assert_allclose(np.exp(log_q).sum(), 1, atol=1e-6)
        assert np.allclose(log_q, -4 * np.log(2), atol=1e-6) == uniform


def test_the_richer_guide_contains_the_poorer():
    poorer = moved(GUIDES[0].start(4))
    richer = AUTOREGRESSIVE.containing(poorer)
    np.testing.assert_allclose(
        jax.vmap(richer.log_prob)(POINTS), jax.vmap(poorer.log_prob)(POINTS), rtol=1e-6
    )


def test_the_autoregressive_bits_pass_the_checks_of_any_distribution():
    lt.testing.check_distribution(jax.random.key(0), lambda q: q, RANDOM)


def test_the_autoregressive_sampler_draws_what_its_log_prob_says():
    """Exact: a coordinate is 1 exactly where its uniform is below the conditional probability of the log-prob."""
    log_q = np.asarray(jax.vmap(RANDOM.log_prob)(POINTS), np.float64)
    points = np.asarray(POINTS)
    for seed in range(20):
        uniform = RANDOM.noise(jax.random.key(seed))
        x = np.asarray(RANDOM.transform(uniform))
        for j in range(4):
            # q(γ_j = 1 | γ_<j), summing the coordinates after j out of the log-prob
            q = np.exp(log_q) * np.all(points[:, :j] == x[:j], axis=1)
            conditional = q[points[:, j] == 1].sum() / q.sum()
            assert x[j] == (uniform[j] < conditional)


def test_weights_above_the_diagonal_are_not_read():
    above = 5 * jnp.triu(jnp.ones((4, 4)))
    other = AutoregressiveBits(RANDOM.bias, RANDOM.weights + above)
    for point in POINTS[::5]:
        assert RANDOM.log_prob(point) == other.log_prob(point)
    key = jax.random.key(1)
    assert (RANDOM.sample(key) == other.sample(key)).all()


def test_the_second_derivative_at_the_start_survives_nested_scans():
    """Every logit starts at 0 exactly, where JAX's own log-sigmoid loses its second derivative."""
    point = jnp.array([1.0, 0.0, 1.0, 1.0])

    def total(bias):
        q = lambda c: autoregressive(bias * c[0])
        inner = lambda c, _: (c + q(c).log_prob(point) * c, None)
        outer = lambda c, _: (jax.lax.scan(inner, jnp.ones(1), length=1)[0], None)
        return jax.lax.scan(outer, jnp.ones(1), length=1)[0][0] - 1

    np.testing.assert_allclose(jax.hessian(total)(jnp.zeros(4)), -0.25 * np.eye(4), atol=1e-6)

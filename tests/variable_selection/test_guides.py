"""The guides: distributions that sum to one, with samplers that draw what their log-probs say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logtrick._variable_selection import guides
from logtrick._variable_selection.guides import AUTOREGRESSIVE, GUIDES
from logtrick.distributions import Bernoulli

POINTS = Bernoulli(jnp.zeros(4)).enumerate()


def random_params(guide):
    leaves, tree = jax.tree.flatten(guide.initial(4))
    keys = jax.random.split(jax.random.key(3), len(leaves))
    return tree.unflatten([jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)])


@pytest.mark.parametrize("guide", GUIDES, ids=lambda g: g.name)
def test_a_guide_is_a_distribution_and_starts_uniform(guide):
    for params, uniform in ((guide.initial(4), True), (random_params(guide), False)):
        log_q = np.asarray(jax.vmap(guide.family(params).log_prob)(POINTS), np.float64)
        np.testing.assert_allclose(np.exp(log_q).sum(), 1, atol=1e-6)
        assert np.allclose(log_q, -4 * np.log(2), atol=1e-6) == uniform


def test_the_autoregressive_sampler_draws_what_its_log_prob_says():
    """Exact: a coordinate is 1 exactly where its uniform is below the conditional probability of the log-prob."""
    params = random_params(AUTOREGRESSIVE)
    key = jax.random.key(0)
    for _ in range(20):
        key, draw_key = jax.random.split(key)
        x = np.asarray(guides.sample(draw_key, params))
        uniform = np.asarray(jax.random.uniform(draw_key, (4,)))
        for j in range(4):
            # q(γ_j = 1 | γ_<j), summing the coordinates after j out of the log-prob
            alike = np.all(np.asarray(POINTS)[:, :j] == x[:j], axis=1)
            q = (
                np.exp(
                    np.asarray(jax.vmap(lambda g: guides.log_prob(params, g))(POINTS), np.float64)
                )
                * alike
            )
            conditional = q[np.asarray(POINTS)[:, j] == 1].sum() / q.sum()
            assert x[j] == (uniform[j] < conditional)


def test_weights_above_the_diagonal_are_not_read():
    params = random_params(AUTOREGRESSIVE)
    other = {**params, "weights": params["weights"] + 5 * jnp.triu(jnp.ones((4, 4)))}
    for point in POINTS[::5]:
        assert guides.log_prob(params, point) == guides.log_prob(other, point)
    assert (
        guides.sample(jax.random.key(1), params) == guides.sample(jax.random.key(1), other)
    ).all()


def test_the_second_derivative_at_the_start_survives_nested_scans():
    """Every logit starts at 0 exactly, where JAX's own log-sigmoid loses its second derivative."""
    point = jnp.array([1.0, 0.0, 1.0, 1.0])
    weights = AUTOREGRESSIVE.initial(4)["weights"]

    def total(bias):
        inner = lambda c, _: (
            c + guides.log_prob({"bias": bias * c[0], "weights": weights}, point) * c,
            None,
        )
        outer = lambda c, _: (jax.lax.scan(inner, jnp.ones(1), length=1)[0], None)
        return jax.lax.scan(outer, jnp.ones(1), length=1)[0][0] - 1

    np.testing.assert_allclose(jax.hessian(total)(jnp.zeros(4)), -0.25 * np.eye(4), atol=1e-6)

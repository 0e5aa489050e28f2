"""What other libraries get wrong, each with the right value."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick import vi
from logtrick.vi._stop import von_neumann_error
from tests.vi.exact import moments, normal_noise
from tests.vi.objectives import ChiSquare, JensenShannon


def test_successive_differences_are_of_successive_values():
    """A running correlation that keeps the first value for ever compares (1, −5, −5) with 1, not with its neighbor."""
    values = np.array([1.0, -5.0, -5.0])
    np.testing.assert_allclose(von_neumann_error(values) ** 2, 0.5 * (36 + 0) / 2 / 3)


OBJECTIVES = [
    vi.ELBO(),
    vi.IWELBO(3),
    vi.Renyi(0.5, 3),
    vi.Renyi(-1.0, 3),
    vi.InclusiveKL(),
    vi.LogVariance(),
    JensenShannon(3),
    ChiSquare(3),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_a_shift_of_log_z_changes_no_gradient(x64, objective):
    """Weights exponentiated as they are: 1e-44 at a shift of −100, 0 at −1,000, nan at +1,000."""
    q = vi.MeanFieldNormal(like=np.array([0.4]), scale=0.8)

    def grad(shift):
        log_density = lambda z: -0.5 * z[0] ** 2 + shift
        loss = lambda q: vi.loss(
            jax.random.key(0), log_density, q, objective=objective, num_samples=3
        )
        return jax.grad(loss)(q)

    plain = jax.tree.leaves(jax.jit(grad)(0.0))
    assert max(float(jnp.max(jnp.abs(g))) for g in plain) > 1e-3
    for shift in (-13_000.0, -1000.0, 1000.0):
        for a, b in zip(jax.tree.leaves(jax.jit(grad)(shift)), plain):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


def test_doubly_reparameterized_is_not_always_the_lower_variance(x64):
    """Near the optimum its variance is the lower, and far away the higher: nothing is claimed that was not measured."""
    log_density = lambda z: -0.5 * z[0] ** 2
    noise, weights = normal_noise(1, 2, 30)

    def variances(mean, scale):
        q = vi.MeanFieldNormal(like=np.array([mean]), scale=scale)
        given = {"objective": vi.IWELBO(2), "noise": noise, "weights": weights, "num_samples": 1}
        dreg = moments(q, log_density, estimator=vi.DReG(), **given)[1]
        total = moments(
            q, log_density, estimator=lt.Pathwise(), **{**given, "noise": noise[:, None]}
        )[1]
        return dreg.loc[0], total.loc[0]

    near, far = variances(0.1, 1.0), variances(2.0, 0.3)
    assert near[0] < 0.2 * near[1]
    assert far[0] > 2 * far[1]


def test_a_variance_of_one_draw_is_an_error():
    """By a population variance the gradient of VarGrad is identically 0 at one draw."""
    q = vi.MeanFieldNormal(like=0.0)
    with pytest.raises(ValueError, match=r"LogVariance\(\) needs num_samples >= 2; got 1"):
        vi.loss(jax.random.key(0), lambda z: -z, q, objective=vi.LogVariance(), num_samples=1)


def test_ranks_are_ranks():
    """Tail-adaptive weights by rank: of w = (3, 1, 2) the ranks are (3, 1, 2), where one argsort gives (2, 3, 1)."""

    class TailAdaptive(vi.Objective):
        maximize = False
        num_draws = None

        def ranks(self, log_weights):
            return jnp.argsort(jnp.argsort(log_weights)) + 1

        def value(self, log_weights):
            return -jnp.mean(log_weights)

        def held(self, log_weights):
            ranks = self.ranks(jax.lax.stop_gradient(log_weights))
            return ranks / jnp.sum(ranks) @ log_weights

    log_weights = jnp.log(jnp.array([3.0, 1.0, 2.0]))
    assert TailAdaptive().ranks(log_weights).tolist() == [3, 1, 2]
    slopes = jax.grad(TailAdaptive().held)(log_weights)
    np.testing.assert_allclose(slopes, [0.5, 1 / 6, 1 / 3], rtol=1e-6)
    q = vi.MeanFieldNormal(like=jnp.array([2.0]))
    loss = lambda q: vi.loss(
        jax.random.key(0), lambda z: -0.5 * z[0] ** 2, q, objective=TailAdaptive(), num_samples=200
    )
    assert jax.grad(loss)(q).loc[0] > 0  # towards the posterior


def test_a_categorical_guide_has_its_sampling_term():
    """Without it the gradient is that of E at fixed draws: 0 in mean."""
    table = jnp.array([1.0, -2.0, 0.5])
    q = vi.CategoricalProduct(like=jnp.zeros(1, int), num_states=3)
    loss = lambda q: vi.loss(
        jax.random.key(0),
        lambda z: table[z[0]],
        q,
        estimator=lt.ScoreFunction(),
        num_samples=50_000,
    )
    share = 1 / 3
    exact = -share * (table - jnp.mean(table))  # at uniform q the entropy is stationary
    gradient = jax.jit(jax.grad(loss))(q)
    np.testing.assert_allclose(gradient.logits[0], exact, atol=0.02)


def test_a_fit_starts_at_the_point_given_and_the_elbo_has_its_sign():
    state = vi.init(vi.MeanFieldNormal(like={"a": jnp.array([3.0, -1.0])}), optax.sgd(0.1))
    assert state.q.loc.tolist() == [3.0, -1.0]
    log_density = lambda z: -0.5 * jnp.sum(z["a"] ** 2)
    _, info = vi.step(
        jax.random.key(0), state, log_density, estimator=lt.Pathwise(), num_samples=1000
    )
    exact = -0.5 * (10.0 + 2.0) + state.q.entropy()
    np.testing.assert_allclose(info.elbo, exact, atol=0.3)
    assert info.elbo == info.value


def test_a_symmetric_posterior_on_the_simplex_has_equal_deviations():
    """A softmax with a pivot gives the pivot's component a smaller one."""
    log_density = lambda z: 4.0 * jnp.sum(jnp.log(z))  # Dirichlet(5, 5, 5, 5)
    q0 = vi.MeanFieldNormal(like=jnp.full(4, 0.25), support=vi.simplex)
    fit = vi.fit(jax.random.key(0), log_density, q0)
    np.testing.assert_allclose(fit.q.mean(), 0.25, atol=0.004)
    np.testing.assert_allclose(fit.q.stddev(), np.sqrt(0.25 * 0.75 / 21), rtol=0.06)

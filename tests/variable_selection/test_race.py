"""The race's reference, and what does and does not depend on f's constant."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from logtrick._variable_selection import job, race
from logtrick._variable_selection.guides import AutoregressiveBits
from logtrick._variable_selection.model import Model
from logtrick._variable_selection.table import Table

# Four of the predictors: 16 models.
FULL = job.diabetes()
TABLE = Table(FULL.names[4:8], "target", FULL.predictors[:, 4:8], FULL.response)
LOGITS = np.array([0.5, -1.0, 2.0, 0.1])


@pytest.fixture(scope="module")
def model():
    return Model(TABLE)


def exact_elbo(model, q):
    """Σ_γ q(γ) (log p(y, γ) − log q(γ)), to be differentiated."""
    points = lt.Bernoulli(jnp.zeros(model.num_predictors)).enumerate()
    log_q = jax.vmap(q.log_prob)(points)
    return jnp.sum(jnp.exp(log_q) * (jax.vmap(model.log_joint)(points) - log_q))


def test_the_exact_gradient_is_the_derivative_of_the_exact_elbo(model):
    with jax.enable_x64(True):
        elbo = lambda logits: exact_elbo(model, vi.BernoulliProduct(logits=logits))
        expected = jax.grad(elbo)(jnp.asarray(LOGITS))
    np.testing.assert_allclose(race.exact_gradient(model.posterior, LOGITS), expected, atol=5e-5)


def test_the_objective_without_its_direct_term_has_the_gradient_of_the_elbo(model):
    """Exact, in float64: by enumeration for the independent guide, over all draws of one run for the other."""
    with jax.enable_x64(True):
        key, logits = jax.random.key(0), jnp.asarray(LOGITS)
        objective = race.elbo(model, lt.Enumerate(), 16)
        value, (gradient, of_constant) = jax.value_and_grad(objective)((logits, 3.0), key)
        exact = lambda p: exact_elbo(model, vi.BernoulliProduct(logits=p))
        by_hand = jax.value_and_grad(exact)(logits)
        np.testing.assert_allclose(value + 3.0, by_hand[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, by_hand[1], atol=1e-11)
        assert of_constant == 0

        q = AutoregressiveBits(jnp.full(4, 0.3), jnp.full((4, 4), -0.7))
        points = lt.Bernoulli(jnp.zeros(model.num_predictors)).enumerate()
        weights = jnp.exp(jax.vmap(q.log_prob)(points))

        def total(q):
            """Over all draws, held, the score-function surrogate: its derivative is the estimator's mean."""
            log_q = jax.vmap(q.log_prob)(points)
            held = jax.lax.stop_gradient(log_q)
            return jnp.sum(weights * (jax.vmap(model.log_joint)(points) - held) * log_q)

        got, expected = jax.grad(total)(q), jax.grad(lambda q: exact_elbo(model, q))(q)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), got, expected)


def test_at_a_perfect_fit_leave_one_out_has_no_variance(model):
    """Because log q is held in f: its direct term is a gradient at every draw, though not in the mean."""
    uniform = type("Flat", (), {"log_joint": lambda self, x: -4 * np.log(2) + 0 * x.sum()})()
    gradient = jax.grad(race.elbo(uniform, lt.ScoreFunction(), 16))
    for i in range(3):
        of_logits, _ = gradient((jnp.zeros(4), 0.0), jax.random.key(i))
        np.testing.assert_allclose(of_logits, 0, atol=1e-6)


class Silent:
    def reach(self, fraction, text=""):
        pass


def test_the_race_on_sixteen_models(model):
    fitted = jnp.asarray(LOGITS, jnp.float32)
    points = race.run(lt.key(0), model, fitted, 16, 2000, Silent())
    assert [point.where for point in points] == ["at the start", "at 0.3 × the fit", "at the fit"]
    for point in points:
        assert list(point.rows) == [
            "no baseline",
            "no baseline, other constant",
            "leave-one-out",
            "leave-one-out, other constant",
            "DisARM",
            "Enumerate",
            "Pathwise",
        ]
        rows = point.rows
        assert rows["Enumerate"].exact
        assert rows["Enumerate"].bias_z == 0
        assert rows["Enumerate"].evaluations == 16
        assert rows["Pathwise"].error.startswith(
            "ValueError: Pathwise() needs a reparameterized distribution; Bernoulli is"
        )
        for name in ("no baseline", "leave-one-out"):
            # 4 coordinates, 3 points, 2 estimators: beyond 5.5 once in a million
            assert rows[name].bias_z < 5.5
            assert rows[name].evaluations == 16
        loo, other = rows["leave-one-out"].variance, rows["leave-one-out, other constant"].variance
        np.testing.assert_allclose(other, loo, rtol=1e-3)
        assert rows["leave-one-out"].variance < rows["no baseline"].variance
        plain, other = rows["no baseline"].variance, rows["no baseline, other constant"].variance
        assert abs(np.log(plain / other)) > 0.1


def measured(mean, variance):
    """A row of a comparison at a value of 100: rounding is 8 · 2⁻²³ · 100 = 9.5e-5."""
    statistics = types.SimpleNamespace(
        mean=(np.array(mean), 0.0),
        variance=(np.full(2, variance), 0.0),
        standard_error=(np.full(2, np.sqrt(variance / 100)), 0.0),
        value=100.0,
    )
    return types.SimpleNamespace(statistics=statistics, evaluations=7, biased=(), error=None)


@pytest.mark.parametrize(
    ("mean", "variance", "exact", "z"),
    [
        ([1.0, -2.0], 0.0, True, 0.0),
        ([1.00005, -2.0], 0.0, True, 0.0),
        ([1.0, -2.001], 0.0, False, 10.49),
        ([1.0, -2.0], 1.0, False, 0.0),
        ([1.3, -2.0], 1.0, False, 3.0),
    ],
)
def test_what_is_exact_and_what_is_biased(mean, variance, exact, z):
    row = race._row("x", measured(mean, variance), np.array([1.0, -2.0]))
    assert row.exact is exact
    np.testing.assert_allclose(row.bias_z, z, rtol=1e-2)
    assert row.variance == 2 * variance
    assert row.variance_x_evaluations == 14 * variance
    assert race._row("x", measured(mean, variance), None).bias_z is None


def test_the_other_constant_is_the_difference_of_the_two_models(model):
    expected = model.posterior.log_joint[-1] - model.posterior.log_joint[0]
    np.testing.assert_allclose(race.other_constant(model), expected, rtol=1e-5)


def test_no_enumeration_where_it_is_too_large(model):
    large = type("Large", (), {"enumerable": False, "log_joint": model.log_joint})()
    assert list(race.objectives_of(large, 16)) == [
        "no baseline",
        "leave-one-out",
        "DisARM",
        "Pathwise",
    ]

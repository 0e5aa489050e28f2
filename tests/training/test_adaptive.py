"""Estimators in the parameters: statistics move by their own rule, learned parts by their own loss."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from logtrick.training._adaptive import merge, partition, trained_leaves
from tests.training.doubles import Average, Learned

KEY = jax.random.key(5)


def cost(x):
    return jnp.sum((x - 0.45) ** 2) + 10.0


def objective(params, key):
    dist = lt.Bernoulli(params["logits"])
    return lt.expect(key, cost, dist, estimator=params["estimator"], num_samples=4, has_aux=True)


def start(baseline):
    return {"logits": jnp.zeros(2), "estimator": lt.ScoreFunction(baseline)}


def test_partition_and_merge_are_inverse_and_see_statistics_only():
    params = {
        "a": 1.0,
        "e": lt.ScoreFunction(Average(2.0, 3)),
        "l": [lt.ScoreFunction(Learned(4.0)), None],
    }
    assert trained_leaves(params) == [True, False, False, True]
    trained, statistics = partition(params)
    assert jax.tree.leaves(trained) == [1.0, 4.0] and statistics == [2.0, 3]
    merged = merge(params, trained, statistics)
    assert jax.tree.leaves(merged) == jax.tree.leaves(params)
    assert jax.tree.structure(merged) == jax.tree.structure(params)


def test_statistics_advance_by_their_rule_under_any_optimizer_and_sign():
    """Weight decay, or a large learning rate, must not reach the average: it is the mean of the values, exactly."""
    for fit in (lt.minimize, lt.maximize):
        result = fit(
            KEY, objective, start(Average()), optax.adamw(1.0, weight_decay=0.5), num_steps=7
        )
        baseline = result.params["estimator"].baseline
        assert baseline.count.dtype == jnp.int32 and int(baseline.count) == 7
        np.testing.assert_allclose(baseline.mean, result.history.value.mean(), rtol=1e-6)
        masked = result.state.opt_state[0].mu["estimator"]
        assert jax.tree.leaves(masked) == []


def test_the_baseline_is_used_as_it_stood_before_the_step():
    """One step by hand: b = 3 in the first gradient, whatever this step's costs are."""
    params = start(Average(3.0, 1))
    fit = lt.minimize(KEY, objective, params, optax.sgd(1.0), num_steps=1)
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0), 1)
    by_hand = lambda logits: lt.expect(
        key,
        cost,
        lt.Bernoulli(logits),
        estimator=lt.ScoreFunction(lt.ConstantBaseline(3.0)),
        num_samples=4,
    )
    np.testing.assert_allclose(fit.params["logits"], -jax.grad(by_hand)(jnp.zeros(2)), rtol=1e-5)


def test_a_learned_baseline_learns_downhill_when_maximizing_too():
    for fit, sign in ((lt.minimize, -1), (lt.maximize, 1)):
        result = fit(KEY, objective, start(Learned(9.5)), optax.sgd(0.3), num_steps=200)
        # The values stay within 10.405 … 10.605.
        assert 10.4 < float(result.params["estimator"].baseline.constant) < 10.61
        assert np.all(sign * result.params["logits"] > 0.2)
        # The value itself is recorded, without the adaptive loss, which is 1 at the start.
        assert result.history.value.max() < 10.61


def test_a_skipped_step_leaves_the_statistics_alone():
    def poisoned(params, key):
        value, aux = objective(params, key)
        return value + jnp.where(value > 10.54, jnp.nan, 0.0), aux

    fit = lt.minimize(KEY, poisoned, start(Average()), optax.sgd(0.0), num_steps=30)
    accepted = fit.history.value[~fit.history.skipped]
    assert 0 < int(fit.state.skipped) < 30
    assert int(fit.params["estimator"].baseline.count) == len(accepted)
    np.testing.assert_allclose(fit.params["estimator"].baseline.mean, accepted.mean(), rtol=1e-6)


def test_several_sites_by_name_in_any_corner_of_params():
    def program(params):
        x = yield lt.sample(
            lt.Bernoulli(params["logits"][0]), params["parts"]["first"], name="first"
        )
        y = yield lt.sample(
            lt.Bernoulli(params["logits"][1] + x), params["parts"]["second"], name="second"
        )
        yield lt.cost(x)
        yield lt.cost(5.0 * y)

    def both(params, key):
        return lt.expect_program(key, program, params, num_samples=4, has_aux=True)

    parts = {"second": lt.ScoreFunction(Average()), "first": lt.ScoreFunction(Average())}
    fit = lt.minimize(
        KEY, both, {"logits": jnp.zeros(2), "parts": parts}, optax.sgd(0.0), num_steps=50
    )
    first, second = (fit.params["parts"][n].baseline for n in ("first", "second"))
    assert float(first.mean) > float(second.mean) + 0.2  # x + 5 y against 5 y
    swapped = {"logits": jnp.zeros(2), "parts": parts, "other": lt.ScoreFunction(Average())}
    with pytest.raises(
        ValueError, match=r"params\['other'\] learns, but the objective returned no aux of it"
    ):
        lt.minimize(KEY, both, swapped, optax.sgd(0.0), num_steps=1)


def test_several_expectations_in_a_pytree_of_aux():
    def two(params, key):
        keys = jax.random.split(key)
        dist = lt.Bernoulli(params["logits"])
        one, a = lt.expect(keys[0], cost, dist, estimator=params["a"], num_samples=2, has_aux=True)
        other, b = lt.expect(
            keys[1], lambda x: -cost(x), dist, estimator=params["b"], num_samples=2, has_aux=True
        )
        return one + other, {"a": a, "b": b, "mine": one}

    params = {
        "logits": jnp.zeros(2),
        "a": lt.ScoreFunction(Average()),
        "b": lt.ScoreFunction(Average()),
    }
    fit = lt.minimize(KEY, two, params, optax.sgd(0.1), num_steps=5)
    assert fit.params["a"].baseline.mean > 10 and fit.params["b"].baseline.mean < -10


def test_an_estimator_that_is_not_in_params_is_an_error():
    def elsewhere(params, key):
        estimator = lt.ScoreFunction(Average(jnp.zeros(()), jnp.zeros((), int)))
        return lt.expect(
            key, cost, lt.Bernoulli(params), estimator=estimator, num_samples=4, has_aux=True
        )

    with pytest.raises(
        ValueError, match="estimator of site 0 learns, but params holds none under that key"
    ):
        lt.minimize(KEY, elsewhere, jnp.zeros(2), optax.sgd(0.1), num_steps=1)


def test_an_aux_that_is_dropped_is_an_error():
    with pytest.raises(
        ValueError, match=r"params\['estimator'\] learns, but the objective returned no aux of it"
    ):
        lt.minimize(
            KEY, lambda p, key: objective(p, key)[0], start(Average()), optax.sgd(0.1), num_steps=1
        )


def test_an_ambiguous_site_is_an_error():
    params = start(Average()) | {
        "0": lt.ScoreFunction(Average()),
        "1": {"0": lt.ScoreFunction(Average())},
    }
    with pytest.raises(ValueError, match=r"could be any of params\['0'\], params\['1'\]\['0'\]"):
        lt.minimize(KEY, objective, params, optax.sgd(0.1), num_steps=1)


def test_an_aux_with_the_axis_of_a_vmap_must_be_averaged():
    def batched(params, key):
        values, aux = jax.vmap(lambda k: objective(params, k))(jax.random.split(key, 3))
        return values.mean(), aux

    with pytest.raises(ValueError, match="Average aux over the axis"):
        lt.minimize(KEY, batched, start(Average()), optax.sgd(0.1), num_steps=1)

    def averaged(params, key):
        value, aux = batched(params, key)
        return value, jax.tree.map(lambda a: a.mean(0), aux)

    fit = lt.minimize(KEY, averaged, start(Average()), optax.sgd(0.1), num_steps=4)
    np.testing.assert_allclose(
        fit.params["estimator"].baseline.mean, fit.history.value.mean(), rtol=1e-6
    )


def test_aux_without_learning_parts_and_other_aux_are_ignored():
    plain = lambda p, key: lt.expect(key, cost, lt.Bernoulli(p), num_samples=4, has_aux=True)
    assert lt.minimize(KEY, plain, jnp.zeros(2), optax.sgd(0.1), num_steps=2).status == "max_steps"
    other = lambda p, key: (jnp.sum(p**2), {"anything": p})
    assert lt.minimize(KEY, other, jnp.ones(2), optax.sgd(0.5), num_steps=1).params.tolist() == [
        0.0,
        0.0,
    ]


def test_an_int_that_is_no_statistic_stays_an_error():
    class Odd(lt.Estimator):
        count: int = 0
        draw = close = lambda *_: None

    with pytest.raises(TypeError, match=r"params\['estimator'\].count is int32"):
        lt.minimize(
            KEY,
            objective,
            {"logits": jnp.zeros(2), "estimator": Odd(1)},
            optax.sgd(0.1),
            num_steps=1,
        )

"""The stop rule: the words differ, false stops are rare, and a fit that is resumed ends at the same step."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from benchmarks import stop_rule
from logtrick.training._standstill import drift, frozen, looks, student
from tests.training.doubles import Average

KEY = jax.random.key(0)
Converged = lt.training.Converged


@pytest.mark.parametrize(
    "family",
    [stop_rule.linear, stop_rule.power_law, stop_rule.heteroscedastic, stop_rule.heavy_tailed],
    ids=lambda family: family.__name__,
)
def test_traces_that_still_improve_are_not_stopped(family):
    _, false, _ = stop_rule.measure(family, 40, 20_000, Converged())
    assert false == 0


def test_flat_traces_are_stopped_within_the_stated_delay():
    stopped, _, steps = stop_rule.measure(stop_rule.flat, 150, 20_000, Converged())
    assert stopped > 0.9 and np.median(steps) <= 9_000
    stopped, _, steps = stop_rule.measure(stop_rule.flat, 40, 20_000, Converged(resolution=0.2))
    assert stopped == 1 and np.median(steps) <= 3_000


def test_a_frozen_optimizer_is_called_frozen():
    assert stop_rule.frozen(2) == 1


def noisy_bowl(p, key):
    return jnp.sum((p - jax.random.normal(key, p.shape)) ** 2)


def converging(num_steps=20_000, **options):
    options = {"stop": Converged(resolution=0.2, every=20), **options}
    return lt.minimize(
        KEY, noisy_bowl, jnp.full(2, 3.0), optax.sgd(0.02), num_steps=num_steps, **options
    )


@functools.cache
def converged():
    return converging()


def test_a_fit_that_stands_still_has_converged():
    fit = converged()
    assert fit.status == "converged" and len(fit.history.value) < 20_000
    assert "the parameters stand still" in fit.reason and fit.reason in repr(fit)
    assert np.all(np.abs(fit.params) < 1)


def test_the_rule_ends_at_the_same_step_whatever_the_chunk_and_after_a_resume(tmp_path):
    assert len(converging(chunk=37).history.value) == len(converged().history.value)
    stops = lambda result: int(result.state.step) >= 300
    converging(checkpoint=tmp_path, callback=stops)
    for _ in range(2):  # the second time it is at its end already
        fit = converging(checkpoint=tmp_path)
        assert fit.status == "converged"
        assert np.array_equal(fit.history.value, converged().history.value)


def test_looks_at_other_distances_are_not_taken_over(tmp_path):
    converging(num_steps=200, checkpoint=tmp_path)
    for every, looks_kept in ((20, 10 + 2), (10, 4)):
        stop = Converged(resolution=0.2, every=every)
        fit = converging(num_steps=240, checkpoint=tmp_path, stop=stop)
        assert len(fit.state.listeners["converged"]["rows"]) == looks_kept
        for file in sorted(tmp_path.glob("*-step-240.*")):
            file.unlink()


def test_a_drift_below_the_noise_is_a_noise_floor():
    """The mean falls by 1e-5 a step, its noise is 1: the parameter moves, the objective cannot show it."""
    objective = lambda p, key: p + jax.random.normal(key)
    stop = Converged(resolution=0.2)
    fit = lt.minimize(KEY, objective, 0.0, optax.sgd(1e-5), num_steps=20_000, stop=stop)
    assert fit.status == "noise floor" and "× the samples" in fit.reason


def test_a_slope_above_the_noise_goes_on():
    objective = lambda p, key: p + jax.random.normal(key)
    fit = lt.minimize(KEY, objective, 0.0, optax.sgd(1e-3), num_steps=6_000, stop=Converged())
    assert fit.status == "max_steps"


def test_without_noise_it_ends_when_nothing_moves():
    objective = lambda p, key: jnp.sum((p - 3.0) ** 2)
    stop = Converged(every=10)
    fit = lt.minimize(KEY, objective, jnp.zeros(2), optax.sgd(0.1), num_steps=5_000, stop=stop)
    assert fit.status in ("converged", "frozen") and np.allclose(fit.params, 3.0, atol=1e-5)


def test_large_parameters_are_judged_by_a_sketch():
    def objective(p, key):
        return jnp.sum((p["w"] - 0.1 * jax.random.normal(key, (40, 50))) ** 2) + jnp.sum(
            p["b"] ** 2
        )

    start = {"w": jnp.ones((40, 50)), "b": jnp.ones(3)}
    stop = Converged(resolution=0.2, every=20)
    fit = lt.minimize(KEY, objective, start, optax.sgd(0.05), num_steps=20_000, stop=stop)
    assert fit.status == "converged"
    assert fit.state.listeners["converged"]["rows"].shape[1] == 64


def test_a_drift_is_told_from_noise_and_from_a_jump():
    random = np.random.default_rng(0)
    noise = random.standard_normal((400, 50))
    assert not drift(noise).significant
    line = np.arange(400)[:, None] * np.eye(50)[:1] * 0.02
    assert drift(noise + line) == (True, True)
    jump = np.where(np.arange(400)[:, None] >= 300, 3.0, 0.0)
    assert drift(noise + jump).significant and not drift(noise + jump).persistent


def test_a_learning_rate_of_zero_is_frozen_beside_skipped_steps():
    """A skipped step moves nothing; its update, here nan, does not hide that the others move nothing."""

    def objective(p, key):
        bad = jax.random.uniform(jax.random.fold_in(key, 1)) < 0.02
        return noisy_bowl(p, key) * jnp.where(bad, jnp.nan, 1.0)

    rate = optax.piecewise_constant_schedule(0.05, {100: 0.0})
    stop = Converged(every=20)
    fit = lt.minimize(KEY, objective, jnp.full(2, 3.0), optax.sgd(rate), num_steps=2_000, stop=stop)
    assert fit.status == "frozen" and fit.state.skipped > 0


def test_a_statistic_that_counts_steps_is_no_drift_of_the_parameters():
    def objective(params, key):
        return lt.expect(
            key,
            lambda x: noisy_bowl(x, jax.random.fold_in(key, 3)),
            lt.Normal(params["mean"], 1.0),
            estimator=params["estimator"],
            num_samples=4,
            has_aux=True,
        )

    start = {"mean": jnp.zeros(()), "estimator": lt.ScoreFunction(Average())}
    stop = Converged(resolution=0.2, every=20)
    fit = lt.minimize(KEY, objective, start, optax.sgd(0.02), num_steps=20_000, stop=stop)
    assert fit.status == "converged"
    assert int(fit.params["estimator"].baseline.count) == len(fit.history.value)


def test_parameters_that_are_all_zero_or_huge_are_judged():
    """Of float32 numbers, whose products would be 0 / 0 and inf."""
    assert drift(np.zeros((20, 3), np.float32)) == (False, False)
    huge = np.full((20, 3), 1e20, np.float32)
    assert not frozen(1e19, huge, np.ones(20), 5) and frozen(1e15, huge, np.ones(20), 5)


def test_quantiles_are_those_of_tables():
    """Against tables: t(0.975; 14) = 2.1448, t(0.9995; 14) = 4.1405, t(0.975; 30) = 2.0423."""
    for p, freedom, want in ((0.975, 14, 2.1448), (0.9995, 14, 4.1405), (0.975, 30, 2.0423)):
        assert student(p, freedom) == pytest.approx(want, rel=5e-3)


def test_looks_grow_geometrically_and_depend_on_the_step_alone():
    at = [step for step in range(0, 10_000, 100) if looks(step, 100, 3, 400)]
    assert at[0] >= 1600 and all(later / earlier < 1.2 for earlier, later in itertools.pairwise(at))
    assert looks(at[3], 100, 3, 400) == at[1:4]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"resolution": 0.0}, ValueError, "resolution=.*positive number; got 0.0"),
        ({"z": -1}, ValueError, "z=.*positive"),
        ({"z": float("nan")}, ValueError, "z=.*positive"),
        ({"repeats": 0}, ValueError, "repeats=.*at least 1"),
        ({"every": 1.5}, TypeError, "every=.*static positive int"),
        ({"min_steps": 0}, ValueError, "min_steps="),
    ],
)
def test_wrong_arguments_are_refused(change, error, match):
    with pytest.raises(error, match=match):
        Converged(**change)

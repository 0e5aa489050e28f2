"""Columns of the history, averages, evaluation parameters, the freeze guard, replicates, representations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.training.test_minimize import ADAM, KEY, SGD, START, bowl, leaves_equal, noisy

T = lt.training


def test_scalars_of_the_aux_become_columns():
    def objective(p, key):
        aux = {"a": p, "deep": {"b": 2 * p, "list": [p, jnp.ones(3)]}, "on": p > 1, "text": "no"}
        return bowl(p, key), aux

    metrics = lt.minimize(KEY, objective, 0.0, SGD, num_steps=3).history.metrics
    assert sorted(metrics) == ["a", "deep/b", "deep/list/0", "on"]
    assert metrics["deep/b"].tolist() == [0.0, 3.0, 4.5] and metrics["on"].tolist() == [0, 1, 1]


def test_two_columns_of_one_name_are_refused():
    objective = lambda p, key: (bowl(p, key), {"a/b": p, "a": {"b": 2 * p}})
    with pytest.raises(ValueError, match="two scalars of the objective's aux have the name 'a/b'"):
        lt.minimize(KEY, objective, 0.0, SGD, num_steps=1)


def test_norms_and_the_learning_rate_are_recorded():
    schedule = optax.linear_schedule(0.25, 0.0, 4)
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=schedule)
    history = lt.minimize(KEY, bowl, 0.0, optimizer, num_steps=3).history
    np.testing.assert_allclose(history.metrics["learning_rate"], [0.25, 0.1875, 0.125], rtol=1e-6)
    np.testing.assert_allclose(
        history.update_norm, history.gradient_norm * [0.25, 0.1875, 0.125], rtol=1e-6
    )


def test_the_standard_error_and_the_fraction_without_signal_are_recorded():
    """Where all draws of a Bernoulli agree, all costs are equal and leave-one-out leaves nothing."""

    def objective(logits, key):
        one = lambda key, logit: lt.expect(
            key, lambda x: x, lt.Bernoulli(logit), num_samples=4, has_aux=True
        )
        values, aux = jax.vmap(one)(jax.random.split(key, 3), logits)
        return jnp.sum(values), {"rewards": aux, "draws": jnp.mean(aux.draws)}

    logits = jnp.array([-50.0, 50.0, 0.0])
    history = lt.minimize(KEY, objective, logits, optax.sgd(1e-9), num_steps=20).history
    without = history.metrics["rewards/fraction_without_signal"]
    assert set(np.round(without * 3).tolist()) == {2, 3} and "draws" in history.metrics
    error = history.metrics["rewards/standard_error"]
    assert np.all((error == 0) == (np.round(without * 3) == 3))


def test_gradient_noise_finds_the_exact_variance():
    """∇ of p ε with ε ~ N(2, 3²) is ε: variance 9 and signal-to-noise 2/3, at every point."""
    objective = lambda p, key: p * (2.0 + 3.0 * jax.random.normal(key))
    noise = T.GradientNoise(every=5, num_replicates=4000)
    fit = lt.minimize(KEY, objective, 0.0, optax.sgd(0.1), num_steps=10, listeners=(noise,))
    series = fit.history.series["gradient_noise"]
    assert series["step"].tolist() == [5, 10]
    deviation = 9 * np.sqrt(2 / 3999)  # of a sample variance of normal numbers
    assert np.all(np.abs(series["variance"] - 9) < 5 * deviation)
    assert np.all(np.abs(series["signal_to_noise"] - 2 / 3) < 5 * 0.02)
    plain = lt.minimize(KEY, objective, 0.0, optax.sgd(0.1), num_steps=10)
    assert leaves_equal(plain.params, fit.params)
    exact = lt.minimize(KEY, bowl, 0.0, SGD, num_steps=5, listeners=(noise,))
    assert exact.history.series["gradient_noise"]["signal_to_noise"].tolist() == [np.inf]


def test_gradient_noise_keeps_double_precision(x64):
    """A variance of 1e-50, which float32 does not have."""
    objective = lambda p, key: 1e-25 * p * jax.random.normal(key, dtype=float)
    noise = T.GradientNoise(every=1, num_replicates=100)
    key = jax.random.key(0)
    fit = lt.minimize(key, objective, 0.0, SGD, num_steps=1, listeners=(noise,))
    assert 0.5e-50 < fit.history.series["gradient_noise"]["variance"][0] < 2e-50


@functools.cache
def iterates(optimizer=ADAM, steps=8):
    """The parameters after every step."""
    kept = []
    lt.minimize(KEY, noisy, START, optimizer, num_steps=steps, chunk=1, callback=kept.append)
    return [np.asarray(result.params["w"], np.float64) for result in kept]


def test_averages_are_those_of_the_iterates():
    run = functools.partial(lt.minimize, KEY, noisy, START, ADAM, num_steps=8)
    assert run().averaged_params is None
    polyak = run(average=T.PolyakAverage(start=3)).averaged_params["w"]
    np.testing.assert_allclose(polyak, np.mean(iterates()[3:], 0), rtol=1e-5)
    weights = 0.5 ** np.arange(8)[::-1]
    exponential = run(average=T.ExponentialAverage(0.5)).averaged_params["w"]
    want = np.average(iterates(), axis=0, weights=weights)
    np.testing.assert_allclose(exponential, want, rtol=1e-5)
    assert exponential.dtype == jnp.float32
    with pytest.raises(
        ValueError, match=r"averages nothing in 8 steps. Pass a smaller start, 4 say"
    ):
        run(average=T.PolyakAverage(start=8))
    with pytest.raises(ValueError, match="start=.*at least 0; got -1"):
        T.PolyakAverage(-1)
    with pytest.raises(ValueError, match=r"in \(0, 1\); got 1"):
        T.ExponentialAverage(1.0)


def test_averages_of_bfloat16_are_kept_in_float32():
    start = jnp.zeros((), jnp.bfloat16)
    fit = lt.minimize(
        KEY,
        lambda p, key: bowl(p.astype(float), key),
        start,
        optax.sgd(1e-3),
        num_steps=50,
        average=T.PolyakAverage(),
    )
    assert fit.averaged_params.dtype == jnp.bfloat16 and fit.state.average[0].dtype == jnp.float32


def test_a_schedule_free_optimizer_is_evaluated_as_it_prescribes():
    optimizer = optax.contrib.schedule_free_sgd(0.1)
    fit = lt.minimize(KEY, noisy, START, optimizer, num_steps=8, average=T.ExponentialAverage(0.9))
    want = optax.contrib.schedule_free_eval_params(fit.state.opt_state, fit.state.params)
    np.testing.assert_allclose(fit.params["w"], want["w"], rtol=1e-6)
    assert not np.allclose(fit.params["w"], fit.state.params["w"])
    shown = iterates(optimizer)
    np.testing.assert_allclose(shown[-1], want["w"], rtol=1e-6)  # callbacks see the same
    weights = 0.9 ** np.arange(8)[::-1]
    np.testing.assert_allclose(
        fit.averaged_params["w"], np.average(shown, axis=0, weights=weights), rtol=1e-5
    )


def test_the_parameters_for_evaluation_are_those_of_evaluate():
    run = functools.partial(lt.minimize, KEY, noisy, START, ADAM, num_steps=2)
    twice = lambda opt_state, params: jax.tree.map(lambda x: 2 * x, params)
    fit = run(evaluate=twice)
    np.testing.assert_array_equal(fit.params["w"], 2 * fit.state.params["w"])
    for wrong in (lambda s, p: (p, s), lambda s, p: p | {"w": p["w"][:1]}):
        with pytest.raises(ValueError, match="evaluate=….*the structure and the shapes of those"):
            run(evaluate=wrong)


def spiked(p, key):
    """A noisy bowl, with one huge gradient where the clock passes −0.5."""
    huge = jnp.where((p[1] < -0.5) & (p[1] > -0.51), 1e12, 0.0)
    return (p[0] - jax.random.normal(key)) ** 2 + huge * jnp.sum(p) + 0.01 * p[1]


def test_the_freeze_guard_keeps_adam_going():
    run = functools.partial(
        lt.minimize, KEY, spiked, jnp.array([3.0, 0.0]), optax.adam(0.01), num_steps=600
    )
    with_it, without = run(), run(freeze_guard=None)
    assert int(with_it.state.clipped) >= 1 and with_it.history.clipped.any()
    assert int(without.state.clipped) == 0 and np.max(without.history.gradient_norm) > 1e11
    assert np.min(without.history.update_norm[-50:]) < 1e-8  # frozen
    assert np.min(with_it.history.update_norm[-50:]) > 1e-5
    assert "clipped by the freeze guard" in repr(with_it)


def test_the_freeze_guard_scales_in_float32():
    """The gradient is 1e-6, and 6e4 in step 15: scaled to 1e-3. The factor 1.7e-8 is 0 in float16."""
    step_15 = jax.random.key_data(jax.random.fold_in(jax.random.fold_in(KEY, 15), 1))

    def objective(p, key):
        spike = jnp.all(jax.random.key_data(key) == step_15)
        return p.astype(jnp.float32) * jnp.where(spike, 6e4, 1e-6)

    fit = lt.minimize(KEY, objective, jnp.zeros((), jnp.float16), optax.sgd(1.0), num_steps=16)
    assert fit.history.clipped.tolist() == [False] * 15 + [True]
    np.testing.assert_allclose(fit.history.update_norm[15], 1e-3, rtol=0.1)


@pytest.mark.parametrize("optimizer", [ADAM, SGD], ids=["adam", "sgd"])
def test_the_freeze_guard_does_nothing_to_an_ordinary_fit(optimizer):
    """Score-function gradients are heavy-tailed, and zero at times."""

    def objective(logits, key):
        return lt.expect(
            key, lambda x: jnp.sum((x - 0.45) ** 2), lt.Bernoulli(logits), num_samples=2
        )

    run = functools.partial(lt.minimize, KEY, objective, jnp.zeros(3), optimizer, num_steps=500)
    with_it, without = run(), run(freeze_guard=None)
    assert int(with_it.state.clipped) == 0 and np.any(with_it.history.gradient_norm == 0)
    np.testing.assert_allclose(with_it.params, without.params, rtol=1e-5)  # to rounding


def test_replay_is_the_step():
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=6)
    before = lt.minimize(KEY, noisy, START, ADAM, num_steps=5)
    again = T.replay(KEY, noisy, before.params, 5)
    np.testing.assert_allclose(again.value, fit.history.value[5], rtol=1e-5)
    norm = optax.tree.norm(again.gradient)
    np.testing.assert_allclose(norm, fit.history.gradient_norm[5], rtol=1e-5)
    data = jnp.arange(7.0)
    objective = lambda p, key, batch: p * jnp.sum(batch)
    run = functools.partial(lt.minimize, KEY, objective, 1.0, optax.sgd(0.0), data=data)
    values = run(num_steps=6, batch_size=3).history.value
    replayed = T.replay(KEY, objective, 1.0, 4, data=data, batch_size=3)
    assert replayed.value == values[4] and replayed.batch.shape == (3,)


def test_results_and_histories_show_their_numbers():
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=40)
    text = repr(fit)
    assert text.startswith("FitResult: max_steps after 40 steps\n  objective ")
    assert "means of the first and the last 10 steps" in text and "['w'] float32[2]" in text
    assert "value, gradient_norm" in repr(fit.history) and "40 steps" in repr(fit.history)
    assert fit._repr_html_().startswith("<pre>") and "<table>" in fit.history._repr_html_()
    many = jax.vmap(lambda k: lt.minimize(k, noisy, START, ADAM, num_steps=2))(
        jax.random.split(KEY)
    )
    assert "FitResult" in repr(many) and "History" in repr(many.history)
    assert many.history._repr_html_().startswith("<pre>")
    with pytest.raises(ValueError, match=r"draws one fit; got those of shape \(2, 2\)"):
        many.history.plot()


def test_a_fit_that_skips_more_than_one_step_in_a_hundred_says_so():
    bad = lambda p, key: jnp.where(jax.random.uniform(key) < 0.1, jnp.nan, (p - 1.0) ** 2)
    fit = lt.minimize(KEY, bad, 0.0, SGD, num_steps=100)
    assert "were skipped because they were not finite: the accepted steps are a selection" in repr(
        fit
    )


def test_the_type_of_the_parameters_is_kept():
    from typing import NamedTuple

    class Params(NamedTuple):
        w: jax.Array
        b: float

    objective = lambda p, key: noisy({"w": p.w, "b": p.b}, key)
    fit = lt.minimize(KEY, objective, Params(jnp.zeros(2), 2.0), ADAM, num_steps=2)
    assert type(fit.params) is Params


def test_the_history_draws_itself():
    pytest.importorskip("matplotlib").use("Agg")
    axes = lt.minimize(KEY, noisy, START, ADAM, num_steps=200).history.plot()
    assert axes.get_xlabel() == "step" and len(axes.lines) == 2
    means = axes.lines[1].get_ydata()
    assert len(means) == 200 - 3 and np.isfinite(means).all()


def test_the_moving_mean_of_the_plot_is_that_of_the_finite_values():
    pytest.importorskip("matplotlib").use("Agg")
    value = np.array([1.0, 2.0, np.inf, 4.0, 5.0, np.nan, np.nan, np.nan])
    history = lt.minimize(KEY, bowl, 0.0, SGD, num_steps=8).history
    line = lt.replace(history, value=value).plot(window=3).lines[1]
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(line.get_ydata(), [1.5, 3.0, 4.5, 4.5, 5.0, np.nan])


def test_maximize_has_the_signature_of_minimize():
    import inspect

    assert inspect.signature(lt.maximize) == inspect.signature(lt.minimize)
    with pytest.raises(TypeError, match="everything else by name; got 5 positional.*num_steps=10"):
        lt.minimize(KEY, bowl, 0.0, SGD, 10)
    with pytest.raises(TypeError, match="lt.maximize needs to know how many steps"):
        lt.maximize(KEY, bowl, 0.0, SGD)


def test_the_plot_shows_the_noise_of_the_gradient():
    plt = pytest.importorskip("matplotlib.pyplot")
    noise = lt.training.GradientNoise(every=10, num_replicates=4)
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=40, listeners=(noise,))
    axes = fit.history.plot()
    other = next(a for a in axes.figure.axes if a is not axes)
    assert "signal-to-noise" in other.get_ylabel()
    assert other.lines[0].get_xdata().tolist() == [10, 20, 30, 40]
    plt.close(axes.figure)

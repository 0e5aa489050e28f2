"""Fits that are saved and resumed: the same bits as without the interruption."""

import functools
import os
import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.training.test_minimize import ADAM, KEY, START, leaves_equal, noisy

T = lt.training
DATA = jnp.arange(10.0)


def with_everything(params, key, batch):
    """An objective with a batch, a moving average inside of `params`, and metrics."""
    f = lambda x: jnp.sum((x - 0.45) ** 2) + 0.01 * jnp.mean(batch)
    value, aux = lt.expect(
        key,
        f,
        lt.Bernoulli(params["logit"]),
        estimator=params["estimator"],
        num_samples=4,
        has_aux=True,
    )
    return value, {"aux": aux, "norm": jnp.sum(params["logit"] ** 2)}


def fit(folder, num_steps, objective=with_everything, key=KEY, **options):
    """A fit in which every part of the state is used."""
    start = {
        "logit": jnp.zeros(3),
        "estimator": lt.ScoreFunction(lt.MovingAverage()),
    }
    options = {
        "data": DATA,
        "batch_size": 3,
        "chunk": 5,
        "average": T.ExponentialAverage(0.9),
        "stop": T.Converged(every=5),
        "listeners": (T.GradientNoise(every=10, num_replicates=2),),
        "checkpoint": folder,
        **options,
    }
    return lt.minimize(key, objective, start, ADAM, num_steps=num_steps, **options)


@functools.cache
def whole():
    return fit(None, 30)


def test_a_fit_that_was_stopped_goes_on_with_the_same_bits(tmp_path):
    stops = lambda result: int(result.state.step) == 15
    first = fit(T.Checkpoint(tmp_path, every=5), 30, callback=stops)
    assert first.status == "stopped" and len(first.history.value) == 15
    second = fit(tmp_path, 30)
    assert second.status == "max_steps"
    assert leaves_equal(second.state, whole().state)
    assert leaves_equal(second.history, whole().history)
    assert leaves_equal(second.averaged_params, whole().averaged_params)
    assert second.history.series["gradient_noise"]["step"].tolist() == [10, 20, 30]
    assert len(second.state.listeners["converged"]["rows"]) == 6
    again = fit(tmp_path, 30)  # nothing is left to do
    assert leaves_equal(again.state, whole().state)


def test_a_fit_goes_on_to_more_steps_and_its_parameters_are_read_alone(tmp_path):
    fit(tmp_path, 20)
    more = fit(tmp_path, 30)
    assert leaves_equal(more.state, whole().state)
    start = {"logit": jnp.zeros(3), "estimator": lt.ScoreFunction(lt.MovingAverage())}
    params = T.read_params(tmp_path, start)
    assert leaves_equal(params, more.params)


def test_a_resumed_fit_compiles_no_second_loop(tmp_path, caplog):
    run = functools.partial(lt.minimize, KEY, noisy, START, ADAM, checkpoint=tmp_path)
    run(num_steps=5)
    with jax.log_compiles(), caplog.at_level("WARNING", "jax"):
        run(num_steps=9)
        lt.minimize(KEY, noisy, START, ADAM, num_steps=3)
    compiled = [r.getMessage() for r in caplog.records if "Finished XLA" in r.getMessage()]
    assert not any("_advance" in message or "_begin" in message for message in compiled)


def test_fewer_steps_than_were_taken_are_refused(tmp_path):
    fit(tmp_path, 20)
    with pytest.raises(lt.CheckpointError, match="of step 20, beyond num_steps=10. Pass at least"):
        fit(tmp_path, 10)


def test_resume_false_starts_again(tmp_path):
    fit(tmp_path, 30)
    short = fit(tmp_path, 10, resume=False)
    assert len(short.history.value) == 10
    assert leaves_equal(fit(tmp_path, 30).state, whole().state)  # the later save counts


def test_the_checkpoint_of_another_fit_is_refused(tmp_path):
    fit(tmp_path, 5)
    with pytest.raises(lt.CheckpointError, match="its key is"):
        fit(tmp_path, 10, key=jax.random.key(99))
    with pytest.raises(lt.CheckpointError, match="its data is"):
        fit(tmp_path, 10, batch_size=2)
    with pytest.raises(lt.CheckpointError, match=r"is of another state"):
        fit(tmp_path, 10, average=None)


def test_other_data_of_the_same_shape_are_noticed_and_equal_ones_are_not(tmp_path):
    rows = np.arange(60_000.0, dtype=np.float32).reshape(20_000, 3)
    mean = lambda p, key, batch: jnp.mean((batch - p) ** 2)
    for how in ({}, {"batch_size": 5}):
        folder = tmp_path / str(len(how))
        run = functools.partial(lt.minimize, KEY, mean, 0.0, ADAM, checkpoint=folder, **how)
        run(num_steps=2, data=rows)
        run(num_steps=3, data=jnp.asarray(rows))
        run(num_steps=4, data=np.asfortranarray(rows.astype(np.float64)))
        with pytest.warns(RuntimeWarning, match="is resumed with other data of the same shape"):
            run(num_steps=5, data=rows[::-1])
        with pytest.warns(RuntimeWarning, match="with other data"):
            run(num_steps=6, data=rows + 1.0)


def test_a_metric_of_some_of_the_steps_is_nan_at_the_others(tmp_path):
    run = functools.partial(lt.minimize, KEY, params=0.0, optimizer=ADAM, checkpoint=tmp_path)
    run(lambda p, key: (p**2, {"old": p + 1.0}), num_steps=2)
    metrics = run(lambda p, key: (p**2, {"new": p + 1.0}), num_steps=4).history.metrics
    assert np.isnan(metrics["new"]).tolist() == [True, True, False, False]
    assert np.isnan(metrics["old"]).tolist() == [False, False, True, True]


def test_a_fit_resumed_at_a_smaller_limit_of_skipped_steps_says_so(tmp_path):
    objective = lambda p, key: jnp.where(p["step"] < 3.5, jnp.sum(p["step"]), jnp.nan)
    run = functools.partial(
        lt.minimize, KEY, objective, {"step": 0.0}, optax.sgd(-1.0), checkpoint=tmp_path
    )
    assert run(num_steps=9).state.skipped_in_a_row == 5
    with pytest.raises(
        lt.NonFiniteError, match=r"fewer than 3 skipped steps in a row; .*after 5 of"
    ) as caught:
        run(num_steps=20, nonfinite=3)
    assert int(caught.value.result.state.step) == 9


def test_two_fits_in_one_folder_are_refused(tmp_path):
    inner = lambda result: lt.minimize(KEY, noisy, START, ADAM, num_steps=1, checkpoint=tmp_path)
    with pytest.raises(lt.CheckpointError, match=str(tmp_path)):
        lt.minimize(KEY, noisy, START, ADAM, num_steps=2, checkpoint=tmp_path, callback=inner)


def test_damage_is_an_error_unless_an_older_one_is_asked_for(tmp_path):
    run = functools.partial(lt.minimize, KEY, noisy, START, ADAM, chunk=5)
    want = run(num_steps=15)
    run(num_steps=10, checkpoint=T.Checkpoint(tmp_path, every=5))
    newest = max(tmp_path.glob("*.npz"))
    raw = bytearray(newest.read_bytes())
    raw[len(raw) // 2] ^= 1
    newest.write_bytes(raw)
    with pytest.raises(lt.CheckpointError):
        run(num_steps=15, checkpoint=tmp_path)
    with pytest.warns(RuntimeWarning, match="checkpoint of step 5 was loaded instead"):
        got = run(num_steps=15, checkpoint=T.Checkpoint(tmp_path, fallback=True))
    assert leaves_equal(got.state, want.state)


def test_a_full_disk_ends_the_fit_with_its_result_or_is_a_warning(tmp_path, monkeypatch):
    def full(*args):
        raise lt.CheckpointError(tmp_path, "cannot be written: No space left on device.")

    monkeypatch.setattr(T.Store, "save", full)
    run = functools.partial(lt.minimize, KEY, noisy, START, ADAM, num_steps=10, chunk=5)
    with pytest.raises(lt.CheckpointError, match="No space left") as caught:
        run(checkpoint=T.Checkpoint(tmp_path, every=5))
    assert int(caught.value.result.state.step) == 5
    with pytest.warns(RuntimeWarning, match="goes on without it"):
        fit = run(checkpoint=T.Checkpoint(tmp_path, every=5, strict=False))
    assert fit.status == "max_steps"


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="every=.*at least 1; got 0"):
        T.Checkpoint(tmp_path, every=0)
    with pytest.raises(ValueError, match="seconds=.*positive number; got 0"):
        T.Checkpoint(tmp_path, seconds=0)


CHILD = """
    import jax, jax.numpy as jnp, numpy as np, optax, sys, time
    import logtrick as lt

    def simulator(x):                    # slow enough to be killed in the middle
        time.sleep(float(sys.argv[2]))
        return np.float32(0.0)

    box = lt.black_box(simulator)
    objective = lambda p, key: (
        jnp.sum((p - jax.random.normal(key, (3,))) ** 2) + box(jax.lax.stop_gradient(p[0]))
    )
    print("ready", flush=True)
    fit = lt.minimize(
        jax.random.key(0), objective, jnp.zeros(3), optax.adam(0.1), num_steps=60, chunk=1,
        checkpoint=lt.training.Checkpoint(sys.argv[1], every=1, keep=2),
    )
    print(fit.status, len(fit.history.value), fit.params.tolist(), float(fit.history.value.sum()))
"""


def child(folder, pause):
    code = textwrap.dedent(CHILD)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(folder), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for(process, folder, count):
    """Until the child has written its `count`-th checkpoint."""
    while process.poll() is None:
        saves = [int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*.json")]
        if saves and max(saves) >= count:
            return
    raise AssertionError(process.stderr.read())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the child prints when nothing happens to it."""
    process = child(tmp_path_factory.mktemp("whole"), 0)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return out


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.full, id="forty kills")])
def test_a_fit_killed_at_any_moment_goes_on_with_the_same_bits(tmp_path, kills, undisturbed):
    folder, random = tmp_path / "killed", np.random.default_rng(0)
    most = 55 / kills
    for kill in range(kills):
        process = child(folder, 0.01)
        wait_for(process, folder, int(1 + kill * most))
        for _ in range(int(random.integers(0, 30_000))):
            pass
        process.send_signal(signal.SIGKILL)
        process.communicate()
    out, error = child(folder, 0).communicate(timeout=300)
    assert out == undisturbed, error


def test_sigterm_saves_and_exits_with_143(tmp_path, undisturbed):
    folder = tmp_path / "stopped"
    process = child(folder, 0.02)
    wait_for(process, folder, 3)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143 and "SIGTERM" in error
    out, error = child(folder, 0).communicate(timeout=300)
    assert out == undisturbed, error

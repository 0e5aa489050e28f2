"""Fits on several devices and in several processes: the same draws, gradients equal to rounding."""

import functools
import json
import os
import re
import socket
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.training.test_minimize import leaves_equal

KEY = jax.random.key(3)
X = np.random.default_rng(0).standard_normal((48, 5)).astype(np.float32)
Y = (X @ np.arange(5.0, dtype=np.float32) > 0).astype(np.float32)


def objective(params, key, batch):
    """A Bernoulli policy in every context, rewarded where it says what the label says."""
    x, y = batch
    one = lambda key, x, y: lt.expect(
        key, lambda a: (a - y) ** 2, lt.Bernoulli(x @ params), num_samples=4
    )
    keys = jax.random.split(key, len(x))
    return jnp.mean(jax.vmap(one)(keys, x, y))


def mesh_of(count):
    return jax.make_mesh((count,), ("rows",), devices=jax.devices()[:count])


def fit(mesh=None, num_steps=12, **options):
    options = {"data": (X, Y), "batch_size": 8, "mesh": mesh, **options}
    return lt.minimize(
        KEY, objective, jnp.zeros(5), optax.adam(0.1), num_steps=num_steps, **options
    )


@functools.cache
def alone():
    return fit()


@pytest.mark.parametrize("count", [4, *(pytest.param(n, marks=pytest.mark.full) for n in (1, 2))])
def test_any_number_of_devices_gives_the_same_fit(count):
    spread = fit(mesh_of(count))
    np.testing.assert_allclose(spread.history.value, alone().history.value, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        spread.history.gradient_norm, alone().history.gradient_norm, rtol=2e-6
    )
    assert spread.params.sharding.is_fully_replicated
    assert len(spread.params.sharding.device_set) == count


@pytest.mark.full
def test_all_of_the_data_in_every_step_is_spread_too():
    whole = fit(batch_size=None, num_steps=3)
    spread = fit(mesh_of(4), batch_size=None, num_steps=3)
    np.testing.assert_allclose(spread.history.value, whole.history.value, rtol=1e-6)


def test_batches_of_the_host_are_spread():
    def epochs(epoch):
        for start in range(0, 48, 8):
            yield X[start : start + 8], Y[start : start + 8]

    mean = lambda p, key, batch: jnp.mean((batch[0] @ p - batch[1]) ** 2)
    run = functools.partial(
        lt.minimize, KEY, mean, jnp.zeros(5), optax.sgd(0.1), num_steps=8, data=epochs, batch_size=8
    )
    whole, spread = run(), run(mesh=mesh_of(4))
    np.testing.assert_allclose(spread.history.value, whole.history.value, rtol=1e-6, atol=1e-7)


def test_rows_that_do_not_divide_are_refused_up_front():
    """Fault 45."""
    with pytest.raises(ValueError, match=r"over 4 devices; batch_size=6 does not divide"):
        fit(mesh_of(4), batch_size=6)
    with pytest.raises(ValueError, match=r"over 4 devices; \(46, 5\) does not divide"):
        fit(mesh_of(4), batch_size=None, data=(X[:46], Y[:46]))


def test_a_checkpoint_of_one_layout_goes_on_in_another(tmp_path):
    fit(mesh_of(4), num_steps=6, checkpoint=tmp_path)
    rest = fit(checkpoint=tmp_path)
    np.testing.assert_allclose(rest.history.value, alone().history.value, rtol=1e-6, atol=1e-7)
    assert leaves_equal(fit(mesh_of(4), checkpoint=tmp_path).params, rest.params)


def test_a_step_exchanges_the_gradient_and_nothing_that_grows_with_the_batch():
    """Bytes of all-reduces in the compiled program: about the parameters and a few scalars, whatever the batch."""
    from logtrick._core.mesh import automatic_mesh as automatic
    from logtrick.training._feed import placed
    from logtrick.training._program import Program
    from logtrick.training._step import Task

    def exchanged(rows):
        mesh = automatic("x", mesh_of(4))
        data = (np.resize(X, (rows, 5)), np.resize(Y, rows))
        feed, data, _ = placed("x", data, None, KEY, mesh)
        optimizer = optax.with_extra_args_support(optax.sgd(0.1))
        program = Program(Task("x", objective, optimizer, feed=feed, mesh=mesh))
        state = program.begin(
            jnp.zeros(5), jax.random.key_data(KEY), None, key_impl=jax.random.key_impl(KEY)
        )
        text = program.advance.lower(state, data, np.int32(1)).compile().as_text()
        assert "all-gather" not in text and "all-to-all" not in text
        return sum(_bytes(line) for line in re.findall(r"= (.*?) all-reduce\(", text))

    assert exchanged(16) == exchanged(64) <= 4 * (5 + 8)


def _bytes(shapes):
    """Of "(f32[5], f32[])"."""
    sizes = re.findall(r"[fsu]32\[([\d,]*)\]", shapes)
    return 4 * sum(int(np.prod([int(n) for n in size.split(",") if n])) for size in sizes)


CHILD = """
    import json, os, signal, sys
    import jax
    address, process, folder, how = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=process, initialization_timeout=60)
    import logtrick as lt
    import tests.training.test_mesh as problem

    def only_the_second(result):
        if process == 1 and int(result.state.step) == 6:
            if how == "stop":
                return True
            if how == "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
            if how == "raise":
                raise ValueError("no more coffee")

    mesh = jax.make_mesh((jax.device_count(),), ("rows",))
    options = {"chunk": 2, "listeners": (lt.training.JSONLines(folder + "/metrics.jsonl"),), "callback": only_the_second}
    try:
        fit = problem.fit(mesh, checkpoint=folder, **options)
        print("RESULT", json.dumps([fit.status, fit.history.value.tolist(), fit.params.tolist()]))
    except Exception as error:
        print("RESULT", json.dumps([type(error).__name__, str(error), int(error.result.state.step)]))
"""


def two_processes(folder, how, code=0):
    """The same fit in two processes of two devices each; what they print."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(CHILD)]
    children = [
        subprocess.Popen(
            [*command, address, str(i), str(folder), how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_FLAGS": ""},
        )
        for i in range(2)
    ]
    results = []
    for process in children:
        out, error = process.communicate(timeout=240)
        assert process.returncode == code, error[-3000:]
        results += [json.loads(line) for line in re.findall(r"RESULT (.*)", out)]
    return results


def test_two_processes_are_one_fit_end_together_and_resume_together(tmp_path):
    """One of them wants to stop, and both do, at the same step; only the first one writes."""
    first = two_processes(tmp_path, "stop")
    assert first[0] == first[1] and first[0][0] == "stopped" and len(first[0][1]) == 6
    second = two_processes(tmp_path, "go on")
    assert second[0] == second[1] and second[0][0] == "max_steps"
    assert second[0][1][:6] == first[0][1]
    np.testing.assert_allclose(second[0][1], alone().history.value, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(second[0][2], alone().params, rtol=1e-5, atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 10, 12]


@pytest.mark.full
def test_a_signal_and_an_exception_in_one_process_end_both(tmp_path):
    """SIGTERM (preemption) reaches one process first: both save and exit with 143; the fit goes on with the same bits."""
    assert two_processes(tmp_path, "terminate", code=143) == []
    other, own = two_processes(tmp_path / "other", "raise")
    assert own == ["ValueError", "no more coffee", 6]
    assert other[0] == "RuntimeError" and other[2] == 6
    assert "process 1 of the fit failed, ValueError: no more coffee" in other[1]
    rest = two_processes(tmp_path, "go on")[0]
    np.testing.assert_allclose(rest[1], alone().history.value, rtol=1e-6, atol=1e-7)


def test_without_a_mesh_every_process_has_a_fit_of_its_own():
    from logtrick.training._processes import Agreed, Processes

    for mesh in (None, mesh_of(4)):
        processes = Processes(mesh)
        assert processes.writes and not processes.several
        assert processes.agree(3, True, "stopped", "by hand") == Agreed(
            3, True, "stopped", "by hand"
        )

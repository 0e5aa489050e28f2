"""What the host does between chunks: when listeners are visited, callbacks, progress, JSON lines, Ctrl-C."""

import functools
import io
import json
import os
import re
import signal
import sys
import textwrap
import threading
import time
import types

import jax
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.training.test_minimize import ADAM, KEY, SGD, START, bowl, leaves_equal, noisy


class Recorder(lt.training.Listener):
    """Writes down what happens to it."""

    def __init__(self, every=None):
        self.every, self.seen = every, []

    def start(self, run):
        self.seen.append(("start", run.step, run.num_steps))

    def after_chunk(self, run):
        self.seen.append(run.step)

    def close(self, run, error):
        self.seen.append(("close", run.status, type(error).__name__))


def test_visits_are_at_multiples_of_the_chunk_and_of_every_listener():
    by_chunk, by_itself = Recorder(), Recorder(every=7)
    listeners = (by_chunk, by_itself)
    lt.minimize(KEY, noisy, START, ADAM, num_steps=25, chunk=10, listeners=listeners)
    steps = [7, 10, 14, 20, 21, 25]
    assert by_chunk.seen == [("start", 0, 25), *steps, ("close", "max_steps", "NoneType")]
    assert by_itself.seen == by_chunk.seen


def test_listeners_are_closed_whatever_happens():
    recorder = Recorder()

    class Broken(lt.training.Listener):
        def after_chunk(self, run):
            raise OSError("full")

        def close(self, run, error):
            raise ValueError("also broken")

    with pytest.raises(OSError, match="full") as caught:
        listeners = (recorder, Broken())
        lt.minimize(KEY, noisy, START, ADAM, num_steps=25, chunk=10, listeners=listeners)
    assert recorder.seen[-1] == ("close", "failed", "OSError")
    assert caught.value.result.status == "failed" and int(caught.value.result.state.step) == 10


class Named(lt.training.Listener):
    name = "named"

    def arrays(self):
        raise OSError("nothing to keep")


def test_what_goes_wrong_at_the_very_end_keeps_the_fit():
    with pytest.raises(OSError, match="nothing to keep") as caught:
        lt.minimize(KEY, noisy, START, ADAM, num_steps=3, listeners=(Named(),))
    assert caught.value.result.status == "max_steps" and len(caught.value.result.history.value) == 3


def test_two_listeners_of_one_name_are_refused():
    with pytest.raises(ValueError, match="2 listeners of the name 'named', whose records"):
        lt.minimize(KEY, noisy, START, ADAM, num_steps=3, listeners=(Named(), Named()))


def test_a_history_that_is_looked_at_before_the_first_step_keeps_double_precision(x64):
    class Curious(lt.training.Listener):
        def start(self, run):
            assert len(run.history.value) == 0

    third = lambda p, key: p + 1.0 / 3.0
    run = functools.partial(lt.minimize, jax.random.key(0), third, 0.0, SGD, num_steps=1)
    run()  # so that nothing is left to be compiled
    assert run(listeners=(Curious(),)).history.value.tolist() == [1.0 / 3.0]


def test_many_calls_at_once_are_the_same_steps():
    """Without a listener in between, calls are handed over one after the other: more steps than one call has."""
    run = lambda **how: lt.minimize(KEY, bowl, 0.0, optax.sgd(1e-3), num_steps=2500, **how)
    kept = []
    assert leaves_equal(run().history, run(callback=kept.append).history) and len(kept) == 25


def test_callbacks_see_the_fit_so_far_and_may_keep_it():
    kept = []
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=25, chunk=10, callback=kept.append)
    assert [int(r.state.step) for r in kept] == [10, 20, 25] == [len(r.history.value) for r in kept]
    assert kept[0].status == "running" and np.isfinite(kept[0].params["w"]).all()
    assert leaves_equal(kept[-1].params, fit.params)
    first = lt.minimize(KEY, noisy, START, ADAM, num_steps=10)
    assert leaves_equal(kept[0].params, first.params)  # its memory was not given to the next chunk


def test_a_callback_that_returns_true_stops_the_fit():
    stops = lambda result: int(result.state.step) >= 20
    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=50, chunk=10, callback=stops)
    assert fit.status == "stopped" and len(fit.history.value) == 20 and "callback" in fit.reason

    def iterates(result):
        raise StopIteration

    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=50, chunk=10, callback=iterates)
    assert fit.status == "stopped" and len(fit.history.value) == 10
    every = lambda result: np.float32(1.0)  # what is only true-ish goes on
    assert lt.minimize(KEY, noisy, START, ADAM, num_steps=3, callback=every).status == "max_steps"


def test_what_a_callback_raises_carries_the_result():
    def breaks(result):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="of the callback") as caught:
        lt.minimize(KEY, noisy, START, ADAM, num_steps=30, chunk=10, callback=breaks)
    same = lt.minimize(KEY, noisy, START, ADAM, num_steps=10)
    assert leaves_equal(caught.value.result.params, same.params)


@pytest.fixture
def foreground():
    """SIGINT as in a terminal: a shell starts what it puts in the background without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_returns_what_there_is(foreground, capsys):
    def press(result):
        if int(result.state.step) == 20:
            os.kill(os.getpid(), signal.SIGINT)

    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=1000, chunk=10, callback=press)
    assert fit.status == "interrupted" and int(fit.state.step) == 20 == len(fit.history.value)
    same = lt.minimize(KEY, noisy, START, ADAM, num_steps=20, chunk=10)
    assert leaves_equal(fit.state, same.state)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert "Ctrl-C again stops at once" in capsys.readouterr().err

    def raises(result):
        raise KeyboardInterrupt

    fit = lt.minimize(KEY, noisy, START, ADAM, num_steps=30, chunk=10, callback=raises)
    assert fit.status == "interrupted"


def test_a_second_ctrl_c_raises_with_the_result(foreground):
    def press(result):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

    with pytest.raises(KeyboardInterrupt) as caught:
        lt.minimize(KEY, noisy, START, ADAM, num_steps=30, chunk=10, callback=press)
    assert caught.value.result.status == "interrupted"
    assert int(caught.value.result.state.step) == 10
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def slow_objective(seconds, calls, press_at=()):
    """Steps that take `seconds` on the host, where Ctrl-C is pressed a moment after calls of these numbers began."""

    def simulator(x):
        calls.append(1)
        if len(calls) in press_at:
            press = lambda: os.kill(os.getpid(), signal.SIGINT)
            threading.Timer(0.05, press).start()
            threading.Timer(0.15, press).start() if seconds > 1 else None
        time.sleep(seconds)
        return np.float32(0.0)

    box = lt.black_box(simulator)
    return lambda p, key: p**2 + box(jax.lax.stop_gradient(p))


def test_ctrl_c_ends_a_fit_of_slow_steps_within_about_a_second(foreground):
    calls = []
    objective = slow_objective(0.1, calls, press_at=(14,))
    fit = lt.minimize(KEY, objective, 1.0, SGD, num_steps=1000)
    assert fit.status == "interrupted"
    assert 14 <= len(fit.history.value) == int(fit.state.step) <= 14 + 12


def test_a_second_ctrl_c_gets_out_of_a_slow_host_function(foreground):
    calls = []
    objective = slow_objective(20.0, calls, press_at=(1,))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        lt.minimize(KEY, objective, 1.0, SGD, num_steps=1000)
    assert time.monotonic() - began < 15 and len(calls) == 1
    assert caught.value.result.status == "interrupted"
    assert caught.value.result.params.item() == 1.0


def test_slow_steps_are_visited_about_once_a_second_with_the_same_bits():
    recorder, calls = Recorder(), []
    objective = slow_objective(0.15, calls)
    fit = lt.minimize(KEY, objective, 1.0, SGD, num_steps=16, listeners=(recorder,))
    visits = [step for step in recorder.seen if isinstance(step, int)]
    assert len(visits) >= 2 and visits[-1] == 16
    fast = lt.minimize(KEY, slow_objective(0.0, calls), 1.0, SGD, num_steps=16)
    assert leaves_equal(fit.history, fast.history)


def test_a_black_box_error_carries_the_result():
    calls = []

    def simulator(x):
        calls.append(1)
        if len(calls) > 14:
            raise ArithmeticError("no such state")
        return np.float32(0.0)

    box = lt.black_box(simulator)
    objective = lambda p, key: p**2 + box(jax.lax.stop_gradient(p))
    with pytest.raises(lt.BlackBoxError) as caught:
        lt.minimize(KEY, objective, 1.0, SGD, num_steps=40, chunk=5)
    result = caught.value.result
    assert result.status == "failed" and len(result.history.value) == int(result.state.step) > 0
    assert result.params.item() == 0.5 ** int(result.state.step)


def test_progress_in_plain_lines_shows_the_first_and_the_mean_objective(capsys):
    lt.minimize(KEY, bowl, 0.0, SGD, num_steps=100, chunk=1, progress=True)
    lines = [line for line in capsys.readouterr().err.splitlines() if "compiling" not in line]
    assert len(lines) == 10
    assert lines[0].startswith("10/100 steps, objective 9 → 3.43")
    assert lines[-1].startswith("100/100 steps, objective 9 → ")
    lt.maximize(KEY, lambda p, key: -bowl(p, key), 0.0, SGD, num_steps=4, progress=True)
    assert f"objective -9 → {-(9 + 2.25 + 0.5625 + 0.140625) / 4:.6g}" in capsys.readouterr().err


def test_something_is_shown_before_the_first_step_is_done():
    out = io.StringIO()
    bar = lt.training.ProgressBar(file=out)
    seen = []

    def simulator(x):
        time.sleep(1.2)
        seen.append(out.getvalue())
        return np.float32(0.0)

    box = lt.black_box(simulator)
    objective = lambda p, key: p**2 + box(jax.lax.stop_gradient(p))
    lt.minimize(KEY, objective, 1.0, SGD, num_steps=1, progress=bar)
    assert seen[0].startswith("0/1 steps, compiling")


def test_progress_over_a_job_of_two_fits(capsys):
    bar = lt.training.ProgressBar(total=20, label="job", file=sys.stderr)
    for _ in range(2):
        lt.minimize(KEY, bowl, 0.0, SGD, num_steps=10, chunk=5, progress=bar)
    lines = [line for line in capsys.readouterr().err.splitlines() if "compiling" not in line]
    assert [line.split(" steps")[0] for line in lines] == [f"job: {n}/20" for n in (5, 10, 15, 20)]


def test_a_bar_may_show_one_fit_after_the_other(capsys):
    bar = lt.training.ProgressBar(file=sys.stderr)
    for _ in range(2):
        lt.minimize(KEY, bowl, 0.0, SGD, num_steps=10, chunk=5, progress=bar)
    lines = [line for line in capsys.readouterr().err.splitlines() if "compiling" not in line]
    assert [line.split(" steps")[0] for line in lines] == 2 * ["5/10", "10/10"]


def test_the_bar_on_a_terminal_is_redrawn(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    bar = lt.training.ProgressBar()
    lt.minimize(KEY, bowl, 0.0, SGD, num_steps=10, chunk=5, progress=bar)
    out = capsys.readouterr().err
    assert out.count("█") >= 24 and out.count("\n") == 1 and "\r" in out


class _Broken(io.StringIO):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize(
    "stream",
    [
        _Broken(BrokenPipeError()),
        _Broken(OSError(28, "No space left on device")),
        None,
        io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
    ],
    ids=["pipe", "disk", "none", "ascii"],
)
@pytest.mark.parametrize("bar", [True, "tqdm"])
def test_progress_cannot_end_a_fit(stream, terminal, bar, monkeypatch):
    if bar == "tqdm":
        pytest.importorskip("tqdm")
        bar = lt.training.TqdmBar()
    if stream is not None:
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    fit = lt.minimize(KEY, bowl, 0.0, SGD, num_steps=30, chunk=10, progress=bar)
    monkeypatch.undo()
    assert fit.status == "max_steps"


def test_tqdm_is_used_on_terminals_and_counts_the_steps(monkeypatch):
    pytest.importorskip("tqdm")
    out = io.StringIO()
    monkeypatch.setattr(out, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", out)
    lt.minimize(KEY, bowl, 0.0, SGD, num_steps=30, chunk=10, progress=True)
    monkeypatch.undo()
    assert "30/30" in out.getvalue() and "objective 9 → " in out.getvalue()
    assert lt.training.TqdmBar.first_process_only and lt.training.ProgressBar.first_process_only


def test_tqdm_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"logtrick\[progress\]"):
        lt.training.TqdmBar()


def test_json_lines(tmp_path):
    path = tmp_path / "logs" / "fit.jsonl"
    objective = lambda p, key: (bowl(p, key), {"half": p / 2, "inner": {"one": 1.0}})
    writer = lt.training.JSONLines(path)
    lt.minimize(KEY, objective, 0.0, SGD, num_steps=5, chunk=2, listeners=(writer,))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert lines[0]["value"] == pytest.approx((9 + 2.25) / 2)
    assert lines[0]["half"] == pytest.approx((0 + 0.75) / 2) and lines[2]["inner/one"] == 1.0
    assert set(lines[0]) >= {"seconds", "gradient_norm", "update_norm", "skipped", "clipped"}
    assert re.fullmatch(r"[0-9.]+", str(lines[0]["seconds"]))
    objective = lambda p, key: (bowl(p, key), {"value": 7.0, "step": 0.5})
    lt.minimize(KEY, objective, 0.0, SGD, num_steps=2, listeners=(writer,))
    line = json.loads(path.read_text())
    assert (line["step"], line["value"]) == (2, pytest.approx((9 + 2.25) / 2))
    assert (line["metrics/value"], line["metrics/step"]) == (7.0, 0.5)


def test_the_last_steps_of_a_fit_that_ends_early_are_in_a_line():
    lines = []
    stops = lambda result: int(result.state.step) == 6
    listeners = (lt.training.MetricsWriter(lines.append, every=4),)
    how = {"num_steps": 20, "chunk": 3, "listeners": listeners}
    fit = lt.minimize(KEY, bowl, 0.0, SGD, callback=stops, **how)
    assert fit.status == "stopped" and [line["step"] for line in lines] == [4, 6]
    assert lines[1]["value"] == pytest.approx(fit.history.value[4:].mean())


def test_a_line_that_cannot_be_written_is_tried_once():
    tries = []

    def write(line):
        tries.append(line["step"])
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        listeners = (lt.training.MetricsWriter(write),)
        lt.minimize(KEY, bowl, 0.0, SGD, num_steps=6, chunk=2, listeners=listeners)
    assert tries == [2]


class Recording:
    """Stands for the packages that take numbers: writes down what they are told."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*args, **options):
            self.calls.append((name, args, options))
            return self

        return call


def test_the_recipes_for_boards_are_code_that_runs():
    """TensorBoard, Weights & Biases and MLflow are stood for by doubles: their own calls have these signatures."""
    blocks = [
        textwrap.dedent(b) for b in re.findall(r"(?:\n {8}.*)+", lt.training.MetricsWriter.__doc__)
    ]
    code = "\n".join(block for block in blocks if "write = " in block)
    recipes = [
        part for part in re.split(r"\n\n|(?=wandb.init|mlflow.set)", code) if "write =" in part
    ]
    assert len(recipes) == 3 and all(len(part.strip().splitlines()) <= 2 for part in recipes)
    told = Recording()
    names = {"wandb": told, "mlflow": told}
    names["torch"] = types.SimpleNamespace(utils=types.SimpleNamespace(tensorboard=told))
    for recipe in recipes:
        space = dict(names)
        exec(recipe, space)
        listeners = (lt.training.MetricsWriter(space["write"]),)
        lt.minimize(KEY, bowl, 0.0, SGD, num_steps=4, chunk=2, listeners=listeners)
    want = pytest.approx((9 + 2.25) / 2)
    board = [args for name, args, _ in told.calls if name == "add_scalar"]
    assert ("value", want, 2) in board
    with pytest.raises(TypeError, match="write=.*needs a function of a dict of numbers; got"):
        lt.training.MetricsWriter("metrics.jsonl")
    for name in ("log", "log_metrics"):
        (line,), options = next(call[1:] for call in told.calls if call[0] == name)
        assert line["value"] == want and options == {"step": 2}

"""The command line: every refusal is one line and exit status 2, before any work is done."""

import os
import subprocess
import sys
import types

import pytest

import logtrick as lt
from logtrick.__main__ import COMMANDS, main as dispatch
from logtrick._variable_selection import command

GOOD = "a,b,y\n" + "\n".join(f"{i},{(i * 7) % 5},{(i * 3) % 11}" for i in range(20)) + "\n"


@pytest.fixture
def table(tmp_path):
    def write(text=GOOD):
        path = tmp_path / "table.csv"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture(autouse=True)
def no_work(monkeypatch):
    def run(*args, **kwargs):
        raise AssertionError("the job was started")

    monkeypatch.setattr(command.job, "run", run)


def refused(capsys, *arguments):
    """The one line that `arguments` are refused with."""
    with pytest.raises(SystemExit) as exit:
        command.main(arguments)
    out, err = capsys.readouterr()
    assert exit.value.code == 2
    assert out == ""
    assert err.startswith("python -m logtrick: error: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "", "²"])
def test_seeds_that_are_none(capsys, seed):
    assert f"argument --seed: needs an integer from 0 on; got {seed!r}" in refused(
        capsys, f"--seed={seed}"
    )


def test_an_option_that_is_none(capsys):
    assert "unrecognized arguments: --stride" in refused(capsys, "--stride", "3")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "0", "needs an integer from 1 on; got '0'"),
        ("--draws", "1", "needs an integer from 2 on; got '1'"),
        ("--separator", "ab", "needs one character, or tab, space, comma or semicolon; got 'ab'"),
        ("--decimal", ";", "invalid choice: ';' (choose from"),
    ],
)
def test_values_that_an_option_does_not_take(capsys, option, value, message):
    assert f"argument {option}: {message}" in refused(capsys, option, value)


@pytest.mark.parametrize("option", [("--strict",), ("--drop", "age"), ("--no-header",)])
def test_options_of_a_table_need_one(capsys, option):
    assert "--no-header and --strict need --data" in refused(capsys, *option)


def test_data_and_target_go_together(capsys, table):
    for given in (("--data", table()), ("--target", "y")):
        assert "--data FILE.csv and --target COLUMN go together" in refused(capsys, *given)


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (GOOD, "z", "no column is called z"),
        ("a,b,y\n1,2,3\n2,2,3\n3,2,3\n4,2,3\n", "y", "--target y: the column is constant"),
        ("a,b\n1,x\n2,y\n4,z\n1,x\n", "b", "not a column of numbers"),
        ("a,b,y\n1,2,3\n", "y", "too few complete rows (1)"),
        ("", "y", "is empty"),
    ],
)
def test_tables_that_cannot_be_used(capsys, table, text, target, message):
    assert message in refused(capsys, "--data", table(text), "--target", target)


def test_strict_refuses_a_table_in_which_anything_would_change(capsys, table, monkeypatch):
    text = "a,b,sex,flat,y\n" + "".join(f"{i},{i * i},{'mf'[i % 2]},1,{i % 7}\n" for i in range(20))
    arguments = ["--data", table(text), "--target", "y", "--strict"]
    changes = "sex: coded f = 0, m = 1; flat: left out (constant)"
    message = f"--strict refuses what would be left out or coded: {changes}"
    assert message in refused(capsys, *arguments)

    def run(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.job, "run", run)
    assert command.main([*arguments, "--drop", "sex,flat"]) == 130


def test_the_target_is_not_dropped(capsys, table):
    arguments = ["--data", table(), "--target", "y", "--drop", "a,y"]
    assert "--drop y: that is the target. Drop others" in refused(capsys, *arguments)


def test_a_missing_file(capsys, tmp_path):
    assert "No such file" in refused(capsys, "--data", str(tmp_path / "none.csv"), "--target", "y")


@pytest.mark.parametrize("option", ["--plot", "--json"])
def test_outputs_that_cannot_be_written(capsys, tmp_path, option):
    for path in (tmp_path, tmp_path / "none" / "out.png"):
        assert "no file can be written there" in refused(capsys, option, str(path))


def test_a_figure_is_a_png(capsys, tmp_path):
    assert "writes PNG. Give a name that ends in .png" in refused(
        capsys, "--plot", str(tmp_path / "fit.pdf")
    )


def test_without_matplotlib_the_error_names_the_extra(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert "Install the extra: pip install 'logtrick[plot]'" in refused(
        capsys, "--plot", str(tmp_path / "fit.png")
    )


def test_a_fit_that_diverges_is_one_line(capsys, monkeypatch):
    def run(*args, **kwargs):
        raise lt.NonFiniteError("lt.maximize: step 3 was not finite.\nMore.")

    monkeypatch.setattr(command.job, "run", run)
    with pytest.raises(SystemExit) as exit:
        command.main([])
    assert exit.value.code == 2
    assert (
        capsys.readouterr().err
        == "python -m logtrick: error: lt.maximize: step 3 was not finite. More.\n"
    )


def test_a_full_disk_is_one_line(capsys, monkeypatch, tmp_path):
    """The error of a write, unlike that of an open, does not name the file."""

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.job, "run", lambda *args, **kwargs: None)
    monkeypatch.setattr(command.report, "results", lambda result: "")
    monkeypatch.setattr(command.numbers, "as_json", lambda result, options: {})
    monkeypatch.setattr(command.Path, "write_text", full)
    with pytest.raises(SystemExit) as exit:
        command.main(["--json", str(tmp_path / "out.json")])
    assert exit.value.code == 2
    message = "an output cannot be written ([Errno 28] No space left on device)"
    assert capsys.readouterr().err == f"python -m logtrick: error: {message}\n"


def test_ctrl_c(capsys, monkeypatch):
    def run(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.job, "run", run)
    assert command.main([]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_the_seed_goes_through_lt_key(monkeypatch):
    """Above 2³² as well, where `jax.random.key` would take 2³² for 0."""
    keys = []

    def run(table, key, stream, guides):
        keys.append(key)
        raise KeyboardInterrupt

    monkeypatch.setattr(command.job, "run", run)
    for seed in (0, 2**32):
        command.main(["--seed", str(seed)])
        assert keys[-1] == lt.key(seed)
    assert keys[0] != keys[1]


def test_what_the_options_say_reaches_the_table_and_the_guides(capsys, table, monkeypatch):
    seen = []

    def run(table, key, stream, guides):
        seen.append((table, guides))
        raise KeyboardInterrupt

    monkeypatch.setattr(command.job, "run", run)
    path = table(GOOD.replace(",", ";").replace("a;b;y\n", ""))
    arguments = "--target y --separator semicolon --columns a,b,y --drop b --steps 7 --draws 3"
    assert command.main(["--data", path, *arguments.split(), "--decimal", "point"]) == 130
    found, guides = seen[0]
    assert found.names == ("a",)
    assert [(guide.num_steps, guide.num_samples) for guide in guides] == [(7, 3), (7, 3)]
    out = " ".join(capsys.readouterr().out.split())
    assert (
        f"Read {path} as UTF-8 text, separated by ';', no line of names, columns called a … y, "
        "decimal point: 20 rows" in out
    )


def test_help(capsys):
    with pytest.raises(SystemExit) as exit:
        command.main(["--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    assert all(
        option in text
        for option in ("--seed", "--steps", "--draws", "--plot", "--json", "--data", "--target")
    )


def test_help_shows_all_commands(capsys):
    with pytest.raises(SystemExit):
        dispatch(["--help"])
    text = capsys.readouterr().out
    assert all(f"python -m logtrick {name}" in text for name in ("bench", "vi"))


def test_a_command_is_imported_when_it_is_given(monkeypatch):
    """`python -m logtrick bench …` is `main(…)` of its module; the main job is not touched."""
    module = types.ModuleType("of_a_command")
    module.main = lambda arguments: len(arguments)
    monkeypatch.setitem(sys.modules, "of_a_command", module)
    monkeypatch.setitem(COMMANDS, "bench", ("of_a_command", ""))
    assert dispatch(["bench", "--json", "x"]) == 2


def test_a_command_that_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(COMMANDS, "vi", ("logtrick.nowhere._command", ""))
    assert dispatch(["vi"]) == 2
    assert (
        "python -m logtrick vi: error: this installation lacks logtrick.nowhere._command"
        in capsys.readouterr().err
    )


def test_the_module_runs_as_a_program(tmp_path):
    """`python -m logtrick`, in a process of its own: no traceback, one line, exit status 2."""
    done = subprocess.run(
        [sys.executable, "-m", "logtrick", "--data", str(tmp_path / "none.csv"), "--target", "y"],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("python -m logtrick: error: --data ")
    assert done.stderr.count("\n") == 1

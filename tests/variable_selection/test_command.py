"""The command line: every refusal is one line and exit status 2, before any work is done."""

import os
import subprocess
import sys

import pytest

import logtrick as lt
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
    assert f"argument --seed: needs a non-negative integer; got {seed!r}" in refused(
        capsys, f"--seed={seed}"
    )


def test_an_option_that_is_none(capsys):
    assert "unrecognized arguments: --steps" in refused(capsys, "--steps", "3")


def test_data_and_target_go_together(capsys, table):
    assert "--data needs --target COLUMN beside it" in refused(capsys, "--data", table())
    assert "--target needs --data FILE.csv beside it" in refused(capsys, "--target", "y")


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        (GOOD, "z", "--target z: "),
        (GOOD.replace("\n3,", "\nthree,"), "y", "column 'a', line 5 is 'three', not numeric"),
        (GOOD.replace("\n3,", "\nnan,"), "y", "column 'a', line 5 is nan"),
        ("a,b,y\n1,2,3\n2,2,5\n3,2,1\n4,2,2\n", "y", "column 'b' is constant"),
        (
            "a,b,y\n1,2,3\n2,4,5\n3,6,1\n4,8,2\n",
            "y",
            "column 'b' is collinear: a linear combination of 'a'",
        ),
        ("a,b,y\n1,2,3\n", "y", "too few"),
        ("", "y", "is empty"),
    ],
)
def test_tables_that_cannot_be_used(capsys, table, text, target, message):
    assert message in refused(capsys, "--data", table(text), "--target", target)


def test_a_missing_file(capsys, tmp_path):
    assert "no such file" in refused(capsys, "--data", str(tmp_path / "none.csv"), "--target", "y")


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


def test_ctrl_c(capsys, monkeypatch):
    def run(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.job, "run", run)
    assert command.main([]) == 130
    assert capsys.readouterr().err == "\ninterrupted\n"


def test_the_seed_goes_through_lt_key(monkeypatch):
    """Above 2³² as well, where `jax.random.key` would take 2³² for 0."""
    keys = []

    def run(table, key, stream):
        keys.append(key)
        raise KeyboardInterrupt

    monkeypatch.setattr(command.job, "run", run)
    for seed in (0, 2**32):
        command.main(["--seed", str(seed)])
        assert keys[-1] == lt.key(seed)
    assert keys[0] != keys[1]


def test_help(capsys):
    with pytest.raises(SystemExit) as exit:
        command.main(["--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    assert all(
        option in text
        for option in ("--seed", "--plot", "--json", "--data", "--target", "--version")
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

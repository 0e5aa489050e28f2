"""`python -m logtrick bench`: exit codes, files, nearest names; every built-in problem against quadrature."""

import csv
import dataclasses
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import logtrick as lt
from logtrick.diagnostics._bench import main
from logtrick.diagnostics._problems import ESTIMATORS, PROBLEMS

FAST = ["--replicates", "500", "--timings", "0", "--quiet"]


def test_the_list(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in PROBLEMS)
    assert all(name in out for name in ESTIMATORS)


def test_a_run_writes_what_is_asked_for(capsys, tmp_path):
    files = {name: tmp_path / f"a.{name}" for name in ("json", "csv", "markdown", "plot")}
    files["plot"] = tmp_path / "a.png"
    arguments = [part for name, file in files.items() for part in (f"--{name}", str(file))]
    command = ["arms-toy", "--estimators", "disarm,arms,loo", "--samples", "2,4", *FAST]
    assert main([*command, *arguments]) == 0
    out = capsys.readouterr().out
    assert "Dimitriev & Zhou" in out and "loo: variance ∝ samples^-" in out
    told = json.loads(files["json"].read_text())
    assert set(told["estimators"]) == {
        f"{name}, n = {n}" for name in ("disarm", "arms", "loo") for n in (2, 4)
    }
    assert told["estimators"]["loo, n = 2"]["variance"] == pytest.approx(2.5e-5, rel=0.3)
    assert all(row["evaluations"] in (2, 4) for row in told["estimators"].values())
    with open(files["csv"], newline="") as file:
        assert len(list(csv.reader(file))) == 7
    assert files["markdown"].read_text().startswith("| estimator |")
    assert files["plot"].read_bytes().startswith(b"\x89PNG")


def test_a_seed_gives_the_same_numbers(tmp_path):
    told = []
    for seed in (3, 3, 4, 2**32 + 3):
        command = ["three-bits", "--estimators", "loo", *FAST, "--seed", str(seed)]
        assert main([*command, "--json", str(tmp_path / "a.json")]) == 0
        told.append(json.loads((tmp_path / "a.json").read_text())["estimators"]["loo, n = 4"])
    assert told[0]["variance"] == told[1]["variance"]
    assert len({row["variance"] for row in told}) == 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["arm-toy"], "no problem 'arm-toy'. Did you mean arms-toy"),
        (["arms-toy", "--estimators", "disarn"], "no estimator 'disarn'. Did you mean disarm"),
        (["qqqqqqqq"], "Known: arms-toy"),
        ([], "needs a problem"),
        (["arms-toy", "--plot", "a.png", "--kind", "samples"], "needs several --samples"),
        (["arms-toy", "--json", "nowhere/a.json"], "there is no folder 'nowhere'"),
        (["arms-toy", "--json", "."], "that is a folder"),
        (["arms-toy", "--plot", "a.xyz"], "no kind of figure 'xyz'. Known: "),
        (["arms-toy", "--timings", "-1"], "at least 0; got '-1'"),
        (["arms-toy", "--seed", "-1"], "at least 0; got '-1'"),
        (["arms-toy", "--samples", "2,x"], "at least 1; got 'x'"),
        (["arms-toy", "--replicates", "1"], "at least 2; got '1'"),
        (["arms-toy", "--estimators", ","], "needs names of --list"),
    ],
)
def test_wrong_arguments_exit_with_2(capsys, command, message):
    try:
        code = main(command)
    except SystemExit as error:  # argparse's own
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_nothing_to_select_exits_with_2(capsys):
    command = ["arms-toy", "--estimators", "straight-through", "--samples", "2", "--select"]
    assert main([*command, *FAST]) == 2
    assert "needs an objective that is not refused" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -c 'from logtrick.diagnostics._bench import main; exit(main([\"--list\"]))'"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -1"], capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout == "problems:\n" and done.stderr == ""


def test_a_budget_that_does_not_divide_is_a_row(capsys):
    assert main(["arms-toy", "--estimators", "disarm,enumerate", "--samples", "3", *FAST]) == 0
    assert "the budget must be a multiple of 2; got 3" in capsys.readouterr().out


def test_nothing_measured_exits_with_2(capsys):
    assert main(["arms-toy", "--estimators", "disarm", "--samples", "3", *FAST]) == 2
    said = capsys.readouterr()
    assert "the budget must be a multiple of 2" in said.out and "nothing was measured" in said.err


def test_what_is_named_twice_is_measured_once(capsys):
    assert main(["arms-toy", "--estimators", "loo,loo", "--samples", "2,2", *FAST]) == 0
    assert capsys.readouterr().out.count("loo") == 1


def test_an_undeclared_bias_exits_with_1(capsys, monkeypatch):
    problem = PROBLEMS["three-bits"]()
    wrong = dataclasses.replace(problem, gradient=lambda logit: 2 * problem.gradient(logit))
    monkeypatch.setitem(PROBLEMS, "wrong", lambda: wrong)
    assert main(["wrong", "--estimators", "enumerate", *FAST]) == 1
    assert "BIASED" in capsys.readouterr().out


def test_selection(capsys):
    assert (
        main(["arms-toy", "--estimators", "none,disarm", "--samples", "2", "--select", *FAST]) == 0
    )
    assert "selected: disarm" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_exact_gradients_are_those_of_quadrature(name, x64):
    """By the library's own enumeration and Gauss–Hermite rule, or by differences of an expectation known otherwise."""
    problem = PROBLEMS[name]()
    got = problem.gradient(problem.params)
    params = jax.tree.map(lambda x: np.asarray(x, float), problem.params)
    if name in ("two-hundred-bits", "polynomial"):  # sums of independent parts: take one of them
        params = jax.tree.map(lambda x: x[:1], params)
        parts = len(problem.params)
        got = jax.tree.map(lambda x: x[:1] * parts, got)
    if name in ("poisson-square", "gamma-log", "normal-step"):
        want = _by_integration(name, problem)
    else:
        order = 256 if name == "normal-bump" else None
        value = lambda p: lt.testing.exact_expectation(problem.cost, problem.dist(p), order=order)
        want = jax.jit(jax.grad(value))(params)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def _by_integration(name, problem):
    """∫ f ∂p/∂θ by central differences of scipy's expectations."""
    from scipy import stats

    laws = {
        "poisson-square": lambda rate: stats.poisson(rate).expect(lambda x: (x - 5.0) ** 2),
        "gamma-log": lambda shape, rate: stats.gamma(shape, scale=1 / rate).expect(np.log),
        "normal-step": lambda loc, scale: stats.norm(loc, scale).sf(0.0),
    }
    leaves = [problem.params] if name == "poisson-square" else list(problem.params.values())
    step, found = 1e-4, []
    for i in range(len(leaves)):
        moved = [[x + sign * step * (i == j) for j, x in enumerate(leaves)] for sign in (1, -1)]
        found.append((laws[name](*moved[0]) - laws[name](*moved[1])) / (2 * step))
    return found[0] if name == "poisson-square" else dict(zip(problem.params, found))

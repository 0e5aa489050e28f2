"""`python -m logtrick vi`: what it prints and writes, and its exit status."""

import json

import pytest

from logtrick.vi._command import main


def test_eight_schools_agrees_with_its_reference(tmp_path, capsys):
    file = tmp_path / "fit.json"
    assert main(["eight-schools", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "reference mean" in printed and "verdict" in printed and "-31.31" in printed
    found = json.loads(file.read_text())
    assert found["verdict"] == "good" and found["posterior"] == "eight-schools"
    assert -31.7 < found["elbo"] < -31.3
    (mu, tau) = found["variables"]
    assert abs(mu["mean"] - mu["reference mean"]) < 0.3 * mu["reference sd"]
    assert abs(tau["mean"] - tau["reference mean"]) < 0.3 * tau["reference sd"]


def test_posteriors_are_listed_and_a_typo_gets_a_hint(capsys):
    assert main(["--list"]) == 0
    assert "eight-schools" in capsys.readouterr().out
    assert main(["eight-shools"]) == 2
    assert "Did you mean eight-schools?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--seed", "-1"], "non-negative"), (["--json", "no/such/folder/fit.json"], "no folder")],
)
def test_what_cannot_end_well_is_refused_before_the_fit(arguments, said, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out


def test_unknown_options_end_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--nope"])
    assert capsys.readouterr().err.count("\n") == 1

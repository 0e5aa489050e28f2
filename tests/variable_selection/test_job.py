"""The whole job: with a few steps on a small table, and in full on the diabetes data."""

import dataclasses
import io
import json
import types

import numpy as np
import pytest

import logtrick as lt
from logtrick._variable_selection import command, fit as fitting, job, report
from logtrick._variable_selection.guides import AUTOREGRESSIVE, GUIDES, INDEPENDENT
from logtrick._variable_selection.numbers import as_json
from logtrick._variable_selection.table import Table

FULL = job.diabetes()


def table(columns):
    return Table(FULL.names[:columns], "target", FULL.predictors[:, :columns], FULL.response)


def short(num_steps):
    return tuple(dataclasses.replace(guide, num_steps=num_steps) for guide in GUIDES)


@pytest.fixture(scope="module")
def small():
    """A few steps on three predictors."""
    stream = io.StringIO()
    return job.run(table(3), lt.key(1), stream, short(60), num_replicates=200), stream.getvalue()


def test_a_small_job_from_end_to_end(small, tmp_path):
    result, progress = small
    assert progress.splitlines()[0].strip().startswith("0 %")
    assert progress.splitlines()[-1].strip().startswith("100 %")
    posterior = result.posterior
    for fit in result.fits:
        assert fit.history.shape == (60,)
        assert fit.worth.elbo < posterior.log_evidence + 1e-5
        assert fit.worth.elbo > fit.history[:5].mean()
        assert fit.worth.standard_error == 0
    assert result.fits[1].worth.elbo > result.fits[0].worth.elbo - 5e-4
    text = " ".join(report.results(result).split())
    for words in (
        "exact log evidence",
        "independent guide",
        "autoregressive guide",
        "Inclusion probabilities",
        "Most probable",
    ):
        assert words in text
    assert (
        "Pathwise is refused: ValueError: Pathwise() needs a reparameterized distribution; Bernoulli is not."
        in text
    )
    assert "Plain REINFORCE's variance depends on that arbitrary constant" in text


def test_the_json_has_the_promised_keys(small):
    result, _ = small
    options = {"seed": 2**70, "data": None}
    numbers = json.loads(json.dumps(as_json(result, options), allow_nan=False))
    expected = {"log_evidence", "guides", "exact_inclusion", "race"}
    assert set(numbers) == expected | {"seed", "versions", "options", "data"}
    assert (numbers["seed"], numbers["options"]) == (2**70, options)
    assert numbers["versions"]["logtrick"] == lt.__version__
    assert set(numbers["versions"]) == {"logtrick", "python", "jax", "jaxlib", "numpy", "optax"}
    assert numbers["data"]["rows"] == 442
    assert numbers["data"]["predictors"] == ["age", "sex", "bmi"]
    assert numbers["log_evidence"] == result.posterior.log_evidence
    assert set(numbers["guides"]) == {"independent", "autoregressive"}
    for fit in result.fits:
        guide = numbers["guides"][fit.guide.name]
        assert guide["elbo"] == fit.worth.elbo
        assert (guide["steps"], guide["draws"]) == (60, fit.guide.num_samples)
        assert guide["status"] == "max_steps"
        expected = "not converged, more --steps or --draws would help (fewer than 200 steps)"
        assert guide["convergence"] == expected
        assert guide["verdict"] == fit.worth.report.verdict
        assert guide["judged_by_draws"] == 4096
        assert guide["inclusion"] == dict(zip(("age", "sex", "bmi"), fit.worth.inclusion))
    assert numbers["exact_inclusion"] == dict(
        zip(("age", "sex", "bmi"), result.posterior.inclusion)
    )
    assert list(numbers["race"]) == ["at the start", "at 0.3 × the fit", "at the fit"]
    for rows in numbers["race"].values():
        assert rows["Enumerate"]["exact"] is True
        assert rows["leave-one-out"]["evaluations"] == 16
        expected = 16 * rows["leave-one-out"]["variance"]
        np.testing.assert_allclose(rows["leave-one-out"]["variance_x_evaluations"], expected)
        assert rows["Pathwise"]["variance"] is None
        assert rows["Pathwise"]["error"].startswith("ValueError: Pathwise()")


def test_the_figure_is_a_png(small, tmp_path):
    from logtrick._variable_selection import figure

    path = tmp_path / "fit.png"
    figure.save(small[0], str(path))
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size > 50_000


def test_the_figure_has_no_spikes_and_no_label_under_a_curve(small):
    """Noise above the evidence lies on a linear part of the axis; the values at the end stand in the legend, above it."""
    from logtrick._variable_selection import figure

    drawn = figure.draw(small[0])
    drawn.canvas.draw()
    above, below = drawn.subfigs
    way = above.axes[0]
    assert way.get_yscale() == "symlog"
    assert way.get_ylim()[0] < 0
    top, ends = small[0].posterior.log_evidence, [fit.worth.elbo for fit in small[0].fits]
    labels = [text.get_text() for text in way.get_legend().get_texts()]
    assert labels == [
        f"independent: {top - ends[0]:.3f} at the end",
        f"autoregressive, begun there: {top - ends[1]:.3f} at the end",
    ]
    legends = [axes.get_legend().get_window_extent() for axes in above.axes]
    assert legends[0].y0 >= way.bbox.y1 - 1
    assert not legends[0].overlaps(legends[1])
    titles = [drawn._suptitle, below._suptitle, *(axes.title for axes in above.axes + below.axes)]
    left = [axes._left_title for axes in above.axes + below.axes]
    weights = {title.get_fontweight() for title in [*titles, *left] if title.get_text()}
    assert weights == {"bold"}


def test_the_seed_is_all_that_is_random(small):
    result, _ = small
    fits = [
        job.run(table(3), lt.key(seed), io.StringIO(), short(60)[:1], num_replicates=2).fits[0]
        for seed in (1, 2)
    ]
    np.testing.assert_array_equal(fits[0].history, result.fits[0].history)
    assert not np.array_equal(fits[1].history, fits[0].history)


def test_more_than_sixteen_predictors_have_no_exact_column(capsys, tmp_path, monkeypatch):
    """Independent columns, three of them in the model: both guides find them, their ELBOs by Monte Carlo."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 17))
    y = x[:, 0] + x[:, 5] - x[:, 16] + 0.5 * rng.normal(size=100)
    names = [f"x{i}" for i in range(17)]
    path = tmp_path / "table.csv"
    np.savetxt(
        path, np.column_stack([x, y]), delimiter=",", header=",".join([*names, "y"]), comments=""
    )
    run = job.run
    monkeypatch.setattr(
        job, "run", lambda t, key, stream, guides: run(t, key, stream, guides, num_replicates=50)
    )
    outputs = [str(tmp_path / "out.json"), str(tmp_path / "fit.png")]
    files = ["--data", str(path), "--json", outputs[0], "--plot", outputs[1]]
    assert command.main([*files, "--target", "y", "--steps", "400"]) == 0
    out, _ = capsys.readouterr()
    assert "not enumerated" in out
    assert (
        "There is no exact column: 131,072 models are too many to enumerate (the limit is 16"
        in " ".join(out.split())
    )
    assert "by Monte Carlo" in out
    assert "Enumerate is left out" in " ".join(out.split())
    assert "131,072 linear models" in out
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert numbers["log_evidence"] is None
    assert numbers["exact_inclusion"] is None
    for guide in numbers["guides"].values():
        assert guide["judged_by_draws"] == 2**16
        assert 0 < guide["elbo_standard_error"] < 0.1
        chosen = {name for name, probability in guide["inclusion"].items() if probability > 0.9}
        assert {"x0", "x5", "x16"} <= chosen
    assert numbers["race"]["at the fit"]["leave-one-out"]["bias_z"] is None
    assert (tmp_path / "fit.png").stat().st_size > 50_000


def test_a_richer_guide_that_ends_below_its_start_is_not_taken(capsys):
    """A learning rate that is far too large: what it started from is reported, and said."""
    import optax

    wild = dataclasses.replace(
        AUTOREGRESSIVE, num_steps=60, optimizer=lambda num_steps: optax.sgd(1e3)
    )
    good = dataclasses.replace(INDEPENDENT, num_steps=500)
    result = job.run(table(3), lt.key(1), io.StringIO(), (good, wild), num_replicates=2)
    independent, autoregressive = result.fits
    assert autoregressive.kept.startswith("training ended ")
    assert autoregressive.worth is independent.worth
    np.testing.assert_array_equal(autoregressive.q.bias, independent.q.logits)
    words = " ".join(report.results(result).split())
    assert f"not converged ({autoregressive.kept}). The start is reported in its place" in words


def test_the_whole_job_on_the_diabetes_data(capsys, tmp_path):
    """What it is for: the numbers that come out when all is right."""
    path = tmp_path / "out.json"
    assert command.main(["--json", str(path)]) == 0
    out, _ = capsys.readouterr()
    assert "135.268" in out
    words = " ".join(out.split())
    assert (
        "The independent guide is off (*) at s1, s2, s3 and s4: s3 is 0.99, exact 0.57. That is a limit of this guide"
        in words
    )
    numbers = json.loads(path.read_text())
    independent, autoregressive = (
        numbers["guides"][name] for name in ("independent", "autoregressive")
    )
    exact = numbers["exact_inclusion"]
    assert abs(numbers["log_evidence"] - 135.268) < 1e-3
    assert abs(independent["elbo"] - 134.70) < 0.05
    assert independent["inclusion"]["s3"] > 0.97
    assert abs(exact["s3"] - 0.57) < 0.005
    assert 0 < numbers["log_evidence"] - autoregressive["elbo"] < 0.05
    assert independent["status"] == autoregressive["status"] == "converged"
    assert autoregressive["verdict"] == "good"
    assert autoregressive["reasons"] == []
    # by draws of its own alone, the independent guide is seen to be bad, and what it misses is named
    assert independent["verdict"] == "do not trust"
    missed = "it misses models about as probable as its own, sex+bmi+bp+s1+s2+s5 for one"
    assert independent["reasons"][-1] == missed
    assert "steps of 32 draws from the fitted independent guide: converged (the last" in words
    assert numbers["data"]["file"] == "diabetes.csv (shipped)"
    for name, probability in exact.items():
        assert abs(autoregressive["inclusion"][name] - probability) < 0.03
    for rows in numbers["race"].values():
        assert rows["Enumerate"]["exact"] is True
        assert rows["Enumerate"]["evaluations"] == 1024
        # 10 coordinates, 2 estimators, 3 points: beyond 5.5 once in a million, were they normal
        assert max(rows[name]["bias_z"] for name in ("no baseline", "leave-one-out")) < 5.5
        assert rows["leave-one-out"]["variance"] < 0.2 * rows["no baseline"]["variance"]


def test_a_richer_guide_whose_verdict_got_worse_is_not_taken():
    """Where the ELBOs cannot be told apart, as where a guide has lost a rare model, the verdict decides."""

    def fitted(elbo, error, verdict):
        report = types.SimpleNamespace(verdict=verdict)
        worth = fitting.Worth(report, elbo, error, np.zeros(2))
        return fitting.Fitted(INDEPENDENT, "trained", "converged", "", np.zeros(3), worth)

    poorer = fitted(1.0, 0.1, "usable after reweighting")
    for elbo, verdict, kept in [
        (1.1, "do not trust", True),
        (1.1, "usable after reweighting", False),
        (1.1, "good", False),
        (2.0, "do not trust", False),
        (0.0, "good", True),
    ]:
        found = fitting._no_worse(fitted(elbo, 0.1, verdict), poorer, "start")
        assert bool(found.kept) == (found.q == "start") == kept

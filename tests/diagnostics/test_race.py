"""`lt.compare_estimators`: rows, words for what has no number, the table, the dictionary, the figure."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt

KEY = jax.random.key(2)
LOGITS = jnp.array([0.0, 0.5, -1.0])
EXACT = jax.nn.sigmoid(LOGITS) * jax.nn.sigmoid(-LOGITS) * 0.1


def objective(estimator):
    f = lambda x: jnp.sum((x - 0.45) ** 2) + 20.0
    return lambda logits, key: lt.expect(
        key, f, lt.Bernoulli(logits), estimator=estimator, num_samples=8
    )


OBJECTIVES = {
    "no baseline": objective(lt.ScoreFunction(lt.NoBaseline())),
    "leave-one-out": objective(lt.ScoreFunction()),
    "Enumerate": objective(lt.Enumerate()),
    "Pathwise": objective(lt.Pathwise()),
    "by hand": lambda logits, key: jnp.sum(logits * (EXACT + jax.random.normal(key, (3,)))),
    "wrong": lambda logits, key: 2.0 * OBJECTIVES["leave-one-out"](logits, key),
}


@pytest.fixture(scope="module")
def race():
    return lt.compare_estimators(
        KEY, OBJECTIVES, LOGITS, num_replicates=2000, reference=EXACT, num_timings=5
    )


def test_what_the_rows_say(race):
    assert [r.name for r in race.racers] == list(OBJECTIVES)
    assert (
        race["Enumerate"].exact
        and race["Enumerate"].evaluations == 8
        and race["Enumerate"].bias_z == 0
    )
    assert (
        not race["leave-one-out"].exact
        and race["leave-one-out"].bias_z < 5
        and race["no baseline"].bias_z < 5
    )
    assert race["leave-one-out"].evaluations == 8 and race["by hand"].evaluations is None
    assert race["by hand"].variance == pytest.approx(3.0, rel=0.2)
    assert race["wrong"].bias_z > 10 and race["wrong"].variance == pytest.approx(
        4 * race["leave-one-out"].variance
    )
    assert race["no baseline"].variance > 100 * race["leave-one-out"].variance
    loo = race["leave-one-out"]
    assert (
        loo.variance_x_evaluations == 8 * loo.variance
        and loo.variance_x_seconds == loo.seconds * loo.variance
    )
    with pytest.raises(KeyError):
        race["nobody"]


def test_variances_are_the_exact_ones(race):
    f = lambda x, t: jnp.sum((x - 0.45) ** 2) + 20.0
    exact = lt.testing.exact_estimator_variance(f, lt.Bernoulli, LOGITS, num_samples=2)
    two = lambda t, key: lt.expect(key, lambda x: f(x, t), lt.Bernoulli(t), num_samples=2)
    small = lt.compare_estimators(KEY, {"two": two}, LOGITS, num_replicates=4000, num_timings=0)
    assert small["two"].variance == pytest.approx(exact.variance.sum(), rel=0.1)


def test_a_refused_estimator_is_a_row_with_its_error(race):
    row = race["Pathwise"]
    assert row.error.startswith(
        "ValueError: Pathwise() needs a reparameterized distribution; Bernoulli is not"
    )
    assert row.variance is row.evaluations is row.seconds is row.bias_z is None and not row.exact


def test_the_table_is_aligned(race):
    lines = str(race).splitlines()
    assert str(race) == repr(race) and len(lines) == 1 + len(OBJECTIVES)
    head, full = lines[0], [line for line in lines[1:] if "refused" not in line]
    for title in (
        "bias z",
        "variance",
        "f evaluations",
        "seconds",
        "variance × evaluations",
        "variance × seconds",
    ):
        end = head.index(title + " ") + len(title) if title != "variance × seconds" else len(head)
        assert all(
            line[end - 1] != " " and (len(line) == end or line[end] == " ") for line in full
        ), title
    enumerate_row = next(line for line in lines if line.startswith("Enumerate"))
    assert "exact" in enumerate_row and " 0 " in enumerate_row and "nan" not in str(race)
    assert "–" in next(line for line in lines if line.startswith("by hand"))
    assert any("refused: ValueError: Pathwise()" in line for line in lines)


def test_the_dictionary_is_json(race):
    told = json.loads(json.dumps(race.to_dict(), allow_nan=False))
    assert list(told) == list(OBJECTIVES)
    assert told["Enumerate"]["exact"] is True and told["Enumerate"]["evaluations"] == 8
    assert (
        told["Pathwise"]["error"].startswith("ValueError") and told["Pathwise"]["variance"] is None
    )
    assert told["leave-one-out"]["variance_x_evaluations"] == race["leave-one-out"].variance * 8


def test_without_reference_and_timings_there_are_dashes():
    race = lt.compare_estimators(
        KEY,
        {"a": OBJECTIVES["by hand"], "Enumerate": OBJECTIVES["Enumerate"]},
        LOGITS,
        num_replicates=2000,
        num_timings=0,
    )
    assert (
        race["a"].bias_z is None
        and race["a"].seconds is None
        and race["a"].variance_x_seconds is None
    )
    assert not race["Enumerate"].exact and "exact" not in str(race)
    assert race["Enumerate"].variance < 1e-10


def test_gradients_that_are_not_finite_are_no_json_trouble():
    bad = lambda p, key: jnp.sum(jnp.log(p - p) * p)
    race = lt.compare_estimators(
        KEY, {"bad": bad}, LOGITS, num_replicates=10, reference=EXACT, num_timings=0
    )
    assert (
        race.to_dict()["bad"]["variance"] is None and "nan" in str(race) and not race["bad"].exact
    )


def test_a_jitted_objective_counts_its_evaluations_though_traced_before():
    jitted = jax.jit(objective(lt.ScoreFunction()))
    jitted(LOGITS, KEY)
    jax.grad(jitted)(LOGITS, KEY)
    race = lt.compare_estimators(KEY, {"jitted": jitted}, LOGITS, num_replicates=10, num_timings=0)
    assert race["jitted"].evaluations == 8


def test_a_second_race_traces_nothing():
    traces = []

    def counted(logits, key):
        traces.append(1)
        return OBJECTIVES["by hand"](logits, key)

    for scale in (1.0, 0.3):
        lt.compare_estimators(KEY, {"a": counted}, scale * LOGITS, num_replicates=10, num_timings=2)
        assert len(traces) == 1


def test_the_figure(race, tmp_path):
    figure = race.plot()
    assert len(figure.axes) == 3
    words = {text.get_text().strip() for text in figure.axes[0].texts}
    assert {"exact", "refused"} <= words
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == list(OBJECTIVES)
    figure.savefig(tmp_path / "race.png")
    assert (tmp_path / "race.png").stat().st_size > 5000


def test_the_figure_is_an_extra(race, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"logtrick\[plot\]"):
        race.plot()


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"objectives": {}}, ValueError, "at least one objective"),
        ({"objectives": OBJECTIVES["by hand"]}, TypeError, "needs a dict of functions by name"),
        ({"objectives": {"a": 1}}, TypeError, "needs a function"),
        ({"num_replicates": 1}, ValueError, "at least 2"),
        ({"num_timings": -1}, ValueError, "num_timings=…"),
        ({"block_size": 0.5}, TypeError, "block_size=…"),
        ({"reference": np.ones(2)}, ValueError, "needs a pytree like params"),
    ],
)
def test_arguments(change, error, match):
    arguments = {"objectives": {"a": OBJECTIVES["by hand"]}, "num_replicates": 10} | change
    with pytest.raises(error, match=match):
        lt.compare_estimators(KEY, arguments.pop("objectives"), LOGITS, **arguments)


def test_declared_bias_is_said():
    class Halved(lt.Estimator):
        unbiased = False

        def draw(self, noise, dist):
            return lt.Points(dist.draw(noise), dist)

        def close(self, costs, points, runs):
            return costs

    objective = lambda estimator: (
        lambda t, key: lt.expect(key, lambda x: x, lt.Bernoulli(t), estimator=estimator)
    )
    race = lt.compare_estimators(
        jax.random.key(0),
        {"lost": objective(Halved()), "score": objective(lt.ScoreFunction())},
        0.3,
        reference=0.2445,
        num_replicates=100,
        num_timings=0,
    )
    assert race["lost"].biased == ("Halved",) and race["score"].biased == ()
    assert race.to_dict()["lost"]["declared_biased"] == ["Halved"]
    assert (
        "declared biased" in repr(race).splitlines()[1]
        and "declared biased" not in repr(race).splitlines()[2]
    )

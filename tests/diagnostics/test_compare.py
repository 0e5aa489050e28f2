"""`lt.compare_estimators`: rows, words for what has no number, references, the formats it prints in."""

import csv
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
    f = lambda x: jnp.sum((x - 0.45) ** 2) + 2.0
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
    assert [m.name for m in race.measurements] == list(OBJECTIVES)
    plain, loo, total = race["no baseline"], race["leave-one-out"], race["Enumerate"]
    assert total.exact and total.evaluations == 8 and total.bias_z == 0
    assert not loo.exact and loo.bias_z < 5 and plain.bias_z < 5
    assert loo.evaluations == 8 and race["by hand"].evaluations is None
    assert race["by hand"].variance == pytest.approx(3.0, rel=0.2)
    assert race["wrong"].bias_z > 10
    assert race["wrong"].variance == pytest.approx(4 * loo.variance)
    assert plain.variance > 100 * loo.variance
    assert loo.variance_x_evaluations == 8 * loo.variance
    assert loo.variance_x_seconds == loo.seconds * loo.variance
    with pytest.raises(KeyError, match="no measurement is called 'nobody'; there are: no baseline"):
        race["nobody"]


def test_variances_are_the_exact_ones():
    f = lambda x, t: jnp.sum((x - 0.45) ** 2) + 20.0
    exact = lt.testing.exact_estimator_variance(f, lt.Bernoulli, LOGITS, num_samples=2)
    two = lambda t, key: lt.expect(key, lambda x: f(x, t), lt.Bernoulli(t), num_samples=2)
    small = lt.compare_estimators(KEY, {"two": two}, LOGITS, num_replicates=4000, num_timings=0)
    assert small["two"].variance == pytest.approx(exact.variance.sum(), rel=0.1)


def test_a_refused_estimator_is_a_row_with_its_error(race):
    row = race["Pathwise"]
    said = "ValueError: Pathwise() needs a reparameterized distribution; Bernoulli is not"
    assert row.error.startswith(said)
    assert row.variance is row.evaluations is row.seconds is row.bias_z is None and not row.exact


def test_the_table_is_aligned(race):
    lines = str(race).splitlines()
    assert str(race) == repr(race) and len(lines) == 1 + len(OBJECTIVES) + len(race.notes)
    lines = lines[: 1 + len(OBJECTIVES)]
    head, full = lines[0], [line for line in lines[1:] if "refused" not in line]
    for title in ("bias z", "interval", "f evaluations", "compile s", "variance × seconds"):
        end = head.index(title) + len(title)
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in full), (
            title
        )
    enumerate_row = next(line for line in lines if line.startswith("Enumerate"))
    assert "exact" in enumerate_row and " 0 " in enumerate_row and "nan" not in str(race)
    assert "–" in next(line for line in lines if line.startswith("by hand"))
    assert any("refused: ValueError: Pathwise()" in line for line in lines)


def test_the_dictionary_is_json(race):
    told = json.loads(json.dumps(race.to_dict(), allow_nan=False))
    assert list(told) == list(OBJECTIVES)
    assert told["Enumerate"]["exact"] is True and told["Enumerate"]["evaluations"] == 8
    refused = told["Pathwise"]
    assert refused["error"].startswith("ValueError") and refused["variance"] is None
    assert told["leave-one-out"]["variance_x_evaluations"] == race["leave-one-out"].variance * 8


def test_without_a_reference_an_objective_that_samples_nothing_is_one():
    race = lt.compare_estimators(
        KEY,
        {"a": OBJECTIVES["by hand"], "sum": OBJECTIVES["Enumerate"], "2x": OBJECTIVES["wrong"]},
        LOGITS,
        num_replicates=2000,
        num_timings=0,
    )
    assert race.reference == "sum, which samples nothing" and race["sum"].exact
    assert race["a"].bias_z < 5 and race["2x"].verdict == "biased"
    assert race["a"].seconds is race["a"].variance_x_seconds is race["a"].compile_seconds is None


def test_a_long_run_is_a_reference_with_an_error_of_its_own():
    noisy = lambda value: (
        lambda logits, key: value(logits + 0.1 * jax.random.normal(key, (3,)), key)
    )
    names = ("no baseline", "leave-one-out", "wrong")
    chosen = {name: noisy(OBJECTIVES[name]) for name in names}  # not exact where all is summed
    race = lt.compare_estimators(KEY, chosen, LOGITS, num_replicates=500, num_timings=0)
    assert race.reference.startswith("a long run of leave-one-out: 2,000 gradients")
    assert race["no baseline"].verdict == race["leave-one-out"].verdict == "no bias seen"
    assert race["wrong"].verdict == "biased" and not race["leave-one-out"].exact
    none = lt.compare_estimators(
        KEY, chosen, LOGITS, num_replicates=500, num_timings=0, reference_replicates=0
    )
    assert none.reference == "none" and none["wrong"].bias_z is None
    assert none["wrong"].verdict == "–" == none["no baseline"].verdict


def test_a_function_is_a_reference():
    exact = lambda logits: jnp.sum(jax.nn.sigmoid(logits)) * 0.1
    race = lt.compare_estimators(
        KEY,
        {"sum": OBJECTIVES["Enumerate"]},
        LOGITS,
        num_replicates=4,
        num_timings=0,
        reference=exact,
    )
    assert race["sum"].exact and race.reference == "given"
    with pytest.raises(ValueError, match="whose value is a scalar"):
        lt.compare_estimators(
            KEY, {"sum": OBJECTIVES["Enumerate"]}, LOGITS, reference=lambda l: 2.0 * l
        )


def test_a_zero_gradient_is_called_by_its_name(race):
    cut = lambda logits, key: OBJECTIVES["Enumerate"](jax.lax.stop_gradient(logits), key)
    found = lt.compare_estimators(
        KEY, {"cut": cut}, LOGITS, num_replicates=4, reference=EXACT, num_timings=0
    )
    assert found["cut"].verdict == "zero gradient" and not found["cut"].exact
    assert "zero gradient" in repr(found) and "exactly 0" in found.notes[0]
    assert race.notes == ()


def test_heavy_tails_are_said():
    cauchy = lambda logits, key: jnp.sum(logits * jax.random.cauchy(key, (3,)))
    found = lt.compare_estimators(
        KEY, {"cauchy": cauchy}, LOGITS, num_replicates=1000, num_timings=0
    )
    assert found["cauchy"].statistics.heavy_tails and "heavy tails" in found.notes[0]
    assert found.to_dict()["cauchy"]["heavy_tails"] is True


def test_numbers_of_samples_are_swept_and_give_slopes():
    def swept(logits, key, num_samples):
        f = lambda x: jnp.sum((x - 0.45) ** 2)
        plain = lt.ScoreFunction(lt.NoBaseline())
        return lt.expect(key, f, lt.Bernoulli(logits), estimator=plain, num_samples=num_samples)

    found = lt.compare_estimators(
        KEY, {"plain": swept}, LOGITS, num_samples=(1, 4, 16), num_replicates=2000, num_timings=0
    )
    assert [m.name for m in found.measurements] == [f"plain, n = {n}" for n in (1, 4, 16)]
    assert [m.evaluations for m in found.measurements] == [1, 4, 16]
    assert found.slopes == {"plain": pytest.approx(-1.0, abs=0.1)}
    twice = lt.compare_estimators(
        KEY, {"plain": swept}, LOGITS, num_samples=(4, 4), num_replicates=4, num_timings=0
    )
    assert twice.slopes == {} and json.loads(twice.to_json())["slopes"] == {}


def test_programs_are_objectives():
    def program(logits):
        x = yield lt.sample(lt.Bernoulli(logits), lt.Enumerate())
        yield lt.cost(jnp.sum((x - 0.45) ** 2))

    found = lt.compare_estimators(
        KEY, {"sum": program}, LOGITS, reference=EXACT, num_replicates=2, num_timings=0
    )
    assert found["sum"].exact and found["sum"].evaluations == 8


def test_data_are_the_third_argument():
    def objective(logits, key, data):
        f = lambda x: jnp.sum(x * data["scale"])
        return lt.expect(key, f, lt.Bernoulli(logits), estimator=lt.Enumerate())

    scale = np.array([1.0, 2.0, 3.0], np.float32)
    exact = scale * np.asarray(jax.nn.sigmoid(LOGITS) * jax.nn.sigmoid(-LOGITS))
    found = lt.compare_estimators(
        KEY,
        {"sum": objective},
        LOGITS,
        data={"scale": scale},
        reference=exact,
        num_replicates=4,
        num_timings=0,
    )
    assert found["sum"].exact and found["sum"].evaluations == 8


def test_an_interrupted_comparison_returns_what_was_measured():
    def interrupt(logits, key):
        raise KeyboardInterrupt

    found = lt.compare_estimators(
        KEY,
        {"sum": OBJECTIVES["Enumerate"], "stop": interrupt, "never": OBJECTIVES["wrong"]},
        LOGITS,
        num_replicates=4,
        reference=EXACT,
    )
    assert found.interrupted and [m.name for m in found.measurements] == ["sum"]
    assert "Interrupted" in repr(found) and json.loads(found.to_json())["interrupted"]


def test_progress_names_the_objective_and_what_it_costs(capsys, monkeypatch):
    chosen = {"sum": OBJECTIVES["Enumerate"]}
    arguments = {"num_replicates": 4, "reference": EXACT, "num_timings": 0}
    lt.compare_estimators(KEY, chosen, LOGITS, progress=True, **arguments)
    assert "1 of 1, sum (8 evaluations of f per gradient, largest array" in capsys.readouterr().err
    lt.compare_estimators(KEY, chosen, LOGITS, **arguments)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert lt.compare_estimators(KEY, chosen, LOGITS, progress=True, **arguments)["sum"].exact


def test_progress_counts_what_does_not_trace(capsys):
    chosen = {"pathwise": OBJECTIVES["Pathwise"], "sum": OBJECTIVES["Enumerate"]}
    lt.compare_estimators(
        KEY, chosen, LOGITS, num_replicates=4, reference=EXACT, num_timings=0, progress=True
    )
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("1 of 2, pathwise, refused") and "2 of 2, sum (8 evaluations" in second


def test_progress_guesses_the_time_from_those_before(capsys):
    from logtrick._core.meter import Seen
    from logtrick.diagnostics._announce import Announcer
    from logtrick.diagnostics._replicates import Probe

    announcer = Announcer("here", 2, True)
    small = Probe(8, Seen(2, (), ()), True, 0.0)
    announcer.begin("small", small, 100, refused=False)
    announcer.end(small, seconds=0.004)
    announcer.begin("large", Probe(2**20, Seen(2**14, (), ()), False, 0.0), 100, refused=False)
    first, second = capsys.readouterr().err.splitlines()
    assert "about" not in first
    assert "16,384 evaluations of f per gradient, largest array 1 MB, about 3277 s" in second


def test_an_objective_that_exceeds_the_memory_is_refused_before_it_runs(monkeypatch):
    monkeypatch.setattr("logtrick.diagnostics._estimate.machine_memory", lambda: 100)
    found = lt.compare_estimators(
        KEY, {"sum": OBJECTIVES["Enumerate"]}, LOGITS, num_replicates=4, num_timings=0
    )
    assert found["sum"].error.startswith("MemoryError: one gradient needs an array of 96 bytes")
    assert "8 evaluations of f; the machine has 100 bytes" in found["sum"].error


def test_evaluations_count_under_vmap_and_scan():
    one = lambda logits, key: lt.expect(key, jnp.sum, lt.Bernoulli(logits), num_samples=3)
    chosen = {
        "vmap": lambda l, k: jnp.mean(jax.vmap(lambda k: one(l, k))(jax.random.split(k, 10))),
        "scan": lambda l, k: jax.lax.scan(
            lambda c, k: (c + one(l, k), None), 0.0, jax.random.split(k, 10)
        )[0],
        "nested": lambda l, k: lt.expect(
            k, lambda x: one(l + x, k), lt.Bernoulli(l), num_samples=5
        ),
    }
    found = lt.compare_estimators(KEY, chosen, LOGITS, num_replicates=2, num_timings=0)
    assert [m.evaluations for m in found.measurements] == [30, 30, 5 + 15]


def test_formats(race, tmp_path):
    told = json.loads(race.to_json(tmp_path / "a.json"))
    assert told == json.loads((tmp_path / "a.json").read_text())
    assert told["estimators"] == race.to_dict() and told["num_replicates"] == 2000
    race.to_csv(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["estimator"] for row in rows] == list(OBJECTIVES)
    assert float(rows[1]["variance"]) == race["leave-one-out"].variance
    assert rows[3]["variance"] == ""
    lines = race.to_markdown().splitlines()
    assert len(lines) == 2 + len(OBJECTIVES) and len({line.count("|") for line in lines}) == 1
    page = race._repr_html_()
    assert page.count("<tr>") == 1 + len(OBJECTIVES) and "<td>exact</td>" in page
    named = lt.compare_estimators(
        KEY, {"<b>": OBJECTIVES["Enumerate"]}, LOGITS, num_replicates=2, num_timings=0
    )
    assert "<b>" not in named._repr_html_()


def test_gradients_that_are_not_finite_are_no_json_trouble():
    bad = lambda p, key: jnp.sum(jnp.log(p - p) * p)
    race = lt.compare_estimators(
        KEY, {"bad": bad}, LOGITS, num_replicates=10, reference=EXACT, num_timings=0
    )
    assert race.to_dict()["bad"]["variance"] is None and "nan" in str(race)
    assert race["bad"].verdict == "not finite" and not race["bad"].exact


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
        assert len(traces) == 2  # once for the program, once to count evaluations


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"objectives": {}}, ValueError, "at least one objective"),
        ({"objectives": OBJECTIVES["by hand"]}, TypeError, "needs a dict of functions by name"),
        (
            {"objectives": {3: OBJECTIVES["by hand"]}},
            TypeError,
            "needs names that are strings; got int 3",
        ),
        ({"objectives": {"a": 1}}, TypeError, "needs a function"),
        ({"num_replicates": 1}, ValueError, "at least 2"),
        ({"num_timings": -1}, ValueError, "num_timings=…"),
        ({"num_timings": None}, TypeError, "num_timings=…"),
        ({"block_size": 0.5}, TypeError, "block_size=…"),
        ({"block_size": 0}, ValueError, "block_size=…"),
        ({"reference_replicates": -1}, ValueError, "reference_replicates=…"),
        ({"num_samples": ()}, ValueError, "needs numbers of samples to sweep; got tuple"),
        ({"num_samples": 8}, ValueError, "needs numbers of samples to sweep; got int 8. Pass"),
        ({"num_samples": (2, 0)}, ValueError, "num_samples=….*at least 1; got 0"),
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
    _, lost, score = repr(race).splitlines()[:3]
    assert "declared biased" in lost and "declared biased" not in score


def test_a_site_of_many_factors_whose_cost_is_a_sum_over_them_gives_a_hint():
    """The score of each factor meets the terms of all: the table says so, with what to do, once for all estimators."""
    logits = jnp.zeros(8)
    terms = lambda x: (x - 0.45) ** 2

    def whole(estimator):
        return lambda p, key: lt.expect(
            key, lambda x: jnp.sum(terms(x)), lt.Bernoulli(p), estimator=estimator, num_samples=4
        )

    def each(p, key):
        one = lambda p, key: lt.expect(key, terms, lt.Bernoulli(p), num_samples=4)
        return jnp.sum(jax.vmap(one)(p, jax.random.split(key, 8)))

    def program(p):
        x = yield lt.sample(lt.Bernoulli(p), name="bits")
        yield lt.cost(jnp.sum(terms(x)))

    mixed = lambda p, key: lt.expect(key, lambda x: jnp.prod(x), lt.Bernoulli(p), num_samples=4)
    found = lt.compare_estimators(
        KEY,
        {
            "whole": whole(lt.ScoreFunction()),
            "DisARM": whole(lt.DisARM()),
            "exact": whole(lt.Enumerate()),
            "each": each,
            "product": mixed,
            "program": program,
        },
        logits,
        num_replicates=500,
        num_timings=0,
    )
    hinted = [m.name for m in found.measurements if m.hints]
    assert hinted == ["whole", "DisARM", "program"]
    notes = [note for note in found.notes if "independent factors" in note]
    assert notes[0].startswith(
        "whole, DisARM: site 0 has 8 independent factors and its costs are sums"
    )
    assert notes[1].startswith("program: site 'bits' has 8 independent factors")
    assert "jax.vmap of lt.expect, or lt.plate" in notes[0]
    assert found["each"].variance < 0.3 * found["whole"].variance
    assert found.to_dict()["whole"]["hints"] == list(found["whole"].hints)

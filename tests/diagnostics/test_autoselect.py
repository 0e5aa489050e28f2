"""`lt.autoselect` and `lt.diagnostics.estimate_cost`."""

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt

KEY = jax.random.key(5)
LOGITS = jnp.array([0.3, -0.5])


def objective(estimator, num_samples):
    f = lambda x: jnp.sum((x - 0.45) ** 2) + 3.0
    dist = lt.Bernoulli
    return lambda l, key: lt.expect(key, f, dist(l), estimator=estimator, num_samples=num_samples)


OBJECTIVES = {
    "plain": objective(lt.ScoreFunction(lt.NoBaseline()), 1),
    "leave-one-out": objective(lt.ScoreFunction(), 2),
    "DisARM": objective(lt.DisARM(), 1),
    "biased": objective(lt.StraightThrough(), 1),
    "refused": objective(lt.Pathwise(), 1),
}


def test_the_smallest_variance_times_evaluations_wins_and_is_measured_anew():
    found = lt.autoselect(KEY, OBJECTIVES, LOGITS, num_replicates=2000)
    assert found.name == found.measurement.name == "DisARM"
    assert found.left_out["biased"].startswith("declared biased: StraightThrough")
    assert found.left_out["refused"].startswith("refused: ValueError")
    assert len(found.rounds) == 2
    last = found.rounds[-1]["DisARM"]
    assert found.measurement.variance != last.variance
    assert found.measurement.variance == pytest.approx(last.variance, rel=0.3)
    text = repr(found)
    assert text.startswith("selected: DisARM") and "left out: biased" in text


def test_what_is_ranked_by_is_the_users_choice():
    """An exact gradient is ranked like the others: its variance is 0, its evaluations are the most."""
    chosen = {
        **{k: OBJECTIVES[k] for k in ("plain", "DisARM")},
        "sum": objective(lt.Enumerate(), 1),
    }
    best = lambda rank: lt.autoselect(KEY, chosen, LOGITS, num_replicates=400, rank=rank).name
    assert best(lt.diagnostics.variance_x_evaluations) == "sum"
    assert best(lambda m: -m.variance) == "plain"
    assert best(lambda m: jnp.asarray(m.evaluations)) == "plain"
    assert best(lambda m: -m.evaluations) == "sum"


def test_an_objective_without_a_rank_is_left_out():
    chosen = {k: OBJECTIVES[k] for k in ("plain", "DisARM", "leave-one-out")}
    ranks = {"plain": None, "DisARM": float("nan"), "leave-one-out": 3.0}
    found = lt.autoselect(KEY, chosen, LOGITS, num_replicates=60, rank=lambda m: ranks[m.name])
    assert found.name == "leave-one-out"
    assert found.left_out == {
        "plain": "its rank is not known: rank returned None",
        "DisARM": "its rank is nan",
    }
    by_time = lambda m: m.variance_x_seconds  # nothing is timed
    with pytest.raises(ValueError, match="rank returned None"):
        lt.autoselect(KEY, chosen, LOGITS, num_replicates=60, rank=by_time)


@pytest.mark.parametrize(
    ("rank", "match"),
    [
        (3, "needs a function, rank.measurement.; got int 3"),
        (lambda: 3.0, "is called as rank.measurement."),
        (lambda m: "small", "returned str 'small' for 'plain'"),
    ],
)
def test_a_rank_that_is_none(rank, match):
    with pytest.raises(TypeError, match=match):
        lt.autoselect(KEY, {"plain": OBJECTIVES["plain"]}, LOGITS, num_replicates=20, rank=rank)


def test_nothing_left():
    with pytest.raises(ValueError, match="not refused and not biased; got"):
        lt.autoselect(KEY, {"biased": OBJECTIVES["biased"]}, LOGITS, num_replicates=20)


def test_an_estimate_runs_nothing():
    enumerated = objective(lt.Enumerate(), 1)
    found = lt.diagnostics.estimate_cost(enumerated, jnp.zeros(10))
    assert found.evaluations == 1024 and 4 * 1024 * 10 <= found.bytes < 10**6 and found.fits
    shapes = jax.ShapeDtypeStruct((10,), jnp.float32)
    assert lt.diagnostics.estimate_cost(enumerated, shapes).evaluations == 1024
    assert repr(found).startswith("1,024 evaluations of f, largest array ")


def planted(scale, shape=jax.random.normal):
    """An estimate of the gradient 1 with a known spread, by one evaluation of f."""

    def value(mu, key):
        noise = scale * shape(key)
        return lt.expect(
            key, lambda x: x * (1.0 + noise), lt.Normal(mu, 1.0), estimator=lt.Pathwise()
        )

    return value


def test_planted_winners_are_found():
    """Variances a factor of 2 apart, the best in any place."""
    scales = [2.0, 1.0, 1.41, 2.83, 4.0]
    for shift in range(3):
        order = scales[shift:] + scales[:shift]
        found = lt.autoselect(
            jax.random.key(shift),
            {f"{scale}": planted(scale) for scale in order},
            0.3,
            reference=1.0,
        )
        assert found.name == "1.0" and found.left_out == {}
        assert found.measurement.variance == pytest.approx(1.0, rel=0.3)


def test_a_variance_that_is_hardly_known_does_not_win_by_it():
    """Of a Pareto law of index 2.2 most samples of 100 show less than half of the variance."""

    def pareto(key):
        return (jax.random.pareto(key, 2.2) - 2.2 / 1.2) / 1.2  # variance 5.3

    wins = 0
    for seed in range(4):
        chosen = {"tails": planted(1.0, pareto), "known": planted(1.2)}
        found = lt.autoselect(jax.random.key(seed), chosen, 0.3, num_replicates=400, reference=1.0)
        wins += found.name == "known"
    assert wins >= 3


def test_what_is_interrupted_returns_the_best_so_far():
    calls = []

    def interrupt(logits, key):
        calls.append(1)
        if len(calls) > 2:  # traced twice in the first round
            raise KeyboardInterrupt
        return OBJECTIVES["DisARM"](logits, key)

    chosen = {"leave-one-out": OBJECTIVES["leave-one-out"], "late": interrupt}
    with pytest.raises(KeyboardInterrupt):
        lt.autoselect(KEY, {"stop": _stopped}, LOGITS, num_replicates=40)
    found = lt.autoselect(KEY, {**chosen, "stop": _stopped}, LOGITS, num_replicates=40)
    assert found.interrupted and found.name in chosen and repr(found).startswith("selected: ")
    assert "interrupted; so far" in repr(found)


def test_interrupted_at_the_beginning_of_a_round_the_best_of_the_round_before_is_returned(
    monkeypatch,
):
    """The first measured of the round before is biased, and the best of it is the last."""
    chosen = {k: OBJECTIVES[k] for k in ("biased", "plain", "leave-one-out", "DisARM")}
    rounds = []
    real = lt.compare_estimators

    def compared(key, objectives, **options):
        rounds.append(list(objectives))
        if len(rounds) == 2:
            objectives = {"stop": _stopped}
        return real(key, objectives, **options)

    monkeypatch.setattr("logtrick.diagnostics._autoselect.compare_estimators", compared)
    found = lt.autoselect(KEY, chosen, LOGITS, num_replicates=900)
    assert found.interrupted and found.name == found.measurement.name == rounds[1][0] == "DisARM"


def _stopped(logits, key):
    raise KeyboardInterrupt

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
    found = lt.autoselect(
        KEY, {k: OBJECTIVES[k] for k in ("plain", "DisARM")}, LOGITS, rank=lambda m: -m.variance
    )
    assert found.name == "plain"


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

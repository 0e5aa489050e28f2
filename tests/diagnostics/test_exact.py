"""The exact gradient that a comparison finds by itself: sums, quadrature, and what has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt

KEY = jax.random.key(3)


def reference_of(objective, params, **more):
    race = lt.compare_estimators(
        KEY, {"a": objective}, params, num_replicates=50, num_timings=0, **more
    )
    return race.reference, race["a"]


def test_discrete_programs_are_summed(x64):
    def program(logits, data):
        a = yield lt.sample(lt.Bernoulli(logits[0]), lt.ScoreFunction())
        b = yield lt.sample(lt.Categorical(logits * (1.0 + a)), lt.UnorderedSet(2))
        yield lt.cost((a - data) ** 2 * (b + 1.0))

    logits = jnp.array([0.3, -0.7, 0.2])

    def exact(logits):
        p = jax.nn.sigmoid(logits[0])
        means = [jax.nn.softmax(logits * (1.0 + a)) @ jnp.arange(1.0, 4.0) for a in (0.0, 1.0)]
        return (1 - p) * 0.16 * means[0] + p * 0.36 * means[1]

    race = lt.compare_estimators(
        KEY, {"a": program}, logits, data=jnp.asarray(0.4), num_replicates=50, num_timings=0
    )
    assert race.reference == "the exact sum over all outcomes of a"
    row, want = race["a"].statistics, jax.grad(exact)(logits)
    spread = row.standard_error
    np.testing.assert_allclose(row.mean - row.bias_z * spread, want, rtol=1e-9)
    assert race.reference_value == pytest.approx(float(exact(logits)), rel=1e-12)


def test_normals_are_integrated(x64):
    f = lambda x, t: jnp.cos(x[0]) * x[1] ** 2 + t["scale"] * x[0]
    dist_of = lambda t: lt.Normal(t["loc"], t["scale"])

    def objective(t, key):
        return lt.expect(key, lambda x: f(x, t), dist_of(t), num_samples=8)

    params = {"loc": jnp.array([0.3, -1.0]), "scale": jnp.asarray(0.7)}
    own = lambda t, key: objective({**t, "scale": t["scale"] * jnp.ones(())}, key)
    want = lt.testing.exact_gradient(f, dist_of, params)
    origin, row = reference_of(own, params)
    assert origin == "the expectation of a by quadrature"
    for name in params:
        error, z = row.statistics.standard_error[name], row.statistics.bias_z[name]
        np.testing.assert_allclose(row.statistics.mean[name] - z * error, want[name], rtol=1e-6)


@pytest.mark.parametrize("kind", ["a step", "a key of its own", "too many dimensions", "a loop"])
def test_what_has_no_exact_gradient_has_a_long_run(kind):
    def looped(t):
        def step(carry, _):
            x = yield lt.sample(lt.Bernoulli(t + carry))
            return x, None

        total, _ = yield lt.scan(step, 0.0, jnp.arange(3))
        yield lt.cost(total)

    normal = lambda f, dim=1: (
        lambda t, key: lt.expect(
            key, lambda x: f(jnp.sum(x), key), lt.Normal(t + jnp.zeros(dim), 1.0)
        )
    )
    objective = {
        "a step": normal(lambda x, key: jnp.where(x > 0.3, 1.0, 0.0)),
        "a key of its own": normal(lambda x, key: x * jax.random.normal(key)),
        "too many dimensions": normal(lambda x, key: x**2, 6),
        "a loop": looped,
    }[kind]
    origin, row = reference_of(objective, 0.2)
    assert (
        origin == "a long run of a: 200 gradients on other keys" and row.verdict == "no bias seen"
    )


def test_a_function_jitted_before_is_summed_and_samples_afterwards():
    inner = jax.jit(lambda t, key: lt.expect(key, lambda x: (x - 0.4) ** 2, lt.Bernoulli(t)))
    before = jax.grad(inner)(0.2, KEY)
    origin, _ = reference_of(lambda t, key: inner(t, key), 0.2)
    assert origin == "the exact sum over all outcomes of a"
    assert jax.grad(inner)(0.2, KEY) == before == pytest.approx(0.05)
    assert jax.grad(inner)(0.2, jax.random.key(1)) == pytest.approx(0.16 / 3)


def test_no_reference_where_none_is_wanted():
    objective = lambda t, key: lt.expect(key, lambda x: x, lt.Bernoulli(t))
    assert reference_of(objective, 0.2, reference_replicates=0)[0] == "none"


def test_biased_objectives_alone_are_judged():
    objective = lambda t, key: lt.expect(
        key, lambda x: (x - 0.45) ** 3, lt.Bernoulli(t), estimator=lt.StraightThrough()
    )
    origin, row = reference_of(objective, 0.2)
    assert origin.startswith("the exact sum") and row.bias_z is not None


def test_a_peak_that_quadrature_misses_is_not_zero():
    """Between the nodes of both rules: both say 0, the draws do not."""
    nodes = np.concatenate([np.polynomial.hermite_e.hermegauss(order)[0] for order in (64, 48)])
    inside = np.sort(nodes[(nodes > 0.8) & (nodes < 1.6)])
    widest = np.argmax(np.diff(inside))
    low, high = inside[widest] + 0.01, inside[widest + 1] - 0.01
    f = lambda x: jnp.where((x > low) & (x < high), 1.0, 0.0)
    objective = lambda mu, key: lt.expect(key, f, lt.Normal(mu, 1.0), num_samples=64)
    race = lt.compare_estimators(KEY, {"a": objective}, 0.0, num_replicates=2000, num_timings=0)
    assert race.reference.startswith("a long run of a") and race["a"].verdict == "no bias seen"


def test_tracing_without_sampling_leaves_the_settings_of_jax_alone():
    seen = set()

    def f(x):
        seen.add(jax.config.jax_default_matmul_precision)
        return x

    origin, _ = reference_of(lambda t, key: lt.expect(key, f, lt.Bernoulli(t)), 0.2)
    assert origin.startswith("the exact sum") and seen == {None}


def with_average(t, key):
    """Reads what only an estimator with running statistics has."""
    average = lt.ScoreFunction(lt.MovingAverage(0.9))
    value, aux = lt.expect(
        key, lambda x: x, lt.Bernoulli(t), estimator=average, num_samples=2, has_aux=True
    )
    return value, {"average": aux.estimator.baseline.average}


def test_estimators_with_running_statistics_are_not_replaced_and_the_next_objective_is_summed(
    capsys,
):
    assert reference_of(with_average, 0.2)[0].startswith("a long run of a")
    both = {
        "average": with_average,
        "plain": lambda t, key: lt.expect(key, lambda x: x, lt.Bernoulli(t)),
    }
    race = lt.compare_estimators(KEY, both, 0.2, num_replicates=50, num_timings=0, progress=True)
    assert race.reference == "the exact sum over all outcomes of plain"
    assert "no exact gradient: ScoreFunction has running statistics." in capsys.readouterr().err


def test_an_objective_that_cannot_read_its_aux_without_sampling_has_a_long_run():
    """The draws of an estimator of several points are averages, which index no table."""
    table = jnp.arange(3.0)

    def objective(logits, key):
        value, aux = lt.expect(key, lambda x: table[x], lt.Categorical(logits), has_aux=True)
        return value, {"mean": jnp.mean(table[aux.draws])}

    assert reference_of(objective, jnp.zeros(3))[0].startswith("a long run of a")


@pytest.mark.parametrize(("replicates", "summed"), [(50, True), (3, False)])
def test_a_black_box_is_summed_where_the_long_run_would_call_it_as_often(replicates, summed):
    """2⁵ outcomes; the long run is of four times the replicates, two samples each."""
    host = lt.black_box(lambda x: float(np.sum((x - 0.45) ** 2)))
    objective = lambda logits, key: lt.expect(key, host, lt.Bernoulli(logits), num_samples=2)
    race = lt.compare_estimators(
        KEY, {"a": objective}, jnp.zeros(5), num_replicates=replicates, num_timings=0
    )
    assert race.reference.startswith("the exact sum" if summed else "a long run")
    assert race["a"].verdict == "no bias seen"


def test_a_host_function_that_refuses_an_outcome_which_is_never_drawn():
    def host(x):
        if x > 0:
            raise RuntimeError("out of range")
        return 1.0

    objective = lambda logit, key: lt.expect(key, lt.black_box(host), lt.Bernoulli(logit))
    origin, _ = reference_of(objective, -30.0)
    assert origin != "the exact sum over all outcomes of a"


def test_an_error_that_is_no_refusal_comes_out(monkeypatch):
    def broken(self, noise, dist):
        raise KeyError("a fault of the library")

    monkeypatch.setattr(lt.Enumerate, "draw", broken)
    with pytest.raises(KeyError, match="a fault of the library"):
        reference_of(lambda t, key: lt.expect(key, lambda x: x, lt.Bernoulli(t)), 0.2)


def test_a_draw_without_coordinates_has_a_long_run():
    objective = lambda t, key: lt.expect(
        key, lambda x: t * jax.random.normal(key) + jnp.sum(x), lt.Normal(t * jnp.zeros(0), 1.0)
    )
    assert reference_of(objective, 0.2)[0].startswith("a long run of a")

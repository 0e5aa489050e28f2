"""Fits end to end: what the defaults reach, that nothing compiles twice, starts, stop rule, minibatches, statuses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.scipy.stats import norm

import logtrick as lt
from logtrick import vi
from logtrick.vi._stop import StopRule, normal_decrement
from tests.core.compilations import compilations

KEY = jax.random.key(0)
PRECISION = jnp.array([[2.0, 0.6], [0.6, 1.0]])
MEAN = jnp.array([1.0, -2.0])
LOG_Z = float(jnp.log(2 * jnp.pi) - 0.5 * jnp.linalg.slogdet(PRECISION)[1])
gaussian = lambda z: -0.5 * (z - MEAN) @ PRECISION @ (z - MEAN)


def test_default_fits_of_a_gaussian_are_exact():
    full = vi.fit(KEY, gaussian, vi.FullRankNormal(like=jnp.zeros(2)))
    assert full.status == "converged"
    np.testing.assert_allclose(full.q.mean(), MEAN, atol=0.01)
    np.testing.assert_allclose(full.q.covariance(), jnp.linalg.inv(PRECISION), atol=0.02)
    np.testing.assert_allclose(full.history.value[-1], LOG_Z, atol=0.01)
    assert full.history.evaluations[-1] <= full.evaluations
    assert "Pipeline" in full.report["engine"]
    field = vi.fit(KEY, gaussian, vi.MeanFieldNormal(like=jnp.zeros(2)))
    np.testing.assert_allclose(field.q.stddev(), 1 / jnp.sqrt(jnp.diagonal(PRECISION)), rtol=0.02)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_fits_in_half_precision(dtype):
    q0 = vi.MeanFieldNormal(like=jnp.zeros(2, dtype))
    for options in ({}, {"max_steps": 300}):
        fit = vi.fit(KEY, lambda z: -0.5 * jnp.sum((z - 1.0) ** 2), q0, **options)
        np.testing.assert_allclose(fit.q.loc.astype(float), 1.0, atol=0.03)
        assert fit.q.loc.dtype == dtype


def test_a_second_fit_compiles_nothing():
    density = lambda z: gaussian(z) + 1.0
    q0 = vi.MeanFieldNormal(like=jnp.zeros(2))
    for options in ({}, {"max_steps": 60, "estimator": vi.STL()}):
        with compilations() as compiled:
            vi.fit(KEY, density, q0, **options)
        assert compiled
        with compilations() as compiled:
            vi.fit(jax.random.key(1), density, q0, **options)
        assert not compiled


def test_an_optax_optimizer_takes_the_steps_that_stop_and_budget_allow():
    q0 = vi.FullRankNormal(like=jnp.zeros(2))
    fit = vi.fit(KEY, gaussian, q0, optimizer=optax.adam(0.05), max_steps=1000)
    assert fit.status == "converged"
    assert 200 <= fit.history.value.size < 1000
    np.testing.assert_allclose(fit.q.mean(), MEAN, atol=0.05)
    assert fit.report["estimator"] == "STL(plan=IID())"
    assert fit.evaluations == 16 * fit.history.value.size
    all_steps = vi.fit(KEY, gaussian, q0, optimizer=optax.adam(0.05), max_steps=220, stop=None)
    assert (all_steps.status, all_steps.history.value.size) == ("max_steps", 220)
    spent = vi.fit(KEY, gaussian, q0, optimizer=optax.adam(0.05), stop=None, budget=160)
    assert spent.evaluations == 160


def test_the_stop_rule_needs_both_conditions():
    rng = np.random.default_rng(0)
    flat = rng.standard_normal(400) * 0.05
    rising = flat + np.linspace(0, 0.4, 400)
    assert StopRule(lambda q: 0.0).met(flat, None)
    assert not StopRule(lambda q: 0.0).met(rising, None)
    assert not StopRule(lambda q: 1.0).met(flat, None)
    assert not StopRule(lambda q: 0.0).met(flat[:150], None)
    alone = StopRule(None)  # three looks in a row; a second fit by the same rule begins anew
    for _ in range(2):
        assert [alone.met(0 * flat[:n], None) for n in (200, 250, 300)] == [False, False, True]


def test_the_stop_rule_looks_from_the_first_step_that_was_asked_for():
    """Three looks at a flat trace end a fit, but not on the plateau on which it begins."""
    rule = vi.StopRule(None, first=400)
    flat = np.zeros(500)
    assert [rule.met(flat[:n], None) for n in (250, 300, 350, 400, 450, 500)] == [False] * 5 + [
        True
    ]
    with pytest.raises(ValueError, match=r"StopRule\(first=…\) needs an int of at least 200"):
        vi.StopRule(None, first=10)


def test_the_stop_rule_says_what_it_saw():
    log_density = lambda bits: jnp.sum(bits)
    q0 = vi.BernoulliProduct(like=jnp.zeros(2))
    settings = {"estimator": lt.ScoreFunction(), "optimizer": optax.adam(0.1), "num_samples": 4}
    fit = vi.fit(KEY, log_density, q0, max_steps=400, **settings)
    assert fit.status == "converged"
    assert fit.report["stop"].startswith("the last 1")
    gained, margin = map(
        float, fit.report["stop"].split("gained ")[1].split(" nats")[0].split(" ± ")
    )
    assert gained + margin < 0.02
    assert (
        vi.fit(KEY, log_density, q0, max_steps=50, **settings).report["stop"]
        == "fewer than 200 steps"
    )
    assert "stop" not in vi.fit(KEY, log_density, q0, max_steps=50, stop=None, **settings).report


def test_the_decrement_is_zero_at_the_optimum_only():
    q = vi.FullRankNormal(
        like=jnp.zeros(2), loc=MEAN, scale=jnp.linalg.inv(jnp.linalg.cholesky(PRECISION)).T
    )
    target = vi.Target(gaussian, q)
    decrement = normal_decrement(target, KEY)
    assert decrement(q) < 1e-8
    shifted = q.at_normal(q.loc + q.scale_tril @ jnp.array([0.2, 0.0]), q.scale_tril)
    np.testing.assert_allclose(decrement(shifted), 0.5 * 0.2**2, rtol=0.1)


def test_a_fit_starts_at_the_fit_guide_or_engine_given():
    q0 = vi.FullRankNormal(like=jnp.zeros(2))
    first = vi.fit(KEY, gaussian, q0)
    options = {"optimizer": optax.sgd(0.0), "max_steps": 2, "stop": None}
    for start in (first, first.q, vi.Laplace()):
        again = vi.fit(KEY, gaussian, q0, init=start, **options)
        np.testing.assert_allclose(again.q.mean(), MEAN, atol=0.01)
    field = vi.fit(KEY, gaussian, vi.MeanFieldNormal(like=jnp.zeros(2)), init=first, **options)
    np.testing.assert_allclose(field.q.stddev(), 1 / jnp.sqrt(jnp.diagonal(PRECISION)), rtol=0.02)


def test_bits_reach_their_best_product():
    """The best product of bits, by coordinate ascent, which is exact here."""
    weights = jax.random.normal(jax.random.key(5), (6, 6)) * 0.3
    weights = weights + weights.T - 2 * jnp.diag(jnp.diagonal(weights))
    bias = jnp.linspace(-1.0, 1.0, 6)
    density = lambda z: 0.5 * z @ weights @ z + bias @ z
    fit = vi.fit(KEY, density, vi.BernoulliProduct(like=jnp.zeros(6)))
    m = jnp.full(6, 0.5)
    for _ in range(200):
        for i in range(6):
            m = m.at[i].set(jax.nn.sigmoid(weights[i] @ m + bias[i]))
    np.testing.assert_allclose(fit.q.marginals(), m, atol=0.02)
    assert "DisARM" in fit.report["reason"]
    report = vi.diagnose(jax.random.key(1), density, fit.q)
    points = fit.q.base.enumerate()
    log_z = jax.nn.logsumexp(jax.vmap(density)(points))
    assert report.elbo < log_z < report.iw_bound + 0.1


def test_bits_and_a_normal_in_one_guide():
    y = jnp.array([1.0, -2.0, 0.5])
    log_normal = jax.scipy.stats.norm.logpdf

    def density(z):
        return (
            jnp.sum(log_normal(y, z["mu"] * z["on"], 0.5)) + log_normal(z["mu"]) - jnp.sum(z["on"])
        )

    q0 = vi.Blocks(
        mu=vi.MeanFieldNormal(like=0.0), on=(vi.BernoulliProduct(like=jnp.zeros(3)), lt.Enumerate())
    )
    fit = vi.fit(KEY, density, q0, max_steps=600)
    np.testing.assert_allclose(fit.q.mean()["mu"], -1.6, atol=0.05)
    assert fit.q.marginals()["on"].round(1).tolist() == [0.0, 1.0, 0.0]
    assert "on: Enumerate()" in fit.report["estimator"]
    again = vi.fit(KEY, density, q0, init=fit, max_steps=1, optimizer=optax.sgd(0.0))
    np.testing.assert_allclose(again.q.mean()["mu"], fit.q.mean()["mu"])


def test_minibatches_reach_the_posterior_given_all_rows():
    y = jax.random.normal(jax.random.key(3), (500,)) + 2.0
    log_normal = jax.scipy.stats.norm.logpdf
    density = vi.minibatch(
        lambda z: log_normal(z, 0.0, 10.0), lambda z, y: log_normal(y, z, 1.0), y, 50
    )
    fit = vi.fit(KEY, density, vi.MeanFieldNormal(like=0.0), max_steps=1500)
    np.testing.assert_allclose(fit.q.mean(), jnp.mean(y), atol=0.02)
    np.testing.assert_allclose(fit.q.stddev(), 500**-0.5, rtol=0.2)
    q = vi.MeanFieldNormal(like=0.3)
    whole = vi.Target(density, q).log_density(q.loc)
    index = jnp.arange(500).reshape(10, 50)
    batches = [density.on(q.loc[0], y[i]) for i in index]
    np.testing.assert_allclose(jnp.mean(jnp.stack(batches)), whole, rtol=1e-4)


def test_a_host_function_is_fitted_by_its_values():
    host = lt.black_box(lambda z: np.float32(-0.5 * np.sum((z - 1.0) ** 2)))
    fit = vi.fit(KEY, lambda z: host(z), vi.MeanFieldNormal(like=jnp.zeros(2)))
    assert "QuadraticRegression" in fit.report["engine"]
    np.testing.assert_allclose(fit.q.mean(), 1.0, atol=0.05)
    by_score = vi.fit(KEY, lambda z: host(z), vi.MeanFieldNormal(like=jnp.zeros(2)), max_steps=10)
    assert "ScoreFunction" in by_score.report["estimator"]


def test_a_family_of_lt_stays_in_its_domain():
    fit = vi.fit(
        KEY,
        lambda z: 2 * jnp.log(z) - 3 * z,
        lt.Gamma(1.0, 1.0),
        optimizer=optax.adam(0.1),
        max_steps=600,
    )
    np.testing.assert_allclose([fit.q.dist.concentration, fit.q.dist.rate], 3.0, rtol=0.02)


def test_a_whole_fit_under_vmap():
    q0 = vi.MeanFieldNormal(like=jnp.zeros(2))
    run = lambda key: vi.fit(key, gaussian, q0, max_steps=200, estimator=vi.STL()).q.loc
    found = jax.vmap(run)(jax.random.split(KEY, 3))
    np.testing.assert_allclose(found, jnp.broadcast_to(MEAN, (3, 2)), atol=0.1)


def test_fits_to_many_sets_of_data_under_vmap():
    """The data are closed over by the log density, or its argument."""
    q0, centers = vi.MeanFieldNormal(like=0.0), jnp.array([1.0, 2.0])
    distance = lambda z, x: -0.5 * (z - x) ** 2
    for made in (lambda x: lambda z: distance(z, x), lambda x: vi.Conditioned(distance, x)):
        run = lambda x: vi.fit(KEY, made(x), q0, max_steps=300).q.loc[0]
        np.testing.assert_allclose(jax.vmap(run)(centers), centers, atol=1e-3)
    engine = lambda x: vi.fit(KEY, vi.Conditioned(distance, x), q0, optimizer=vi.Pipeline()).q.loc
    with pytest.raises(ValueError, match="computes on the host, which is not there under jax.vmap"):
        jax.vmap(engine)(centers)


def test_learned_estimators_are_trained():
    q0 = vi.BernoulliProduct(like=jnp.zeros(3))
    density = lambda z: z @ jnp.array([1.0, -1.0, 0.5]) + 100.0
    moving = lt.ScoreFunction(lt.MovingAverage())
    fit = vi.fit(KEY, density, q0, estimator=moving, max_steps=800)
    np.testing.assert_allclose(fit.q.logits, [1.0, -1.0, 0.5], atol=0.15)


def test_other_objectives_go_on_from_the_normal_fit():
    """In its whitened coordinates: the scales of the variables do not matter."""
    scales = jnp.array([1e-3, 1e3])
    density = lambda z: gaussian(z / scales)
    for family in (vi.FullRankNormal, vi.MeanFieldNormal):
        fit = vi.fit(KEY, density, family(like=jnp.zeros(2)), objective=vi.IWELBO(4), max_steps=300)
        assert isinstance(fit.q, family)
        np.testing.assert_allclose(fit.q.mean() / scales, MEAN, atol=0.05)


def test_an_encoder_reaches_the_exact_posterior():
    x = jnp.linspace(-1.0, 1.0, 40)
    density = vi.per_row(lambda z, x: -0.5 * z**2 - 0.5 * (x - z) ** 2, x, batch_size=10)
    encode = lambda w, x: lt.Normal(w["slope"] * x, jnp.exp(w["log_scale"]))
    q0 = vi.Amortized(encode, {"slope": jnp.array(0.0), "log_scale": jnp.array(0.0)})
    fit = vi.fit(KEY, density, q0, optimizer=optax.adam(0.02), max_steps=600)
    np.testing.assert_allclose(fit.q.params["slope"], 0.5, atol=0.01)
    np.testing.assert_allclose(fit.q.params["log_scale"], 0.5 * np.log(0.5), atol=0.01)
    assert fit.q(1.0).mean().shape == ()


@pytest.mark.full
@pytest.mark.parametrize("name", ["StudentT", "LowRankNormal", "MixtureOf", "CouplingFlow"])
def test_richer_families_come_closer_to_a_banana(name):
    make = {
        "LowRankNormal": lambda **k: vi.LowRankNormal(1, **k),
        "MixtureOf": lambda **k: vi.MixtureOf(3, **k),
    }
    banana = lambda z: (
        -0.5 * z[0] ** 2 - 2.0 * (z[1] - 0.5 * z[0] ** 2) ** 2 + jnp.log(2.0) - jnp.log(2 * jnp.pi)
    )
    fit = vi.fit(KEY, banana, make.get(name, getattr(vi, name))(like=jnp.zeros(2)))
    draws = fit.q.sample(jax.random.key(1), 20_000)
    elbo = float(jnp.mean(jax.vmap(banana)(draws) - jax.vmap(fit.q.log_prob)(draws)))
    least = {"StudentT": -0.7, "LowRankNormal": -0.35, "MixtureOf": -0.05, "CouplingFlow": -0.05}
    assert elbo > least[name]


def test_a_mixture_guide_starts_at_the_modes():
    """0.7 N((−4, 0), I) + 0.3 N((4, 1), 0.7² I), which a mixture of two normals is exactly."""

    def log_density(z):
        first = norm.logpdf(z, jnp.array([-4.0, 0.0]), 1.0).sum() + jnp.log(0.7)
        second = norm.logpdf(z, jnp.array([4.0, 1.0]), 0.7).sum() + jnp.log(0.3)
        return jnp.logaddexp(first, second)

    fit = vi.fit(KEY, log_density, vi.MixtureOf(2, like=jnp.zeros(2)))
    assert sorted(np.round(fit.q.weights, 2).tolist()) == pytest.approx([0.3, 0.7], abs=0.02)
    np.testing.assert_allclose(fit.q.mean(), [-1.6, 0.3], atol=0.1)


def test_a_density_whose_gradient_is_nan_is_fitted_by_its_values():
    log_density = lambda z: -0.5 * jnp.sum((z - 1.0) ** 2) + 0.0 * jnp.sum(jnp.sqrt(z - z))
    fit = vi.fit(KEY, log_density, vi.FullRankNormal(like=jnp.zeros(2)))
    assert fit.status == "converged" and "values alone" in fit.report["stages"][-1]
    np.testing.assert_allclose(fit.q.mean(), [1.0, 1.0], atol=0.01)


def test_stochastic_fits_of_a_narrow_start_take_steps_of_its_own_size():
    """In raw coordinates the first step of Adam would be fifty standard deviations."""
    log_density = lambda z: norm.logpdf(z, 5.0, 1e-3).sum()
    start = vi.FullRankNormal(like=jnp.zeros(2), loc=jnp.full(2, 5.001), scale=2e-3)
    fit = vi.fit(KEY, log_density, start, num_samples=16, max_steps=600)
    assert isinstance(fit.q, vi.FullRankNormal)
    np.testing.assert_allclose(fit.q.mean(), 5.0, atol=2e-4)
    np.testing.assert_allclose(fit.q.stddev(), 1e-3, rtol=0.1)


def test_changed_data_behind_a_log_density_are_seen_and_equal_ones_compile_nothing():
    """A global, an attribute, a closed-over number: JAX's own cache would go on with the old one, and call the fit good."""

    class Model:
        center = 1.0

        def log_density(self, z):
            return -0.5 * jnp.sum((z - self.center) ** 2)

    def closed(center):
        return lambda z: -0.5 * jnp.sum((z - center) ** 2)

    model, q0 = Model(), vi.FullRankNormal(like=jnp.zeros(2))
    for center in (1.0, 5.0):
        model.center = center
        for log_density in (model.log_density, closed(center)):
            fit = vi.fit(KEY, log_density, q0)
            np.testing.assert_allclose(fit.q.mean(), center, atol=1e-3)
            assert vi.Target(log_density, q0).batch(jnp.zeros((1, 2))).item() == -(center**2)
    with compilations() as compiled:
        vi.fit(KEY, closed(5.0), q0)
    assert not compiled


def test_changed_data_behind_a_minibatch_are_seen():
    """The object may be kept, or made inline again, which compiles nothing."""
    shift = {"by": 1.0}
    rows = jnp.zeros(8)
    log_lik = lambda z, y: -0.5 * (y + shift["by"] - z) ** 2
    made = lambda: vi.minibatch(lambda z: 0.0, log_lik, rows, 4)
    kept, q0 = made(), vi.MeanFieldNormal(like=0.0)
    for by in (1.0, 5.0):
        shift["by"] = by
        fit = vi.fit(KEY, kept, q0, optimizer=optax.adam(0.1), max_steps=300)
        np.testing.assert_allclose(fit.q.mean(), by, atol=0.2)
    with compilations() as compiled:
        vi.fit(KEY, made(), q0, optimizer=optax.adam(0.1), max_steps=300)
    assert not compiled


def test_changed_data_behind_a_simulator_are_seen():
    shift = {"by": 1.0}

    def simulate(key, z):
        return z + shift["by"]

    q = vi.MeanFieldNormal(like=0.0, scale=1e-6)
    for by in (1.0, 5.0):
        shift["by"] = by
        np.testing.assert_allclose(vi.predict(KEY, q, simulate, 10), by, atol=1e-4)


def test_other_data_compile_nothing_and_are_not_mixed_up():
    """A second set of data goes through the compiled functions of the first; its numbers are its own."""
    log_density = lambda z, x: -0.5 * jnp.sum((z - x) ** 2) - jnp.log(2 * jnp.pi)
    q = vi.FullRankNormal(like=jnp.zeros(2))
    data = [jnp.full(2, x) for x in (0.0, 2.0)]
    found = []
    for x in data:
        with compilations() as compiled:
            density = vi.Conditioned(log_density, x)
            fit = vi.fit(KEY, density, q)
            report = vi.diagnose(KEY, density, q)
            weighted = vi.importance_sample(KEY, density, q, num_draws=4096)
        found.append((fit.q.mean(), report, weighted.mean(), list(compiled)))
    first, second = found
    np.testing.assert_allclose(first[0], 0.0, atol=1e-5)
    np.testing.assert_allclose(second[0], 2.0, atol=1e-5)
    assert first[1].verdict == "good" and second[1].verdict == "do not trust"
    np.testing.assert_allclose(first[1].elbo, 0.0, atol=1e-4)
    np.testing.assert_allclose(second[1].elbo, -4.0, atol=0.3)  # −½ |x|²
    np.testing.assert_allclose(second[2], 2.0, atol=0.6)
    assert first[3] and not second[3]


@pytest.mark.parametrize(
    "options",
    [{"max_steps": 60}, {"optimizer": vi.FixedDraws(64)}],
    ids=("stochastic", "fixed draws"),
)
def test_other_data_compile_nothing_in_other_engines(options):
    log_density = lambda z, x: -0.5 * jnp.sum((z - x) ** 2)
    q, counts = vi.MeanFieldNormal(like=jnp.zeros(2)), []
    for x in (0.5, -0.5):
        with compilations() as compiled:
            fit = vi.fit(KEY, vi.Conditioned(log_density, jnp.full(2, x)), q, **options)
        counts.append(len(compiled))
        assert np.all(np.sign(fit.q.mean()) == np.sign(x))
    assert counts[0] and not counts[1]


def test_a_model_behind_an_objective_is_seen():
    """Rows of equal data whose models differ are different densities."""
    log_joint = lambda z, x, model: -0.5 * (z - x - model) ** 2

    def gradient(model):
        rows = vi.per_row(log_joint, jnp.zeros(3), model=jnp.array(model))
        objective = lambda p, key: rows.of_row(0.0, rows.model)(p)
        return lt.maximize(KEY, objective, 0.0, optax.sgd(1.0), num_steps=1).params

    assert [gradient(2.0), gradient(5.0)] == [2.0, 5.0]


@pytest.mark.parametrize(
    ("q0", "options"),
    [
        (vi.BernoulliProduct(like=jnp.zeros(3)), {}),
        (vi.StudentT(like=jnp.zeros(3)), {}),
        (vi.FullRankNormal(like=jnp.zeros(3)), {"init": vi.Laplace(), "max_steps": 1000}),
        (vi.FullRankNormal(like=jnp.zeros(3)), {"refine": "flow"}),
    ],
    ids=("four starts", "a start in a frame", "an engine as start", "a flow afterwards"),
)
def test_a_budget_is_kept_by_all_stages_together(q0, options):
    fit = vi.fit(KEY, lambda z: jnp.sum(z - z**4), q0, budget=4000, **options)
    assert 2000 < fit.evaluations <= 4000 + 256


def test_an_amortized_mixture_reaches_its_likelihood():
    """Labels in closed form: logits quadratic in x, so that the ELBO's maximum is the log likelihood's."""
    labels = np.arange(60) < 24
    noise = np.random.default_rng(0).standard_normal(60)
    x = jnp.asarray(np.where(labels, -2.0 + 0.5 * noise, 1.5 + noise), jnp.float32)

    def log_joint(z, x, model):
        log_weight = jax.nn.log_softmax(model["logits"])[z]
        return log_weight + norm.logpdf(x, model["mean"][z], jnp.exp(model["log_scale"])[z])

    def encode(weights, x):
        return lt.Categorical(weights @ jnp.stack([jnp.ones_like(x), x, x**2]))

    start = {"logits": jnp.zeros(2), "mean": jnp.array([-1.0, 1.0]), "log_scale": jnp.zeros(2)}
    density = vi.per_row(log_joint, x, model=start)
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 4000))
    q0 = vi.Amortized(encode, jnp.zeros((2, 3)))
    fit = vi.fit(KEY, density, q0, optimizer=optimizer, max_steps=4000)
    assert fit.report["estimator"] == "Enumerate()" and fit.log_density is density

    def log_likelihood(model, x):
        each = jax.vmap(lambda x: jax.nn.logsumexp(jnp.stack([log_joint(z, x, model) for z in (0, 1)])))  # fmt: skip
        return jnp.sum(each(x))

    best = lt.maximize(KEY, lambda model, key: log_likelihood(model, x), start, optimizer, num_steps=4000)  # fmt: skip
    attained = float(log_likelihood(best.params, x))
    np.testing.assert_allclose(fit.history.value[-1], attained, atol=0.01)
    np.testing.assert_allclose(float(log_likelihood(fit.model, x)), attained, atol=0.01)
    np.testing.assert_allclose(fit.model["mean"], best.params["mean"], atol=0.02)
    assert density.model is start  # what was given stays


def test_a_binary_autoencoder_learns_model_and_guide_together():
    """Two bits make four images, each twice lit or dark: two bits of code, 2 log 2 nats."""
    codes = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    images = jnp.tile(jnp.repeat(codes, 3, axis=1), (8, 1))

    def log_joint(bits, image, model):
        pixels = lt.Bernoulli(bits @ model["weight"] + model["bias"])
        return lt.Bernoulli(model["prior"]).log_prob(bits) + pixels.log_prob(image)

    keys = jax.random.split(KEY)
    model = {"weight": jax.random.normal(keys[0], (2, 6)), "bias": jnp.zeros(6), "prior": jnp.zeros(2)}  # fmt: skip
    encode = lambda w, image: vi.BernoulliProduct(logits=image @ w["weight"] + w["bias"])
    encoder = {"weight": jax.random.normal(keys[1], (6, 2)), "bias": jnp.zeros(2)}
    density = vi.per_row(log_joint, images, 16, model=model)
    fit = vi.fit(KEY, density, vi.Amortized(encode, encoder), estimator=lt.ScoreFunction(),
                 optimizer=optax.adam(0.05), num_samples=4, max_steps=600)  # fmt: skip
    assert -1.3 * 2 * np.log(2) < np.mean(fit.history.value[-50:]) / 32 < -2 * np.log(2) + 1e-3
    assert fit.evaluations == 600 * 16 * 4


def test_impossible_draws_do_not_break_a_fit_off():
    """A third of N(0, 1) lies beyond an edge at −½ that no support declares; two bits of which one must be on."""
    edge = lambda x: jnp.where(x > -0.5, -0.5 * x**2, -jnp.inf)
    fit = vi.fit(KEY, edge, lt.Normal(0.0, 1.0), max_steps=500)
    assert fit.report["estimator"].startswith("ScoreFunction(") and fit.log_density is edge
    assert "no derivative" in fit.report["reason"] and np.isfinite(fit.history.value).all()
    mean, deviation = float(fit.q.mean()), float(fit.q.stddev())
    assert mean - 1.5 * deviation > -0.6 and 0.2 < deviation < 0.8
    assert vi.diagnose(KEY, edge, fit.q).verdict == "usable after reweighting"
    either = lambda z: jnp.where(z[0] + z[1] > 0, z[0] - z[1], -jnp.inf)
    bits = vi.fit(KEY, either, vi.BernoulliProduct(like=jnp.zeros(2)), max_steps=500)
    assert bits.report["floor"] < -9 and bits.q.marginals()[0] > 0.99


def test_an_edge_that_the_start_does_not_see_is_met_on_the_way():
    """The mean has to go from 0 to about 4, and the edge is at 5."""
    edge = lambda x: jnp.where(x < 5.0, 2.0 * x - 0.1 * x**2, -jnp.inf)
    fit = vi.fit(KEY, edge, lt.Normal(0.0, 0.1), optimizer=optax.adam(0.05), max_steps=600)
    assert np.isfinite(fit.history.value).all() and 3.0 < float(fit.q.mean()) < 5.0


def test_a_density_without_a_hash_is_fitted():
    class Shifted:
        def __init__(self, to):
            self.to = to

        def __eq__(self, other):
            return isinstance(other, Shifted) and bool(jnp.all(self.to == other.to))

        def __call__(self, z):
            return -0.5 * jnp.sum((z - self.to) ** 2)

    q0 = vi.MeanFieldNormal(like=jnp.zeros(2))
    for to in (1.0, 2.0):
        density = Shifted(jnp.full(2, to))
        for options in ({}, {"max_steps": 60, "stop": None, "optimizer": optax.sgd(0.5)}):
            fit = vi.fit(KEY, density, q0, **options)
            np.testing.assert_allclose(fit.q.mean(), to, atol=1e-4)


def test_what_is_printed_of_a_fit():
    fit = vi.fit(KEY, gaussian, vi.FullRankNormal(like=jnp.zeros(2)))
    lines = repr(fit).splitlines()
    assert lines[0] == f"Fit: converged after {fit.evaluations:,} evaluations of the log density"
    assert lines[1].startswith("  objective ") and " → " in lines[1]
    assert lines[-1].startswith("  q FullRankNormal(")
    assert repr(vi.Wrapped(lt.Gamma(2.0, 4.0))) == "Wrapped(Gamma(concentration=2.0, rate=4.0))"
    assert repr(vi.StopRule(None)) == "StopRule(gain=0.02, first=200)"
    assert repr(lt.training.Converged(every=50)).endswith("min_steps=400, every=50)")

"""Sampling plans: each run keeps its law, chunks see the same rows, baselines and errors know what is independent."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

import logtrick as lt
from logtrick.distributions import Factorized, Quantiles
from logtrick.noise import KeyPerRun, StandardNormal, Uniform
from logtrick.plans._plans import Planned
from logtrick.plans._sobol_numbers import DIMENSIONS, direction_numbers
from logtrick.supports import Positive
from tests.estimators.exact import moments
from tests.oracles.problems import ROWS, check, problem

KEY = jax.random.key(7)
PLANS = {"antithetic": lt.Antithetic(), "sobol": lt.Sobol(), "stratified": lt.Stratified()}
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def uniforms(plan, shape, count, total, start=0, dtype="float32", key=KEY):
    return np.asarray(Planned(Uniform(shape, np.dtype(dtype)), plan).rows(key, start, count, total))


# --- the rows


def test_sobol_numbers_are_joe_and_kuos():
    """Against scipy's generator, which orders points by the Gray code."""
    numbers = direction_numbers(DIMENSIONS)
    points = np.zeros((64, DIMENSIONS), np.uint32)
    for i in range(64):
        gray = i ^ (i >> 1)
        for bit in range(6):
            points[i] ^= numbers[:, bit] * np.uint32((gray >> bit) & 1)
    want = qmc.Sobol(DIMENSIONS, scramble=False).random(64)
    np.testing.assert_allclose(points / 2.0**32, want, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sobol_is_a_net(dtype, x64):
    """Scrambled: still one point in each of 64 strata of each coordinate, and in each box of the first two."""
    u = uniforms(lt.Sobol(), (3,), 64, 64, dtype=dtype)
    assert u.dtype == dtype and np.all((u > 0) & (u < 1))
    for d in range(3):
        assert sorted(np.floor(64 * u[:, d]).astype(int)) == list(range(64))
    for a in (1, 3, 6):
        boxes = np.floor(u[:, 0] * 2**a) * 2 ** (6 - a) + np.floor(u[:, 1] * 2 ** (6 - a))
        assert sorted(boxes.astype(int)) == list(range(64))


def test_stratified_has_one_in_each_stratum():
    u = uniforms(lt.Stratified(), (3,), 50, 50)
    for d in range(3):
        assert sorted(np.floor(50 * u[:, d]).astype(int)) == list(range(50))


@pytest.mark.parametrize("name", ["sobol", "stratified"])
def test_points_in_half_precision_are_those_in_single_rounded_down(name):
    half = uniforms(PLANS[name], (2,), 64, 64, dtype=jnp.bfloat16)
    single = uniforms(PLANS[name], (2,), 64, 64)
    assert half.dtype == jnp.bfloat16 and np.all(half < 1)
    assert np.all(half <= single) and np.all(half > single * (1 - 2.0**-7))


@pytest.mark.parametrize("name", PLANS)
def test_each_run_keeps_its_law(name):
    """One run alone, over keys: uniform in every coordinate, and the coordinates independent."""
    rows = jax.jit(jax.vmap(lambda k: Planned(Uniform((2,)), PLANS[name]).rows(k, 0, 6, 6)))
    u = np.asarray(rows(jax.random.split(KEY, 4000)))
    for run in range(6):
        for d in range(2):
            assert stats.kstest(u[:, run, d], "uniform").pvalue > 1e-6
        counts = np.histogram2d(u[:, run, 0], u[:, run, 1], bins=4, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-6


@pytest.mark.parametrize("name", PLANS)
def test_rows_depend_on_key_and_number_only(name):
    whole = uniforms(PLANS[name], (2,), 10, 10)
    parts = [uniforms(PLANS[name], (2,), 3, 10, jnp.uint32(s)) for s in (0, 3, 6)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[:9])


@pytest.mark.parametrize("name", PLANS)
def test_chunks_see_the_same_draws(name):
    draws = lambda chunk: (
        lt.expect(
            KEY,
            lambda x: jnp.sum(x**2),
            lt.Normal(jnp.zeros(2), 1.0),
            estimator=lt.Pathwise(plan=PLANS[name]),
            num_samples=14,
            chunk_size=chunk,
            has_aux=True,
        )[1].draws
    )
    # The noise is the same, bit for bit (tests/noise). Of what is made of it the last bit may differ: in the loop over chunks
    # XLA rounds a multiplication and an addition once, or twice.
    np.testing.assert_array_max_ulp(draws(None), draws(4), maxulp=1)


@pytest.mark.parametrize("name", PLANS)
def test_a_draw_without_numbers(name):
    value = lt.expect(
        KEY,
        lambda x: 3.0 + jnp.sum(x),
        lt.Normal(jnp.zeros(0), 1.0),
        estimator=lt.Pathwise(plan=PLANS[name]),
        num_samples=4,
    )
    assert value == 3.0


def test_antithetic_reflects():
    normal = np.asarray(Planned(StandardNormal((2,)), lt.Antithetic()).rows(KEY, 0, 6, 6))
    np.testing.assert_array_equal(normal[1::2], -normal[::2])
    u = uniforms(lt.Antithetic(), (), 6, 6)
    np.testing.assert_array_equal(u[1::2], np.float32(1 - 2.0**-23) - u[::2])


def test_sites_are_independent_of_each_other():
    """Two sites with the same points in the same order would lie on a line whatever the number of runs."""

    def program():
        a = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(plan=lt.Sobol()), name="a")
        b = yield lt.sample(lt.Normal(0.0, 1.0), lt.Pathwise(plan=lt.Sobol()), name="b")
        yield lt.cost(a * b)

    products = jax.jit(jax.vmap(lambda k: lt.expect_program(k, program, num_samples=256)))(
        jax.random.split(KEY, 200)
    )
    assert 0.5 < 256 * np.var(products) < 2  # E ab = 0 with the variance of independent runs, 1/n


# --- the estimates


@pytest.mark.parametrize("baseline", [lt.LeaveOneOut(), lt.NoBaseline(), lt.OptimalBaseline()])
def test_antithetic_leaves_out_the_pair(x64, baseline):
    """E x² under N(μ, 1), two pairs, exact by quadrature: leaving out the run alone would double the gradient."""
    i, j = np.meshgrid(range(9), range(9), indexing="ij")
    a, b = NODES[i.ravel()], NODES[j.ravel()]
    noise, weights = np.stack([a, -a, b, -b], 1), WEIGHTS[i.ravel()] * WEIGHTS[j.ravel()]
    cost = lambda mu, x: x**2 + 3.0 * mu * x
    estimator = lt.ScoreFunction(baseline, plan=lt.Antithetic())
    value, gradient, _ = moments(
        estimator, lambda mu: lt.Normal(mu, 1.0), cost, jnp.asarray(0.7), noise, weights
    )
    np.testing.assert_allclose(value, 0.49 + 1 + 3 * 0.49, atol=1e-10)
    np.testing.assert_allclose(gradient, 2 * 0.7 + 6 * 0.7, atol=1e-10)


def test_leaving_out_the_run_alone_would_be_wrong(x64):
    """The trap itself: independent-run leave-one-out on mirrored noise gives (4/3) of the gradient of x² at n = 4."""
    i, j = np.meshgrid(range(9), range(9), indexing="ij")
    a, b = NODES[i.ravel()], NODES[j.ravel()]
    noise, weights = np.stack([a, -a, b, -b], 1), WEIGHTS[i.ravel()] * WEIGHTS[j.ravel()]
    run = lambda e: moments(
        e, lambda mu: lt.Normal(mu, 1.0), lambda mu, x: x**2, jnp.asarray(0.7), noise, weights
    )[1]
    np.testing.assert_allclose(run(lt.ScoreFunction()), 1.4 * 4 / 3, atol=1e-10)
    np.testing.assert_allclose(run(lt.ScoreFunction(plan=lt.Antithetic())), 1.4, atol=1e-10)


ANTITHETIC = [i for i in ROWS if i.endswith("_antithetic")]


@pytest.mark.parametrize("name", ANTITHETIC)
def test_antithetic_rows(name):
    row, plan = ROWS[name], lt.Antithetic()
    estimator = (
        lt.ScoreFunction(lt.NoBaseline(), plan)
        if name.endswith("sf_antithetic")
        else lt.Pathwise(plan)
    )
    print(name, check(row, problem(row).gradients(estimator, 2, row["suggested_M"])))


def _slope(estimator, counts):
    """d log Var / d log n of the mean-parameter gradient of a smooth cost in four dimensions."""

    def variance(n):
        def gradient(key):
            f = lambda x: jnp.sum(jnp.cos(x)) + 0.1 * jnp.sum(x) ** 2
            value = lambda mu: lt.expect(
                key, f, lt.Normal(mu, 1.0), estimator=estimator, num_samples=n
            )
            return jax.grad(value)(jnp.full(4, 0.3))

        draws = jax.jit(lambda ks: jax.lax.map(gradient, ks, batch_size=50))(
            jax.random.split(KEY, 200)
        )
        return np.var(draws, axis=0).sum()

    return np.polyfit(np.log(counts), np.log([variance(n) for n in counts]), 1)[0]


def test_quasi_random_slopes():
    """Independent runs: −1. Scrambled Sobol': at most −1.6, pathwise and score function."""
    counts = (16, 512)
    assert abs(_slope(lt.Pathwise(), counts) + 1) < 0.15
    assert _slope(lt.Pathwise(plan=lt.Sobol()), counts) < -1.6
    assert _slope(lt.ScoreFunction(lt.NoBaseline(), lt.Sobol()), counts) < -1.6


def test_beyond_the_table_of_dimensions():
    u = uniforms(lt.Sobol(), (DIMENSIONS + 3,), 16, 16)
    assert u.shape == (16, DIMENSIONS + 3)
    assert np.all(np.sort(np.floor(16 * u), axis=0) == np.arange(16)[:, None])


class Rejecting(Factorized):
    """An exponential whose sampler takes one key per sample, as those that reject do, and whose inverse CDF is known."""

    rate: Any
    reparameterized = True
    event_shape = ()
    support = Positive()
    noise_spec = KeyPerRun()
    quantiles = property(lambda self: Quantiles(inverse=self._inverse_cdf))

    def _transform(self, noise):
        return jax.random.exponential(noise) / self.rate

    def _log_kernel(self, x):
        return jnp.log(self.rate) - self.rate * x

    def _inverse_cdf(self, u):
        return -jnp.log1p(-u) / self.rate


@pytest.mark.parametrize("name", PLANS)
def test_key_a_run_families_by_their_inverse_cdf(name):
    score, path = lt.ScoreFunction(lt.NoBaseline(), PLANS[name]), lt.Pathwise(PLANS[name])

    def mean(rate, estimator):
        return lt.expect(
            KEY, lambda x: x, Rejecting(rate), estimator=estimator, num_samples=256, has_aux=True
        )

    value, aux = mean(jnp.asarray(2.0), score)
    u = -np.expm1(-2.0 * np.asarray(aux.draws, np.float64))
    if name == "antithetic":
        np.testing.assert_allclose(u[::2] + u[1::2], 1.0, atol=1e-6)
    else:
        np.testing.assert_array_equal(np.sort(np.floor(256 * u)), np.arange(256))
    gradient = jax.grad(lambda rate: mean(rate, path)[0])(2.0)
    np.testing.assert_allclose(gradient, -value / 2, rtol=1e-5)  # x = e / rate with e held


def test_standard_error_is_over_blocks():
    f, dist = (lambda x: jnp.exp(x)), lt.Normal(0.0, 1.0)
    aux = lambda plan, n: lt.expect(
        KEY, f, dist, estimator=lt.Pathwise(plan), num_samples=n, has_aux=True
    )[1]
    pairs = aux(lt.Antithetic(), 100)
    means = np.asarray(pairs.costs).reshape(50, 2).mean(1)
    np.testing.assert_allclose(pairs.standard_error, means.std(ddof=1) / np.sqrt(50), rtol=1e-5)
    for plan, n in ((lt.Sobol(), 100), (lt.Stratified(), 100), (lt.Antithetic(), 2)):
        assert np.isnan(aux(plan, n).standard_error)


def test_stratified_components_of_a_mixture():
    dist = lt.Mixture(
        jnp.log(jnp.array([0.25, 0.75])), lt.Normal(jnp.array([-10.0, 10.0]), jnp.ones(2))
    )
    _, aux = lt.expect(
        KEY,
        lambda x: x,
        dist,
        estimator=lt.ScoreFunction(lt.NoBaseline(), lt.Stratified()),
        num_samples=40,
        has_aux=True,
    )
    assert np.sum(aux.draws < 0) == 10


def test_stratified_components_lower_the_variance():
    """Of the value: what lies between the components goes, by the law of total variance; and of the gradient."""
    weights, locs = np.array([0.25, 0.75]), np.array([-3.0, 2.0])
    within, between = 1.0, weights @ (locs - weights @ locs) ** 2

    def moments_under(plan):
        def value(params, key):
            dist = lt.Mixture(params["logits"], lt.Normal(params["locs"], jnp.ones(2)))
            estimator = lt.ScoreFunction(lt.NoBaseline(), plan)
            return lt.expect(key, lambda x: x, dist, estimator=estimator, num_samples=40)

        params = {"logits": jnp.log(weights), "locs": jnp.asarray(locs)}
        keys = jax.random.split(KEY, 3000)
        values, gradients = jax.jit(jax.vmap(jax.value_and_grad(value), (None, 0)))(params, keys)
        want = weights * (locs - weights @ locs)
        lt.testing.assert_unbiased(gradients["logits"], want, resolve=0.1)
        lt.testing.assert_unbiased(gradients["locs"], weights, resolve=0.2)
        return 40 * np.var(values), np.var(gradients["logits"], 0)

    (plain, of_plain), (stratified, of_stratified) = (
        moments_under(lt.IID()),
        moments_under(lt.Stratified()),
    )
    np.testing.assert_allclose(plain, within + between, rtol=0.13)  # 3,000 calls: 2.6 % each
    assert stratified < 1.13 * within and np.all(of_stratified < 0.6 * of_plain)


# --- refusals


@pytest.mark.parametrize("plan", [lt.Sobol(), lt.Stratified()])
def test_leave_one_out_is_refused_where_all_runs_depend(plan):
    with pytest.raises(
        ValueError, match=r"leave-one-out needs samples .* under (Sobol|Stratified)\(\)"
    ):
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), estimator=lt.ScoreFunction(plan=plan))


def test_refusals():
    normal, pairs = lt.Normal(0.0, 1.0), lt.ScoreFunction(plan=lt.Antithetic())
    with pytest.raises(
        ValueError, match=r"lt.expect\(num_samples=…\) needs a multiple of 2: .* got 5. Pass 6"
    ):
        lt.expect(KEY, lambda x: x, normal, estimator=pairs, num_samples=5)
    with pytest.raises(
        ValueError, match=r"lt.expect\(chunk_size=…\) needs a multiple of 2: .* got 5"
    ):
        lt.expect(KEY, lambda x: x, normal, estimator=pairs, num_samples=20, chunk_size=5)
    with pytest.raises(ValueError, match="leave-one-out needs num_samples >= 4"):
        lt.expect(KEY, lambda x: x, normal, estimator=pairs, num_samples=2)
    custom = lt.distribution(
        lambda p, x: -((x - p) ** 2), lambda key, p: p + jax.random.normal(key)
    )
    for plan in PLANS.values():
        with pytest.raises(
            ValueError, match=r"needs an inverse CDF or noise that stands apart from its transform"
        ):
            lt.expect(
                KEY, lambda x: x, custom(0.0), estimator=lt.ScoreFunction(lt.NoBaseline(), plan)
            )
        with pytest.raises(ValueError, match="Gamma has neither"):
            lt.expect(KEY, lambda x: x, lt.Gamma(1.0, 1.0), estimator=lt.Pathwise(plan))
    with pytest.raises(TypeError, match=r"Pathwise\(plan=…\) needs a sampling plan; got 'sobol'"):
        lt.Pathwise("sobol")

"""Extreme and half-precise parameters: finite, or loud (nan, ±inf), never a wrong number. FAULTS 17 and 24 to 33."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import logtrick as lt
from logtrick.distributions import _plackett_luce
from logtrick.distributions._special import digamma_difference, log_beta
from tests.distributions.registry import float64

SCALED = {
    "Normal": lt.Normal,
    "Laplace": lt.Laplace,
    "Cauchy": lt.Cauchy,
    "StudentT": lambda m, s: lt.StudentT(5.0, m, s),
}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scales_of_1e30_and_its_inverse(name: str, scale: float) -> None:
    x = SCALED[name](0.0, scale).sample(jax.random.key(0))
    assert np.isfinite(x) and x != 0
    log_prob = lambda scale, x: SCALED[name](0.0, scale).log_prob(x)
    both = jax.jit(
        lambda s, x: (log_prob(s, x), jax.grad(log_prob)(s, x), jax.jacfwd(log_prob)(s, x))
    )
    standard = both(jnp.float32(1.0), x / jnp.float32(scale))
    log_p, reverse, forward = both(jnp.float32(scale), x)
    np.testing.assert_allclose(log_p, standard[0] - np.log(scale), rtol=1e-5)
    np.testing.assert_allclose([reverse * scale, forward * scale], standard[1:], rtol=1e-5)


@pytest.mark.parametrize("logit", [1e3, -1e3])
def test_logits_of_1000(logit: float) -> None:
    for dist, likely, unlikely in (
        (lt.Bernoulli(logit), float(logit > 0), float(logit < 0)),
        (lt.Binomial(1, logit), float(logit > 0), float(logit < 0)),
        (lt.Categorical(jnp.array([0.0, logit])), int(logit > 0), int(logit < 0)),
    ):
        np.testing.assert_allclose(
            [dist.log_prob(likely), dist.log_prob(unlikely)], [0, -1e3], rtol=1e-6, atol=1e-6
        )
        assert dist.sample(jax.random.key(0)) == likely
    score = jax.grad(lambda l: lt.Bernoulli(l).log_prob(1.0))(logit)
    assert score == float(logit < 0)  # 1 − σ(logit)
    assert lt.Bernoulli(logit).entropy() == 0
    ranking = lt.PlackettLuce(jnp.array([logit, 0.0]))
    assert ranking.log_prob(jnp.array([int(logit < 0), int(logit > 0)])) == 0


def test_an_impossible_class_is_never_drawn_at_either_end_of_the_uniform() -> None:
    logits = jnp.log(jnp.array([0.0, 0.2, 0.0, 0.3, 0.5, 0.0]))
    edges = jnp.array([0.0, 0.2, np.nextafter(np.float32(0.5), np.float32(1)), 1 - 2.0**-23])
    drawn = jax.jit(jax.vmap(lt.Categorical(logits).transform))(edges)
    assert drawn[0] == 1 and drawn[-1] == 4 and set(drawn.tolist()) <= {1, 3, 4}
    assert lt.Categorical(logits).log_prob(0) == -np.inf
    # a thousand classes, half of them impossible, in a parallel cumulative sum
    many = jnp.where(
        jnp.arange(1000) % 2 == 0, -jnp.inf, 3 * jax.random.normal(jax.random.key(0), (1000,))
    )
    drawn = jax.jit(jax.vmap(lt.Categorical(many).sample))(
        jax.random.split(jax.random.key(1), 50_000)
    )
    assert (drawn % 2 == 1).all() and drawn.max() < 1000


@pytest.mark.parametrize(("a", "b"), [(1e-3, 1.0), (1e3, 1e3), (1e-3, 1e3), (1e3, 1e-3)])
def test_concentrations_of_1000_and_its_inverse_are_finite_or_loud(a: float, b: float) -> None:
    """Wherever the draw is inside the open support, log p is scipy's; at a rounded end, it is not finite."""
    keys = jax.random.split(jax.random.key(0), 64)
    for make, exact in (
        (lt.Beta, lambda x: stats.beta.logpdf(x, a, b)),
        (lambda a, b: lt.Gamma(a, b), lambda x: stats.gamma.logpdf(x, a, scale=1 / b)),
    ):
        x = jax.jit(jax.vmap(make(a, b).sample))(keys)
        x, log_p = np.asarray(x), np.asarray(jax.jit(jax.vmap(make(a, b).log_prob))(x))
        tiny = np.finfo(np.float32).tiny
        held = (x > tiny) & ((x < 1) | (make is not lt.Beta))
        np.testing.assert_allclose(log_p[held], exact(x[held].astype(float)), rtol=2e-4, atol=1e-3)
        assert (
            not np.isnan(x).any()
            and not np.isfinite(log_p[(x == 0) | ((x == 1) & (make is lt.Beta))]).any()
        )


def test_log_probs_of_large_parameters_keep_their_digits_in_float32() -> None:
    """A log-gamma of 1e7 is a multiple of 16 there; the log-probs are those of float64 near the mean."""
    for dist, exact, x in (
        (lt.Poisson(1e6), stats.poisson(1e6).logpmf, 1_001_000.0),
        (lt.Gamma(1e3, 1.0), stats.gamma(1e3).logpdf, 1_010.0),
        (lt.Gamma(1e7, 2.0), stats.gamma(1e7, scale=0.5).logpdf, 5_001_000.0),
        (lt.StudentT(1e6), stats.t(1e6).logpdf, 1.5),
        (lt.Beta(1e3, 3e3), stats.beta(1e3, 3e3).logpdf, 0.25),
        (lt.Beta(1e6, 1e6), stats.beta(1e6, 1e6).logpdf, 0.5002),
        (lt.Binomial(10**7, 0.0), stats.binom(10**7, 0.5).logpmf, 5_001_000.0),
        (lt.NegativeBinomial(1e6, 0.0), stats.nbinom(1e6, 0.5).logpmf, 1_001_000.0),
    ):
        x = np.float32(x)
        np.testing.assert_allclose(dist.log_prob(x), exact(float(x)), atol=3e-4)
    rows, x = np.array([1e7, 2e7, 1e7], np.float32), np.array([0.25, 0.5, 0.25], np.float32)
    exact = stats.dirichlet(rows.astype(float)).logpdf(x.astype(float))
    np.testing.assert_allclose(lt.Dirichlet(rows).log_prob(x), exact, atol=3e-4)
    draw = lt.Gamma(1e7, 2.0).draw(jax.random.key(0))  # scored from its coordinates, log x
    exact = stats.gamma(1e7, scale=0.5).logpdf(float(draw.value))
    np.testing.assert_allclose(lt.Gamma(1e7, 2.0).log_prob(draw), exact, atol=5e-3)


def test_closed_forms_of_large_parameters_keep_their_digits_in_float32() -> None:
    """Entropies, and divergences of neighbors, whose terms are 1e7 times as large."""
    a = 1e6
    for dist, entropy in (
        (lt.Gamma(a, 2.0), stats.gamma(a, scale=0.5).entropy()),
        (lt.Beta(a, 3 * a), stats.beta(a, 3 * a).entropy()),
        (lt.Dirichlet(np.full(3, a)), stats.dirichlet(np.full(3, a)).entropy()),
    ):
        np.testing.assert_allclose(dist.entropy(), entropy, rtol=1e-5)
    near = a + 1024.0
    for make in (
        lambda b: lt.Gamma(b, 2.0),
        lambda b: lt.Gamma(a, 2.0 * b / a),
        lambda b: lt.Beta(b, 3 * a),
        lambda b: lt.Dirichlet(jnp.stack([a, b, a])),
        lambda b: lt.Poisson(b),
    ):
        divergence = jax.jit(lambda b, make=make: make(a).kl_divergence(make(b)))
        with float64():
            want = float(divergence(near))
        assert want > 0.1
        np.testing.assert_allclose(divergence(jnp.float32(near)), want, rtol=2e-3)


@pytest.mark.parametrize("size", [30.0, 1e4, 1e6])
def test_distribution_functions_of_large_parameters(size: float) -> None:
    """In float32, where JAX's incomplete gamma and beta functions give 0.90 for 0.84, and numbers outside of [0, 1]."""
    u = np.array([1e-4, 0.2, 0.5, 0.9, 1 - 1e-4])
    for make, law in (
        (lambda s: lt.Gamma(s, 2.0), stats.gamma(size, scale=0.5)),
        (lt.Poisson, stats.poisson(size)),
        (lambda s: lt.Beta(s, 3 * s), stats.beta(size, 3 * size)),
        (lambda s: lt.Beta(s, 0.5), stats.beta(size, 0.5)),
        (lambda s: lt.StudentT(s), stats.t(size)),
    ):
        x = law.ppf(u).astype("f4")
        got = jax.jit(jax.vmap(lambda x, make=make: make(jnp.float32(size)).cdf(x)))(x)
        np.testing.assert_allclose(got, law.cdf(x.astype(float)), rtol=2e-4, atol=1e-6)
    mass = lambda r: lt.Poisson(r).cdf(jnp.float32(size))  # its derivative is −P(X = x)
    slope = jax.jit(jax.grad(mass))(jnp.float32(size))
    np.testing.assert_allclose(slope, -stats.poisson.pmf(size, size), rtol=1e-4)
    ends = [
        lt.Gamma(size, 1.0).cdf(0.0),
        lt.Beta(size, 2.0).cdf(jnp.array(-1.0)),
        lt.Poisson(size).cdf(-1.0),
    ]
    assert ends == [0, 0, 0] and lt.Poisson(size).cdf(jnp.inf) == lt.Beta(size, 2.0).cdf(1.0) == 1
    assert lt.StudentT(size).cdf(0.0) == 0.5 and lt.StudentT(size).cdf(-1e30) == 0


def test_a_draw_of_beta_that_rounds_to_one_stays_inside_where_that_is_harmless() -> None:
    keys = jax.random.split(jax.random.key(0), 100_000)
    x = jax.jit(jax.vmap(lt.Beta(0.5, 0.5).sample))(keys)
    assert x.max() < 1 and (x == 1 - 2.0**-24).any()
    assert np.isfinite(jax.jit(jax.vmap(lt.Beta(0.5, 0.5).log_prob))(x)).all()
    loud = jax.jit(jax.vmap(lt.Beta(1.0, 0.1).sample))(keys[:1000])
    assert (loud == 1).any() and lt.Beta(1.0, 0.1).log_prob(1.0) == np.inf


def test_half_precision_does_not_lose_the_score_or_the_sum() -> None:
    loc = jnp.full(4096, 100.0, jnp.bfloat16)
    x = jnp.full(4096, 100.25, jnp.float32)  # a bf16 rounds it to 100
    score = jax.grad(lambda m: lt.Normal(m, jnp.bfloat16(0.5)).log_prob(x))(loc)
    assert (score == 1.0).all()  # (x − loc) / scale²
    total = lt.Normal(jnp.zeros(4096, jnp.float16), jnp.float16(1e-3)).log_prob(
        jnp.ones(4096, jnp.float16)
    )
    assert np.isfinite(total) and total < -1e9  # a float16 ends at 65504
    drawn = jax.vmap(lt.Bernoulli(jnp.bfloat16(9.0)).sample)(
        jax.random.split(jax.random.key(0), 100_000)
    )
    zeros = int((drawn == 0).sum())  # 12.3 expected; with bf16 uniforms, none or 195
    assert stats.binomtest(zeros, 100_000, 1 / (1 + np.exp(9.0))).pvalue > 1e-4


def test_the_bits_are_jax_randoms_where_that_is_promised() -> None:
    key = jax.random.key(9)
    np.testing.assert_array_equal(
        lt.Normal(jnp.zeros(3), 1.0).sample(key), jax.random.normal(key, (1, 3))[0], strict=True
    )
    np.testing.assert_array_equal(
        lt.Uniform(jnp.zeros(3), 1.0).sample(key), jax.random.uniform(key, (1, 3))[0], strict=True
    )
    np.testing.assert_array_equal(
        lt.Bernoulli(jnp.zeros(3)).sample(key),
        jax.random.uniform(key, (1, 3))[0] < 0.5,
        strict=False,
    )
    np.testing.assert_allclose(
        lt.Exponential(jnp.ones(3)).sample(key), jax.random.exponential(key, (1, 3))[0], rtol=1e-6
    )
    np.testing.assert_allclose(lt.StudentT(3.0).sample(key), jax.random.t(key, 3.0), rtol=1e-5)


def test_traced_illegal_parameters_make_no_numbers() -> None:
    """Draws, log-probs at a legal point, and divergences from legal parameters."""
    for make, value, x in (
        (lambda v: lt.Normal(0.0, v), -1.0, 0.5),
        (lambda v: lt.Gamma(v, 1.0), -1.0, 0.5),
        (lambda v: lt.Beta(v, 1.0), 0.0, 0.5),
        (lambda v: lt.Poisson(v), -2.0, 1.0),
        (lambda v: lt.Exponential(v), 0.0, 0.5),
        (lambda v: lt.StudentT(v), -1.0, 0.5),
        (lambda v: lt.Uniform(0.0, v), -1.0, 0.5),
        (lambda v: lt.Dirichlet(jnp.stack([v, 1.0])), -1.0, jnp.array([0.5, 0.5])),
        (lambda v: lt.NegativeBinomial(v, 0.0), -1.0, 1.0),
        (lambda v: lt.Binomial(v, 0.0), -1.0, 1.0),
    ):

        @jax.jit
        def numbers(v, make=make, x=x):
            dist = make(v)
            some = dist.closed_forms.kl_divergence is not None
            divergence = dist.kl_divergence(make(jnp.ones(()))) if some else jnp.nan
            return jnp.any(jnp.isnan(dist.sample(jax.random.key(0)))), dist.log_prob(x), divergence

        drawn, log_p, divergence = numbers(value)
        assert drawn and np.isnan(log_p) and np.isnan(divergence), make(1.0)


def test_steps_too_small_to_be_seen_in_the_sum() -> None:
    """float32: 30 + 1e-6 is 30. ψ(x + h) − ψ(x) = h ψ′(x) to the second order in h/x."""
    x, h = np.array([30.0, 100.0, 1e3, 1e6, 1e8]), np.array([1e-6, 1e-5, 1e-4, 1e-3, 1.0])
    want = h * special.polygamma(1, x)
    np.testing.assert_allclose(digamma_difference(jnp.float32(x), jnp.float32(h)), want, rtol=1e-6)
    slope = jax.vmap(jax.grad(log_beta))(jnp.float32(x), jnp.float32(h))
    np.testing.assert_allclose(slope, -want, rtol=1e-6)


@pytest.mark.parametrize("r", [1e8, 1e9])
def test_the_score_of_a_negative_binomial_that_is_nearly_a_poisson(r: float) -> None:
    """d log P(x) / dr = Σ_{i<x} 1/(r + i) − log(1 + eˡ), at e^l = 4/r."""
    logit, x = jnp.log(4 / jnp.float32(r)), jnp.array([0.0, 1.0, 3.0, 7.0, 12.0])
    score = jax.vmap(jax.grad(lambda r, x: lt.NegativeBinomial(r, logit).log_prob(x)), (None, 0))
    np.testing.assert_allclose(score(jnp.float32(r), x) * r, x - 4, rtol=1e-5, atol=1e-5)


def test_binomials_of_all_sizes() -> None:
    """Where the series takes over from the table, and at the ends; relative to the log-prob or to one nat."""
    sizes = (1, 2, 9, 10, 11, 19, 20, 21, 60, 1000)
    n = np.repeat(sizes, np.add(sizes, 1))
    k = np.concatenate([np.arange(size + 1) for size in sizes])
    logit = np.float32(-0.8)
    want = stats.binom.logpmf(k, n, special.expit(float(logit)))
    log_prob = jax.jit(jax.vmap(lambda n, k: lt.Binomial(n, logit).log_prob(k)))
    np.testing.assert_allclose(log_prob(n.astype("f4"), k.astype("f4")), want, rtol=2e-6, atol=2e-6)


def test_negative_binomials_of_all_sizes() -> None:
    """Both forms, means from 0.1 to 1e6 of 1e-3 to 1e8 failures."""
    r, mean = np.meshgrid([1e-3, 0.5, 1.0, 2.5, 9.9, 10.1, 1e3, 1e6, 1e8], [0.1, 4.0, 1e3, 1e6])
    r, logit = r.ravel().astype("f4"), np.log(mean / r).ravel().astype("f4")
    mean = mean.ravel()
    few = np.broadcast_to(np.arange(14.0)[:, None], (14, mean.size))
    x = np.stack([*few, mean, mean + np.sqrt(mean * (1 + mean / r))]).round().astype("f4")
    count, size, odds = (v.astype(float) for v in (x, r, logit))
    # in float64 the difference of log-gammas has the digits that are compared
    ways = special.gammaln(count + size) - special.gammaln(size) - special.gammaln(count + 1)
    want = ways + count * special.log_expit(odds) + size * special.log_expit(-odds)
    got = jax.jit(jax.vmap(lt.NegativeBinomial(r, logit).log_prob_factors))(x)
    # the rounding of p moves the mean: a part in 1e7 of it, for each deviation that x is from it
    bound = 3e-6 * np.maximum(1, np.abs(want)) + 4e-7 * np.sqrt(x)
    assert (np.abs(got - want) < bound).all()


@pytest.mark.parametrize(
    "family", [lt.Normal, lt.Laplace, lt.Gumbel, lambda m, s: lt.StudentT(3.0, m, s)]
)
def test_whole_numbers_are_data_too(family) -> None:
    """An integer has no tangent; its score is that of the same number as a float."""
    score = jax.grad(lambda m, x: family(m, 2.0).log_prob(x))
    np.testing.assert_array_equal(score(0.3, 1), score(0.3, 1.0))


OUTSIDE = {
    "Exponential": (lt.Exponential, jnp.array(2.0), -1.0),
    "Gamma": (lambda a: lt.Gamma(a, 1.0), jnp.array(2.0), -1.0),
    "LogNormal": (lambda s: lt.LogNormal(0.0, s), jnp.array(0.7), -1.0),
    "Geometric": (lt.Geometric, jnp.array(0.7), 0.5),
    "Poisson": (lt.Poisson, jnp.array(0.7), 0.5),
    "OneHotCategorical": (
        lt.OneHotCategorical,
        jnp.array([0.3, 0.1, -1.0]),
        jnp.array([0.5, 0.5, 0.0]),
    ),
    "OneHotCategorical, sum of one": (
        lt.OneHotCategorical,
        jnp.array([0.3, 0.1, -1.0]),
        jnp.array([1.0, 1.0, -1.0]),
    ),
    "Dirichlet": (lt.Dirichlet, jnp.array([2.0, 2.0, 2.0]), jnp.zeros(3)),
    "Dirichlet, infinite": (
        lt.Dirichlet,
        jnp.array([2.0, 2.0, 2.0]),
        jnp.array([jnp.inf, 0.0, 0.0]),
    ),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_of_the_support_the_score_is_zero(name: str) -> None:
    """Not nan, which a mask over padded rows would let through, nor the normalizer's."""
    family, parameter, x = OUTSIDE[name]
    value, score = jax.value_and_grad(lambda p: family(p).log_prob(x))(parameter)
    assert value == -jnp.inf
    np.testing.assert_array_equal(score, jnp.zeros_like(parameter))


def test_the_largest_scales() -> None:
    for family in (lt.Normal, lt.Laplace, lt.Cauchy, lambda m, s: lt.StudentT(5.0, m, s)):
        np.testing.assert_allclose(
            family(0.0, 2e38).log_prob(0.0),
            family(0.0, 1.0).log_prob(0.0) - np.log(2e38),
            rtol=1e-6,
        )


@pytest.mark.parametrize("size", [1, 2, 17])
def test_both_forms_of_the_sums_of_a_ranking_agree(size: int) -> None:
    """The loop that the CPU takes, and the blocks that other devices take: values, gradients, and float64 by hand."""
    x = 400 * jax.random.normal(jax.random.key(size), (size,))
    x = x.at[size - 1].set(-jnp.inf) if size > 2 else x
    loop, blocks = _plackett_luce._log_sums_from_here_on, _plackett_luce._log_sums_by_blocks
    finite = size - 1 if size > 2 else size
    exact = np.logaddexp.accumulate(np.asarray(x, np.float64)[::-1])[::-1][:finite]
    slopes = []
    for sums in (loop, blocks):
        some = lambda x, sums=sums: sums(x)[:finite]
        both = jax.jit(lambda x: (some(x), jax.grad(lambda x: jnp.sum(some(x)))(x)))
        values, slope = both(x)
        np.testing.assert_allclose(values, exact, rtol=3e-7)
        slopes.append(slope)
    np.testing.assert_allclose(slopes[0], slopes[1], atol=1e-6)


@pytest.mark.parametrize("x", [0.0, 1.0])
def test_a_bernoulli_keeps_its_digits_in_both_tails(x: float) -> None:
    """Also where the outcome is all but certain: log p = −log(1 + e^∓l) and its two derivatives, of 10⁻²² at |l| = 50."""
    logits = np.array([-50.0, -20.0, -0.5, 0.0, 1e-3, 5.0, 50.0])
    log_prob = lambda logit: lt.Bernoulli(logit).log_prob(x)
    gradient = jax.grad(log_prob)
    p, q = 1 / (1 + np.exp(-logits)), 1 / (1 + np.exp(logits))
    exact = -np.log1p(np.exp(-logits if x else logits)), (q if x else -p), -p * q
    for f, want in zip((log_prob, gradient, jax.grad(gradient)), exact):
        got = jax.jit(jax.vmap(f))(jnp.asarray(logits, "float32"))
        np.testing.assert_allclose(got, want, rtol=3e-6)

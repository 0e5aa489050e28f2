"""`vi.diagnose`, `vi.importance_sample` and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import logtrick as lt
from logtrick import vi
from logtrick.vi._result import History
from logtrick.vi._verdict import decrement, judge, mean_shifts, spread_shifts, truncated

KEY = jax.random.key(0)
FINE = {
    "gap": 0.1,
    "gap_se": 0.01,
    "ess": 800,
    "num_draws": 1000,
    "khat": 0.3,
    "mean_shift": 0.05,
    "shifted": "x",
    "spread_shift": 0.05,
    "respread": "y",
}


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, "good", ""),
        ({"gap": 0.49, "gap_se": 0.01}, "usable after reweighting", "two standard errors, 0.51"),
        ({"gap": 2.0, "ess": 50}, "do not trust", "5.0 % of the draws"),
        ({"mean_shift": 0.3}, "usable after reweighting", "the mean of x by 0.30"),
        ({"spread_shift": 0.2}, "usable after reweighting", "deviation of y by 20 %"),
        (
            {"spread_shift": 0.31, "ess": 200},
            "do not trust",
            "20.0 % of the draws, below 25 %",
        ),
        ({"spread_shift": 0.31, "ess": 300}, "usable after reweighting", "by 31 %"),
        ({"num_impossible": 900}, "usable after reweighting", "900 draws of q"),
        ({"num_undefined": 10}, "usable after reweighting", "10 draws of q"),
        ({"num_undefined": 11}, "do not trust", "nan or +inf"),
        ({"missed_modes": (None,)}, "do not trust", "comparable mass outside"),
        ({"khat": 1.5}, "good", ""),
        ({"khat": 1.5, "ess": 400}, "usable after reweighting", "k-hat is 1.50"),
        ({"khat": 0.8, "ess": 50}, "do not trust", "may be underestimated"),
        ({"gap": np.nan}, "usable after reweighting", "gap"),
        ({"mean_shift": np.nan, "ess": np.nan}, "do not trust", "mean of x"),
    ],
)
def test_each_number_alone_decides_the_verdict(change, verdict, reason):
    found, reasons = judge(vi.Report(**{**FINE, **change}))
    assert found == verdict and reason in " | ".join(reasons)
    assert bool(reasons) == (verdict != "good")


def test_decrement_of_a_known_error(x64):
    """q = N(0, 1), p = N(0.2, 1.1²): |b|²/2 + H²/4 with b = 0.2/1.21 and H = 1 − 1/1.21."""
    draws = np.random.default_rng(0).standard_normal((200_000, 1))
    log_weights = norm.logpdf(draws[:, 0], 0.2, 1.1) - norm.logpdf(draws[:, 0])
    expected = 0.5 * (0.2 / 1.21) ** 2 + 0.25 * (1 - 1 / 1.21) ** 2
    assert decrement(draws, np.asarray(log_weights)) == pytest.approx(expected, rel=0.1)


def test_one_weight_is_truncated_and_shifts_are_relative():
    weights, bound = truncated(np.log(np.array([1.0, 1.0, 1.0, 97.0])))
    assert weights.tolist() == pytest.approx([1 / 13.25, 1 / 13.25, 1 / 13.25, 50 / 13.25])
    assert bound == pytest.approx(np.log(13.25))
    draws = np.array([[0.0, 5.0], [2.0, 5.0]])
    assert mean_shifts(draws, np.array([0.5, 1.5])).tolist() == [0.5, 0.0]
    assert spread_shifts(draws, np.array([0.5, 1.5])) == pytest.approx([1 - np.sqrt(0.75), 0.0])


@pytest.fixture(scope="module")
def two_modes():
    return lambda z: jnp.logaddexp(
        norm.logpdf(z, -4.0, 1.0).sum(), norm.logpdf(z, 4.0, 1.0).sum() - 0.5
    )


def test_a_missed_mode_is_found(two_modes):
    """At the wrong one of two modes every number but the search looks perfect."""
    q = vi.FullRankNormal(like=jnp.zeros(2), loc=jnp.full(2, -4.0))
    report = vi.diagnose(KEY, two_modes, q)
    assert report.gap < 0.01 and report.ess > 4000
    assert report.verdict == "do not trust" and "1 mode(s)" in report.reasons[0]
    (mode,) = report.missed_modes
    np.testing.assert_allclose(mode.mean, [4.0, 4.0], atol=0.1)
    assert mode.log_ratio == pytest.approx(-0.5, abs=0.1)


def test_a_spike_inside_of_q_is_a_missed_mode():
    """Half of the mass is in a spike that three of a thousand draws of q come near, and its weights say nothing of it."""
    log_half = float(np.log(0.5))
    spiked = lambda z: jnp.logaddexp(
        norm.logpdf(z, 0.0, 3.0).sum() + log_half, norm.logpdf(z, 3.0, 0.15).sum() + log_half
    )
    q = vi.FullRankNormal(like=jnp.zeros(2), scale=3.0)
    report = vi.diagnose(KEY, spiked, q)
    assert report.verdict == "do not trust" and len(report.missed_modes) == 1
    np.testing.assert_allclose(report.missed_modes[0].mean, [3.0, 3.0], atol=0.05)
    assert report.missed_modes[0].elbo == pytest.approx(log_half, abs=0.05)
    alone = vi.diagnose(KEY, lambda z: norm.logpdf(z, 0.0, 3.0).sum(), q)
    assert alone.verdict == "good" and alone.missed_modes == ()


def test_an_arc_of_a_ring_is_not_good():
    """log Z = log(2π · 3 · 0.3 √(2π)) = 2.65; a Gaussian on an arc is 1.75 nats below, and its own weights say less."""
    ring = lambda z: -0.5 * ((jnp.sqrt(jnp.sum(z**2) + 1e-12) - 3.0) / 0.3) ** 2
    arc = vi.MeanFieldNormal(like=jnp.zeros(2), loc=jnp.array([0.0, -2.85]), scale=jnp.array([1.05, 0.33]))  # fmt: skip
    report = vi.diagnose(KEY, ring, arc)
    assert report.gap < 1.0 and report.verdict == "do not trust"


def test_a_mixture_that_covers_both_has_missed_none(two_modes):
    """Half of its draws are at either mode, though its mean is at neither."""
    from logtrick.vi._diagnose import Weighed, report

    sides = jax.random.bernoulli(KEY, 0.62, (4096, 1))
    draws = jax.random.normal(KEY, (4096, 2)) + jnp.where(sides, -4.0, 4.0)
    parts = [norm.logpdf(draws, m, 1.0).sum(1) + np.log(w) for m, w in ((-4.0, 0.62), (4.0, 0.38))]
    log_weights = jax.vmap(two_modes)(draws) - jnp.logaddexp(*parts)
    target = vi.Target(two_modes, vi.FullRankNormal(like=jnp.zeros(2)))
    arrays = np.asarray(draws, float), np.asarray(log_weights, float)
    guide = vi.FullRankNormal(like=jnp.zeros(2))
    found = report(KEY, Weighed(*arrays, 0, 0, 1e-3, target, guide, two_modes))
    assert found.missed_modes == () and found.verdict == "good"


def test_a_fit_that_is_shifted_is_usable_and_reweighting_mends_it():
    q = vi.MeanFieldNormal(like={"x": jnp.zeros(2)}, scale=1.2)
    log_density = lambda z: norm.logpdf(z["x"], jnp.array([0.6, 0.0]), 1.0).sum()
    report = vi.diagnose(KEY, log_density, q)
    assert report.verdict == "usable after reweighting" and "x[0]" in report.reasons[0]
    exact = sum(np.log(1.2) + (1 + m**2) / (2 * 1.44) - 0.5 for m in (0.6, 0.0))
    assert report.mean_shift == pytest.approx(0.6 / 1.2, abs=0.1) and exact > 0
    sample = vi.importance_sample(KEY, log_density, q)
    np.testing.assert_allclose(sample.mean()["x"], [0.6, 0.0], atol=0.1)
    np.testing.assert_allclose(sample.stddev()["x"], [1.0, 1.0], atol=0.1)
    drawn = sample.resample(jax.random.key(1), 2000)["x"]
    assert drawn.shape == (2000, 2)
    np.testing.assert_allclose(drawn.mean(0), sample.mean()["x"], atol=0.05)


def test_weights_belong_to_their_draws():
    q = vi.MeanFieldNormal(like={"t": 1.0}, support={"t": vi.positive})
    log_density = lambda z: jnp.log(z["t"]) - 2.0 * z["t"]
    sample = vi.importance_sample(KEY, log_density, q, num_draws=1000)
    raw = jax.vmap(log_density)(sample.draws) - jax.vmap(q.log_prob)(sample.draws)
    order = np.argsort(np.asarray(raw))[:800]  # the tail is smoothed
    shift = np.asarray(sample.log_weights - raw)[order]
    np.testing.assert_allclose(shift, shift[0], atol=1e-4)
    assert sample.mean()["t"] == pytest.approx(1.0, abs=0.15)  # Gamma(2, 2)


def test_elbo_of_a_guide_of_discrete_and_continuous_blocks():
    """b two fair bits, x two standard normals, t lognormal, log p = −0.3 Σ b − ½ Σ (x − b₀)² − ½ (log t)² − log t."""
    q = vi.Blocks(b=vi.BernoulliProduct(like=jnp.zeros(2)), x=vi.MeanFieldNormal(like=jnp.zeros(2)),
                  t=vi.MeanFieldNormal(like=1.0, support=vi.positive))  # fmt: skip

    def log_density(z):
        rest = -0.5 * jnp.log(z["t"]) ** 2 - jnp.log(z["t"])
        return rest - 0.3 * jnp.sum(z["b"]) - 0.5 * jnp.sum((z["x"] - z["b"][0]) ** 2)

    report = vi.diagnose(KEY, log_density, q)
    exact = -0.3 - 1.5 + 2 * np.log(2) + 1 + 1.5 * np.log(2 * np.pi)
    assert abs(report.elbo - exact) < 5 * report.elbo_se and report.elbo_se < 0.02
    assert report.searched and report.missed_modes == ()


def test_the_gap_of_bits_is_their_divergence():
    """The gap is KL(q ‖ p) = Σ KL(½ ‖ σ(−0.3)) of four bits."""
    report = vi.diagnose(KEY, lambda b: -0.3 * jnp.sum(b), vi.BernoulliProduct(like=jnp.zeros(4)))
    p = 1 / (1 + np.exp(0.3))
    exact = 4 * (-0.5 * np.log(4 * p * (1 - p)))
    assert report.gap == pytest.approx(exact, abs=0.02) and report.verdict == "good"
    assert np.isnan(report.decrement) and "undefined" in repr(report)


def test_a_discrete_guide_that_has_collapsed_onto_one_of_two_modes():
    """An Ising chain of 14 spins: all up and all down have the same mass."""
    chain = lambda b: 2.0 * jnp.sum((2 * b[1:] - 1) * (2 * b[:-1] - 1))
    up = vi.BernoulliProduct(logits=jnp.full(14, 6.0))
    report = vi.diagnose(KEY, chain, up)
    assert report.verdict == "do not trust"
    (missed,) = report.missed_modes
    assert missed.mean.tolist() == [0.0] * 14
    one_sided = lambda b: chain(b) + 2.0 * jnp.sum(b)
    assert vi.diagnose(KEY, one_sided, up).missed_modes == ()


def clusters(z):
    """Six points, two clusters; swapping the labels and the means leaves the density as it is."""
    y = jnp.array([-3.2, -2.9, -3.1, 3.0, 2.8, 3.3])
    return norm.logpdf(y, z["mu"][z["label"]], 1.0).sum() + norm.logpdf(z["mu"], 0.0, 5.0).sum()


def one_labeling():
    logits = 8.0 * jnp.array([[1.0, -1.0]] * 3 + [[-1.0, 1.0]] * 3)
    label = vi.CategoricalProduct(like=jnp.zeros(6, int), num_states=2, logits=logits)
    at = {"loc": jnp.array([-3.03, 3.0]), "scale": 0.57}
    return vi.Blocks(mu=vi.MeanFieldNormal(like=jnp.zeros(2), **at), label=label)


def test_the_other_labeling_of_a_mixture_is_missed():
    """Categories beside real numbers: by its own weights the fit of one labeling looks perfect."""
    report = vi.diagnose(KEY, clusters, one_labeling())
    assert report.gap < 0.05 and report.verdict == "do not trust"
    (mode,) = report.missed_modes
    assert mode.log_ratio == pytest.approx(0.0, abs=0.1)
    told = lambda z: clusters(z) + jnp.where(z["mu"][0] < z["mu"][1], 0.0, -20.0)
    assert vi.diagnose(KEY, told, one_labeling()).verdict == "good"


def test_what_cannot_be_searched_is_said():
    host = lt.black_box(lambda z: np.float32(-0.5 * np.sum(z["x"] ** 2) - np.sum(z["b"])))
    q = vi.Blocks(b=vi.BernoulliProduct(logits=-jnp.ones(2)), x=vi.MeanFieldNormal(like=0.0))
    report = vi.diagnose(KEY, lambda z: host(z), q, num_draws=200)
    assert not report.searched and "not searched for" in repr(report)


def test_without_gradients_modes_are_searched_for_by_values(two_modes):
    host = lt.black_box(lambda z: np.float32(_two_modes(np.asarray(z))))
    missed = vi.diagnose(KEY, lambda z: host(z), vi.FullRankNormal(like=jnp.zeros(2), loc=-4.0 * jnp.ones(2)))  # fmt: skip
    assert missed.verdict == "do not trust"
    np.testing.assert_allclose(missed.missed_modes[0].mean, [4.0, 4.0], atol=0.3)
    single = lt.black_box(lambda z: np.float32(-0.5 * np.sum(np.asarray(z) ** 2)))
    assert vi.diagnose(KEY, lambda z: single(z), vi.FullRankNormal(like=jnp.zeros(2))).verdict == "good"  # fmt: skip


def _two_modes(z):
    return np.logaddexp(-0.5 * np.sum((z + 4.0) ** 2), -0.5 * np.sum((z - 4.0) ** 2) - 0.5)


def test_heavy_tails_and_skew_are_not_good():
    """Gap and mean are fine; the standard deviation is not: infinite for Student's t of 2 degrees, √½ of Gamma(½)."""
    heavy = lambda z: -3.5 * jnp.log1p(jnp.sum(z**2) / 2)
    q = vi.FullRankNormal(like=jnp.zeros(5), scale=1.16)
    assert vi.diagnose(KEY, heavy, q).verdict != "good"
    skewed = lambda z: -0.5 * jnp.log(z) - z
    q = vi.FullRankNormal(like=1.0, support=vi.positive, loc=-1.7, scale=1.42)
    report = vi.diagnose(KEY, skewed, q)
    assert report.verdict != "good" and "standard deviation of z" in " ".join(report.reasons)


def test_any_distribution_can_be_judged():
    report = vi.diagnose(KEY, lambda z: norm.logpdf(z).sum(), lt.Normal(jnp.zeros(2), 1.0))
    assert report.verdict == "good" and report.khat == -np.inf


def test_more_coordinates_than_draws():
    """A covariance cannot be taken of them, and is not needed."""
    q = vi.MeanFieldNormal(like=jnp.zeros(60))
    shifted = vi.diagnose(KEY, lambda z: -0.5 * jnp.sum((z - 0.1) ** 2), q, num_draws=100)
    assert shifted.decrement == pytest.approx(0.5 * 60 * 0.1**2, rel=0.5)
    assert shifted.missed_modes == ()


def test_a_coordinate_that_rounding_keeps_from_varying():
    """At 10⁸ single precision has steps of 8: all draws of N(10⁸, 1) are equal."""
    q = vi.MeanFieldNormal(like=jnp.array([1e8, 0.0]))
    report = vi.diagnose(KEY, lambda z: -0.5 * jnp.sum((z - jnp.array([1e8, 0.0])) ** 2), q)
    assert np.isfinite(report.decrement) and report.draws.std(0)[0] == 0


def test_draws_without_density():
    half = vi.diagnose(
        KEY,
        lambda z: jnp.where(z > -1.0, norm.logpdf(z), -jnp.inf),
        vi.FullRankNormal(like=0.0),
    )
    assert half.elbo == -np.inf and half.verdict == "usable after reweighting"
    none = vi.diagnose(KEY, lambda z: jnp.nan * z, vi.FullRankNormal(like=0.0))
    assert none.verdict == "do not trust" and none.reasons == (
        "no draw of q has a finite log density",
    )
    with pytest.raises(ValueError, match="needs a finite log density at some draw"):
        vi.importance_sample(KEY, lambda z: jnp.nan * z, vi.FullRankNormal(like=0.0))


def test_report_prints_and_draws():
    pytest.importorskip("matplotlib")
    report = vi.diagnose(KEY, lambda z: norm.logpdf(z).sum(), vi.FullRankNormal(like=jnp.zeros(2)))
    lines = repr(report).splitlines()
    assert lines[0].startswith("ELBO ") and lines[-1].split() == ["verdict", "good"]
    for history in (
        np.array([-9.0, -2.0, -1.0]),
        History(np.array([-9.0, -2.0, -1.0]), np.arange(3)),
    ):
        assert report.plot(history).axes[0].lines[0].get_ydata().tolist() == [-9.0, -2.0, -1.0]
    assert len(report.plot().axes) == 6


def test_too_few_draws_are_refused():
    q = vi.FullRankNormal(like=0.0)
    with pytest.raises(ValueError, match=r"vi\.diagnose\(num_draws=…\) needs at least 100"):
        vi.diagnose(KEY, lambda z: -(z**2), q, num_draws=10)
    with pytest.raises(ValueError, match=r"vi\.importance_sample\(num_draws=…\) needs at least 25"):
        vi.importance_sample(KEY, lambda z: -(z**2), q, num_draws=10)

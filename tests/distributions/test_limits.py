"""Degenerate parameters: impossible outcomes, closed ends of domains, rows without an outcome. One rule for all families."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.bijectors import Interval
from logtrick.distributions import value_of
from tests.core.x64 import double_precision

INF = jnp.inf
KEY = jax.random.key(0)
COUNT = jnp.arange(4.0)

# A family at an end of its domain (parameter -> distribution, the end), the certain draw, an impossible one, and the
# derivative of the certain draw's log-prob in the parameter.
ENDS = {
    "Bernoulli p = 0": (lambda p: lt.Bernoulli(probs=p), 0.0, 0.0, 1.0, -1.0),
    "Bernoulli p = 1": (lambda p: lt.Bernoulli(probs=p), 1.0, 1.0, 0.0, 1.0),
    "Bernoulli logit = −∞": (lt.Bernoulli, -INF, 0.0, 1.0, 0.0),
    "Bernoulli logit = ∞": (lt.Bernoulli, INF, 1.0, 0.0, 0.0),
    "Binomial p = 0": (lambda p: lt.Binomial(3, probs=p), 0.0, 0.0, 1.0, -3.0),
    "Binomial p = 1": (lambda p: lt.Binomial(3, probs=p), 1.0, 3.0, 2.0, 3.0),
    "Binomial logit = −∞": (lambda l: lt.Binomial(3, l), -INF, 0.0, 1.0, 0.0),
    "Binomial n = 0": (lambda l: lt.Binomial(0, l), 0.3, 0.0, 1.0, 0.0),
    "Geometric p = 1": (lambda p: lt.Geometric(probs=p), 1.0, 0.0, 1.0, 1.0),
    "Geometric logit = ∞": (lt.Geometric, INF, 0.0, 1.0, 0.0),
    "NegativeBinomial p = 0": (lambda p: lt.NegativeBinomial(2.0, probs=p), 0.0, 0.0, 1.0, -2.0),
    "NegativeBinomial r = 0": (
        lambda r: lt.NegativeBinomial(r, 0.0), 0.0, 0.0, 1.0, float(np.log(0.5)),
    ),
    "Poisson rate = 0": (lt.Poisson, 0.0, 0.0, 1.0, -1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_the_limit_law_at_a_closed_end(name: str) -> None:
    make, end, certain, impossible, slope = ENDS[name]

    if name.startswith("NegativeBinomial"):  # without a closed KL divergence
        kl = lambda p: jnp.zeros(())
    else:
        kl = lambda p: make(p).kl_divergence(make(p))

    @jax.jit
    def traced(p):
        at = lambda x: jax.value_and_grad(lambda p: make(p).log_prob(x))(p)
        x = jax.vmap(make(p).sample)(jax.random.split(KEY, 64))
        return at(certain), at(impossible), x, make(p).mean(), kl(p)

    (log_p, score), other, x, mean, divergence = traced(end)
    assert log_p == 0 and score == pytest.approx(slope)
    assert other == (-np.inf, 0.0)
    np.testing.assert_array_equal(x, certain)
    assert mean == certain and divergence == 0
    concrete = make(end)
    assert (concrete.log_prob(certain), concrete.log_prob(impossible)) == (0, -np.inf)


@pytest.mark.parametrize("make", [lt.Categorical, lt.OneHotCategorical])
def test_impossible_classes_by_logits_and_by_probabilities(make) -> None:
    probs = jnp.array([[0.2, 0.0, 0.8], [0.0, 1.0, 0.0]])
    of_class = lambda k: k if make is lt.Categorical else jax.nn.one_hot(k, 3)
    likely, never = of_class(jnp.array([2, 1])), of_class(jnp.array([1, 1]))
    by_probs, by_logits = (lambda p: make(probs=p)), (lambda l: make(l))
    for dist_of, parameter in ((by_probs, probs), (by_logits, jnp.log(probs))):
        at = jax.jit(lambda p, x: jax.value_and_grad(lambda p: dist_of(p).log_prob(x))(p))
        log_p, score = at(parameter, likely)
        assert log_p == pytest.approx(np.log(0.8)) and np.isfinite(score).all()
        log_p, score = at(parameter, never)
        assert log_p == -np.inf and (score[0] == 0).all()  # the other row has its own
    np.testing.assert_allclose(
        jax.grad(lambda p: make(probs=p).log_prob(likely))(probs)[0],
        [-1, -1, 1 / 0.8 - 1],
        rtol=1e-6,
    )
    traced = jax.jit(lambda p: make(probs=p).log_prob(likely))(2 * probs)
    assert traced == pytest.approx(np.log(0.8))  # relative to the sum; concrete ones raise


def test_an_infinite_logit_in_a_row_leaves_the_other_rows_alone() -> None:
    reward = jnp.array([1.0, 2.0, 100.0, -1.0])
    logits = jnp.array([[0.3, -0.2, -INF, 0.1], [-INF, -INF, 0.0, -INF]])
    f = lambda x: reward[x[0]] + 0.1 * reward[x[1]]
    value = lambda l: lt.expect(KEY, f, lt.Categorical(l), estimator=lt.Enumerate())
    got, slope = jax.jit(jax.value_and_grad(value))(logits)
    kept = np.array([0, 1, 3])
    want = lambda l: jax.nn.softmax(l[kept]) @ reward[kept] + 10.0
    assert got == pytest.approx(float(want(logits[0])), rel=1e-6)
    np.testing.assert_allclose(slope[0][kept], jax.grad(want)(logits[0])[kept], rtol=1e-5)
    assert slope[0][2] == 0 and (slope[1] == 0).all()
    drawn = jax.jit(jax.grad(lambda l: lt.expect(KEY, f, lt.Categorical(l), num_samples=512)))(
        logits
    )
    assert np.isfinite(drawn).all() and drawn[0, 2] == 0 and (drawn[1] == 0).all()


DEAD = {
    "Categorical": (lt.Categorical, jnp.full((2, 3), -INF).at[0].set(0.1 * COUNT[:3])),
    "OneHotCategorical": (lt.OneHotCategorical, jnp.full((2, 3), -INF).at[0].set(0.1)),
    "Categorical by probabilities": (
        lambda p: lt.Categorical(probs=p), jnp.zeros((2, 3)).at[0].set(0.3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEAD)
def test_a_row_without_an_outcome(name: str) -> None:
    make, parameter = DEAD[name]
    with pytest.raises(ValueError, match="needs rows of .*, not all of them"):
        make(parameter)
    first = (lambda x: 1.0 * x[0]) if "One" not in name else (lambda x: x[0] @ COUNT[:3])
    value = lambda p: lt.expect(KEY, first, make(p), num_samples=64)
    both = jax.jit(jax.value_and_grad(value))
    got, slope = both(parameter)
    assert np.isnan(slope[1]).all()
    if "One" not in name:  # whole numbers cannot be nan: the value is
        assert np.isnan(got)
    forms = jax.jit(lambda p: (make(p).entropy(), make(p).kl_divergence(make(p))))(parameter)
    assert np.isnan(forms).all()
    alive = both(parameter.at[1].set(0.5))[1]
    np.testing.assert_array_equal(slope[0], alive[0])  # the other row's is as it was


def test_mixture_weights_of_zero() -> None:
    make = lambda l: lt.Mixture(l, (lt.Gamma(2.0, 1.0), lt.Exponential(1.0), lt.Gamma(0.5, 1.0)))
    log_p, score = jax.jit(jax.value_and_grad(lambda l: make(l).log_prob(0.0)))(
        jnp.array([0.0, 0.0, -INF])
    )
    # at 0 the first density is 0, the last, without weight, infinite
    assert log_p == pytest.approx(np.log(0.5)) and np.isfinite(score).all() and score[2] == 0


def test_padded_rankings() -> None:
    """A ranking of two items and two masked ones is one of the two."""
    rankings = np.array([[2, 0, 1, 3], [2, 0, 3, 1], [2, 1, 0, 3], [1, 2, 0, 3]])
    with double_precision():
        logits = jnp.array([0.4, -INF, 1.0, -INF])
        log_p = lt.PlackettLuce(jnp.array([0.4, 1.0])).log_prob(jnp.array([1, 0]))
        for length in (None, 2, 3):
            dist = lt.PlackettLuce(logits, length=length)
            places = dist.event_shape[0]
            legal = (rankings[:, :places] == rankings[0, :places]).all(1)
            got = jax.jit(jax.vmap(dist.log_prob))(rankings[:, :places])
            np.testing.assert_allclose(got, np.where(legal, log_p, -np.inf), rtol=1e-14)
        drawn = jax.jit(jax.vmap(lt.PlackettLuce(logits).sample))(jax.random.split(KEY, 500))
    assert (drawn[:, 2:] == jnp.array([[1, 3]])).all()


@pytest.mark.parametrize("length", [None, 2])
def test_rankings_that_were_drawn_are_not_checked_again(length: int | None) -> None:
    """Their items are different; whether they are possible where other items are masked is said as of any ranking."""
    logits = jnp.array([0.4, -INF, 1.0, 0.2])
    dist = lt.PlackettLuce(logits, length=length)
    other = lt.PlackettLuce(jnp.array([0.4, 0.0, -INF, 0.2]), length=length)
    mixture = lt.Mixture(jnp.zeros(2), (dist, other))

    @jax.jit
    @jax.vmap
    def of_draws(key: jax.Array) -> tuple:
        draw, either = (d.draw(d.noise(key)) for d in (dist, mixture))
        score = lambda x: jax.grad(lambda l: lt.PlackettLuce(l, length=length).log_prob(x))(logits)
        of = lambda x, y: (score(x), dist.log_prob(x), mixture.log_prob(y))
        return (*of(draw, either), other.log_prob(draw)), (
            *of(*map(value_of, (draw, either))),
            other.log_prob(value_of(draw)),
        )

    unchecked, checked = of_draws(jax.random.split(KEY, 20))
    for got, want in zip(unchecked, checked):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    impossible = np.isneginf(unchecked[-1])
    assert impossible.any() and (length is None) == impossible.all()


@pytest.mark.parametrize("length", [None, 1, 2])
def test_prefixes_of_rankings_are_the_marginals(length: int | None) -> None:
    logits = jnp.array([0.4, -1.3, 2.0, 0.0])
    with double_precision():
        logits = jnp.asarray(logits, float)
        every = np.asarray(lt.PlackettLuce(logits).enumerate())
        dist = lt.PlackettLuce(logits, length=length)
        points = np.asarray(dist.enumerate())
        starts = (every[:, None, : dist.event_shape[0]] == points[None]).all(-1)

        @jax.jit
        def all_of(logits: jax.Array) -> tuple:
            p = jnp.exp(jax.vmap(lt.PlackettLuce(logits).log_prob)(every))
            some = lambda l: jnp.exp(jax.vmap(lt.PlackettLuce(l, length=length).log_prob)(points))
            return p, some(logits), jax.grad(lambda l: some(l).sum())(logits)

        p, got, slope = all_of(logits)
        np.testing.assert_allclose(got, p @ starts, rtol=1e-12)
        np.testing.assert_allclose(slope, 0, atol=1e-14)


def test_mixtures_of_unequal_supports_enumerate_the_union() -> None:
    with double_precision():
        few, many = lt.Binomial(2, 0.3), lt.Binomial(4, -0.2)
        for parts in ((few, many), (many, few)):
            dist = lt.Mixture(jnp.zeros(2), parts)
            points = dist.enumerate()
            assert sorted(points.tolist()) == [0, 1, 2, 3, 4]
            np.testing.assert_allclose(
                jnp.exp(jax.vmap(dist.log_prob)(points)).sum(), 1, rtol=1e-12
            )
    assert not lt.Mixture(jnp.zeros(2), (few, lt.Poisson(1.0))).support.finite
    with pytest.raises(ValueError, match="has no finite support to enumerate"):
        lt.Mixture(jnp.zeros(2), (few, lt.Poisson(1.0))).enumerate()


def test_divergences_from_what_makes_an_outcome_impossible_are_infinite() -> None:
    """However improbable the outcome is."""
    for p, q in (
        (lt.Bernoulli(probs=1e-20), lt.Bernoulli(probs=0.0)),
        (lt.Bernoulli(-200.0), lt.Bernoulli(-INF)),
        (lt.Binomial(3, probs=1e-20), lt.Binomial(3, probs=0.0)),
        (lt.Geometric(probs=1 - 2.0**-24), lt.Geometric(probs=1.0)),
        (lt.Categorical(jnp.array([0.0, -40.0])), lt.Categorical(jnp.array([0.0, -INF]))),
        (lt.Poisson(1e-20), lt.Poisson(0.0)),
    ):
        assert p.kl_divergence(q) == INF and np.isfinite(q.kl_divergence(p))


def test_divergences_of_categoricals_of_different_sizes_are_refused() -> None:
    with pytest.raises(
        ValueError, match="kl_divergence\\(other=…\\) needs as many classes, 1; got 3"
    ):
        lt.Categorical(jnp.zeros(1)).kl_divergence(lt.Categorical(jnp.zeros(3)))


def test_one_of_logits_and_probs() -> None:
    for make in (lt.Bernoulli, lt.Categorical, lt.Geometric, lambda **k: lt.Binomial(3, **k)):
        with pytest.raises(TypeError, match="needs one of logits=… and probs=…; got neither"):
            make()
        with pytest.raises(TypeError, match="needs one of logits=… and probs=…; got both"):
            make(logits=jnp.zeros(2), probs=jnp.full(2, 0.5))
    with pytest.raises(
        ValueError, match=r"Bernoulli\(probs=…\) needs probabilities in \[0, 1\]; got 1.5"
    ):
        lt.Bernoulli(probs=1.5)
    assert repr(lt.Bernoulli(probs=0.25)) == "Bernoulli(probs=0.25)"


@pytest.mark.parametrize(
    ("family", "wrong", "right"),
    [
        (lt.Bernoulli, "prob", "probs"),
        (lt.Normal, "mean", "loc"),
        (lt.Normal, "sigma", "scale"),
        (lt.Gamma, "alpha", "concentration"),
        (lt.Binomial, "n", "total_count"),
        (lt.Poisson, "rates", "rate"),
    ],
)
def test_an_unknown_keyword_names_the_right_one(family, wrong: str, right: str) -> None:
    message = rf"{family.__name__}\({wrong}=…\) is no parameter; it has .*\. Pass {right}=…\."
    with pytest.raises(TypeError, match=message):
        family(**{wrong: 0.5})


def test_probabilities_are_logits_under_every_estimator_of_bits() -> None:
    """p = σ(l): the chain rule, exactly, for the estimators that read logits."""
    f = lambda x: (x - 0.45) ** 2
    for estimator in (lt.ScoreFunction(), lt.Enumerate(), lt.DisARM(), lt.MeasureValued()):
        by_probs = lambda p: lt.expect(
            KEY, f, lt.Bernoulli(probs=p), estimator=estimator, num_samples=8
        )
        by_logits = lambda l: lt.expect(KEY, f, lt.Bernoulli(l), estimator=estimator, num_samples=8)
        p = jax.nn.sigmoid(0.3)
        slopes = jax.jit(lambda p, l: (jax.grad(by_probs)(p), jax.grad(by_logits)(l)))(p, 0.3)
        np.testing.assert_allclose(slopes[0] * p * (1 - p), slopes[1], rtol=2e-5, atol=1e-7)


# By probabilities at an end: parameter -> distribution, the end, and E[(x − 0.6)² …] as a polynomial of the parameter.
SLOPES = {
    "Bernoulli": (
        lambda p: lt.Bernoulli(probs=p), jnp.array([0.0, 1.0, 0.3]),
        lambda p: jnp.sum(0.36 * (1 - p) + 0.16 * p),
    ),
    "Binomial": (
        lambda p: lt.Binomial(3, probs=p), jnp.array([0.0, 1.0, 0.3]),
        lambda p: jnp.sum(3 * p * (1 - p) + (3 * p - 0.6) ** 2),
    ),
    "Categorical": (
        lambda p: lt.Categorical(probs=p), jnp.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]),
        lambda p: jnp.sum(p / p.sum(-1, keepdims=True) @ (COUNT[:3] - 0.6) ** 2),
    ),
    "OneHotCategorical": (
        lambda p: lt.OneHotCategorical(probs=p), jnp.array([[0.5, 0.0, 0.5]]),
        lambda p: jnp.sum(p / p.sum(-1, keepdims=True) @ jnp.array([0.88, 0.88, 0.88])),
    ),
    "Mixture": (
        lambda p: lt.Mixture(jnp.zeros(2), (lt.Bernoulli(probs=p[0]), lt.Binomial(2, probs=p[1]))),
        jnp.array([0.0, 1.0]),
        lambda p: 0.5 * (0.36 * (1 - p[0]) + 0.16 * p[0])
        + 0.5 * (2 * p[1] * (1 - p[1]) + (2 * p[1] - 0.6) ** 2),
    ),
    "Joint": (
        lambda p: lt.Joint((lt.Bernoulli(probs=p[0]), lt.Bernoulli(0.0 * p[1]))),
        jnp.array([1.0, 0.0]),
        lambda p: 0.36 * (1 - p[0]) + 0.16 * p[0] + 0.26,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOPES)
def test_an_enumeration_has_the_derivative_in_a_probability_of_zero(name: str) -> None:
    make, end, exact = SLOPES[name]
    f = lambda x: sum(jnp.sum((leaf - 0.6) ** 2) for leaf in jax.tree.leaves(x))
    value = lambda p: lt.expect(KEY, f, make(p), estimator=lt.Enumerate())
    want, slope = jax.value_and_grad(exact)(end)
    got, gradient = jax.jit(jax.value_and_grad(value))(end)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_binomial_of_many_trials_by_probabilities_is_enumerated(p: float) -> None:
    """C(200, 100) is no float32 number."""
    value = lambda p: lt.expect(
        KEY, lambda x: x, lt.Binomial(200, probs=p), estimator=lt.Enumerate()
    )
    np.testing.assert_allclose(jax.jit(jax.value_and_grad(value))(p), (200 * p, 200), rtol=1e-5)


def test_a_masked_outcome_without_a_finite_cost_is_left_out() -> None:
    """Of masked probabilities: the cost of what is masked is nan, its parameters have no derivative."""
    mask, reward = jnp.array([True, False, True]), jnp.array([1.0, jnp.nan, 3.0])

    def value(p):
        dist = lt.Categorical(probs=jnp.where(mask, p, 0.0))
        return lt.expect(KEY, lambda x: reward[x], dist, estimator=lt.Enumerate(), has_aux=True)

    (got, aux), slope = jax.jit(jax.value_and_grad(value, has_aux=True))(jnp.array([0.2, 0.5, 0.3]))
    assert got == pytest.approx(2.2) and aux.costs[0] == pytest.approx(2.2)
    np.testing.assert_allclose(slope, [-1.2 / 0.5, 0.0, 0.8 / 0.5], rtol=1e-5)


# Parameters that are no distribution's: parameters -> distribution, illegal ones, legal ones.
ILLEGAL = {
    "Bernoulli": (lt.Bernoulli, [0.5, jnp.nan], [0.5, 0.5]),
    "Bernoulli by probabilities": (lambda p: lt.Bernoulli(probs=p), [0.5, 1.5], [0.5, 1.0]),
    "Binomial": (lambda l: lt.Binomial(3, l), [0.5, jnp.nan], [0.5, 0.5]),
    "Geometric": (lt.Geometric, [0.5, -INF], [0.5, INF]),
    "NegativeBinomial": (lambda r: lt.NegativeBinomial(r, 0.0), -1.0, 0.0),
    "NegativeBinomial's logits": (lambda l: lt.NegativeBinomial(2.0, l), INF, -INF),
    "Poisson": (lt.Poisson, [0.5, -1.0], [0.5, 0.0]),
    "OneHotCategorical": (lt.OneHotCategorical, [-INF, -INF], [-INF, 0.5]),
    "PlackettLuce": (lt.PlackettLuce, [-INF, -INF], [-INF, 0.5]),
    "PlackettLuce prefix": (lambda l: lt.PlackettLuce(l, length=2), 3 * [jnp.nan], 3 * [0.5]),
    "Mixture": (
        lambda l: lt.Mixture(l, (lt.Normal(0.0, 1.0), lt.Normal(1.0, 1.0))), [-INF, -INF], [0.5, 0.5],
    ),
    "mixture of indices": (
        lambda l: lt.Mixture(l, (lt.Categorical(COUNT), lt.Categorical(-COUNT))),
        [0.5, jnp.nan], [0.5, -INF],
    ),
    "Joint": (
        lambda l: lt.Joint({"a": lt.Poisson(l[0]), "b": lt.Categorical(l)}), [0.5, jnp.nan], [0.5, 0.5],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ILLEGAL)
def test_an_illegal_traced_parameter_is_seen_whatever_f_makes_of_the_draw(name: str) -> None:
    """Also where a comparison in f, or an estimator's own points, would make a number of it."""
    make, illegal, legal = ILLEGAL[name]
    f = lambda x: jnp.where(jnp.sum(jax.tree.leaves(x)[0]) > 1, 1.0, 0.0)
    estimators = [lt.ScoreFunction()]
    if name == "Bernoulli":
        estimators += [lt.DisARM(), lt.ARMS(3), lt.StraightThrough(), lt.MeasureValued()]
    for estimator in estimators:
        value = lambda p: lt.expect(KEY, f, make(p), estimator=estimator, num_samples=4)
        both = jax.jit(jax.value_and_grad(value))
        got, slope = both(jnp.array(illegal))
        assert np.isnan(got)
        assert np.isnan(slope).any() or not isinstance(estimator, lt.ScoreFunction)
        got, slope = both(jnp.array(legal))
        assert np.isfinite(got) and np.isfinite(slope).all()


@pytest.mark.parametrize(
    "name", [name for name in ILLEGAL if "Joint" not in name and "ixture" not in name]
)
def test_draws_that_tell_of_illegal_parameters_are_nan_where_those_are(name: str) -> None:
    """`draws_nan` saves looking at the parameters again; the draws of the legal coordinates are numbers."""
    make, illegal, legal = ILLEGAL[name]
    draws = jax.jit(jax.vmap(lambda key, p: make(p).sample(key), (0, None)))
    keys = jax.random.split(KEY, 32)
    if getattr(make(jnp.array(legal)), "draws_nan", False):
        shown = np.isnan(draws(keys, jnp.array(illegal)))
        assert shown.any(axis=-1).all() and (shown == shown[0]).all()
    assert np.isfinite(1.0 * draws(keys, jnp.array(legal))).all()


def test_four_families_have_draws_that_tell_of_illegal_parameters() -> None:
    families = (lt.Bernoulli, lt.Binomial, lt.Geometric, lt.Poisson)
    assert all(family.draws_nan for family in families)


@pytest.mark.parametrize("length", [None, 1, 2])
@pytest.mark.parametrize("first", [-INF, INF, jnp.nan])
def test_rankings_of_illegal_traced_logits_are_nan_and_so_is_their_score(first, length) -> None:
    """Also where all items are masked, and no term of the log-prob has a derivative; other rows are as they were."""
    rest = -INF if first < 0 else 0.0
    rows = jnp.array([[0.1, -INF, 0.3], [first, rest, rest], [0.5, 0.1, -0.2]])
    f = lambda x: 1.0 * x[0]

    def exact(logits: jax.Array) -> jax.Array:
        dist = lt.PlackettLuce(logits, length=length)
        return lt.expect(KEY, f, dist, estimator=lt.Enumerate())

    def of_one(logits: jax.Array) -> jax.Array:
        x = jnp.array([0, 2, 1])[:length]
        return lt.PlackettLuce(logits, length=length).log_prob(x)

    for function in (exact, of_one):
        both = jax.jit(jax.vmap(jax.value_and_grad(function)))
        values, slopes = both(rows)
        alive = both(rows.at[1].set(0.3))
        assert np.isnan(values[1]) and np.isnan(slopes[1]).all()
        np.testing.assert_array_equal(values[::2], alive[0][::2])
        np.testing.assert_array_equal(slopes[::2], alive[1][::2])


@pytest.mark.parametrize(
    "make",
    [
        lambda s: lt.Uniform(1.0, s),
        lambda s: lt.MultivariateNormal(jnp.zeros(2), s * jnp.eye(2)),
        lambda s: lt.Transformed(lt.Normal(0.0, 1.0), Interval(0.0, s)),
        lambda s: lt.Normal(0.0, s),
    ],
    ids=["Uniform", "MultivariateNormal", "Interval", "Normal"],
)
def test_the_derivative_in_an_illegal_traced_parameter_is_nan(make) -> None:
    """A `where` between the parameter and nan would have the derivative 0; a log-prob of -inf would be that of legal ones."""
    value = lambda s: lt.expect(
        KEY, lambda x: jnp.sum(x), make(s), estimator=lt.Pathwise(), num_samples=2
    )
    assert np.isnan(jax.jit(jax.value_and_grad(value))(-0.0)).all()
    x = jnp.full(make(2.0).event_shape, 0.5)
    assert np.isnan(jax.jit(lambda s: make(s).log_prob(x))(-0.0))


RELAXED = (lt.StraightThrough(), lt.GumbelSoftmax(0.5), lt.StraightThroughGumbelSoftmax(0.5), lt.GumbelRao(0.5),
           lt.ReinMax())  # fmt: skip


@pytest.mark.parametrize(
    "estimator", [lt.ScoreFunction(), *RELAXED], ids=lambda e: type(e).__name__
)
def test_a_traced_row_without_an_outcome_has_a_nan_gradient_and_the_others_their_own(
    estimator: Any,
) -> None:
    """Also where f is a comparison, or constant, which passes no derivative on."""
    rows = jnp.array([[0.0, 1.0, 2.0], [-INF, -INF, -INF], [1.0, 0.0, 0.0]])
    for f in (lambda x: jnp.sum(x[:, 0] > 0.5) * 1.0, lambda x: 1.0):
        value = lambda rows: lt.expect(
            KEY, f, lt.OneHotCategorical(rows), estimator=estimator, num_samples=8
        )
        mean, grad = jax.jit(jax.value_and_grad(value))(rows)
        assert np.isnan(mean) and np.isnan(grad[1]).all()
        assert np.isfinite(grad[0]).all() and np.isfinite(grad[2]).all()

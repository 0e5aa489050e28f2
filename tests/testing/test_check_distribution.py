"""`check_distribution` passes what is right, and names what is wrong in pairs of functions that do not belong together."""

import jax
import jax.numpy as jnp
import pytest

import logtrick as lt

KEY = jax.random.key(0)
check = lt.testing.check_distribution
RIGHT = {
    "Gamma at the edge": (lambda p: lt.Gamma(p[0], p[1]), jnp.array([0.05, 1.0])),
    "Categorical": (lt.Categorical, jnp.array([0.3, -1.0, 2.0])),
    "Poisson": (lt.Poisson, jnp.array(3.0)),
    "Dirichlet": (lt.Dirichlet, jnp.array([0.5, 2.0, 1.0])),
}


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_pass(name: str) -> None:
    report = check(KEY, *RIGHT[name], num_samples=4000)
    looked_at = len(report.checked) + len(report.not_checked)
    finite = RIGHT[name][0](RIGHT[name][1]).support.finite
    assert looked_at == (5 if finite else 4) and len(report.checked) >= 3


def test_of_a_draw_of_several_parts_no_support_is_looked_at() -> None:
    pair = lambda p: lt.Joint({"a": lt.Normal(p, 1.0), "b": lt.Poisson(jnp.exp(p))})
    report = check(KEY, pair, jnp.array(0.3), num_samples=1000)
    assert "draws and their log-probs are finite" in report.checked
    assert "draws are in the support: a draw has several parts" in report.not_checked


def normal(p, x):
    return jax.scipy.stats.norm.logpdf(x, p["loc"], p["scale"])


def drawn(key, p):
    return p["loc"] + p["scale"] * jax.random.normal(key)


def box(p, x):
    return jnp.where((x >= 0) & (x <= p), -jnp.log(p), -jnp.inf)


PARAMS = {"loc": 0.5, "scale": 2.0}
WRONG = {
    "another scale": (normal, lambda k, p: p["loc"] + p["scale"] ** 2 * jax.random.normal(k), PARAMS,
                      r"the expected score is 0: it is .* in params\['scale'\]"),
    "another location": (normal, lambda k, p: drawn(k, p) + 0.3, PARAMS,
                         r"the expected score is 0: it is .* in params\['loc'\]"),
    "not normalized": (lambda p, x: normal(p, x) + 0.7, drawn, PARAMS, "the log-prob gives .* the probability"),
    "a moving support": (box, lambda k, p: p * jax.random.uniform(k), 2.0, "turns -inf under a step of 1 %"),
    "drawn where nothing is": (box, lambda k, p: 1.1 * p * jax.random.uniform(k), 2.0,
                               "have a log-prob of -inf"),
    "counts off by one": (lambda p, x: jax.scipy.stats.poisson.logpmf(x, p),
                          lambda k, p: jax.random.poisson(k, p) + 1.0, 3.0, "the expected score is 0"),
    "nan": (normal, lambda k, p: drawn(k, p) * jnp.nan, PARAMS, "draws are nan or infinite"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_wrong_are_named(name: str) -> None:
    log_prob, sample, params, message = WRONG[name]
    with pytest.raises(ValueError, match=rf"(?s)Custom is not what it says it is.*{message}"):
        check(KEY, lt.distribution(log_prob, sample), params, num_samples=4000)


def test_a_declared_moving_support_is_not_held_against_it() -> None:
    report = check(KEY, lambda p: lt.Uniform(0.0, p), jnp.array(2.0), num_samples=2000)
    assert [text.split(":")[1].strip() for text in report.not_checked] == [
        "the support is declared to move with low, high",
        "it is declared to move with low, high",
    ]


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_samples=…\) needs an int of at least 1000; got 10"):
        check(KEY, lt.Poisson, jnp.array(1.0), num_samples=10)


RARE = {
    "a peaked row": (lt.Categorical, jnp.array([10.0, 0.0, -8.0])),
    "bits that never change": (lt.Bernoulli, jnp.array([-9.0, 12.0, 0.0])),
    "a count that is 0": (lt.Poisson, jnp.array([1e-5, 3.0])),
    "a row beside a number": (
        lambda p: lt.Joint((lt.Normal(p[0], 1.0), lt.OneHotCategorical(p[1:]))),
        jnp.array([0.3, 9.0, 0.0]),
    ),
    "a user's whole number": (
        lt.distribution(
            lambda p, x: jnp.where(x == 1, jnp.log(p), jnp.log1p(-p)),
            lambda key, p: (jax.random.uniform(key) < p).astype(jnp.int32),
        ),
        jnp.array(1e-5),
    ),
}


@pytest.mark.parametrize("name", RARE)
def test_an_outcome_too_rare_to_be_drawn_is_no_fault(name):
    """All draws are the same then, and so are their scores, whose mean is not 0."""
    family, params = RARE[name]
    lt.testing.check_distribution(KEY, family, params)


def test_numbers_that_their_dtype_hardly_tells_apart_are_no_fault():
    family = lambda p: lt.Normal(p[0], p[1])
    lt.testing.check_distribution(KEY, family, jnp.array([1e4, 1e-2]))


def test_parameters_in_half_precision():
    lt.testing.check_distribution(KEY, lt.Bernoulli, jnp.array([0.3, -2.0], jnp.bfloat16))

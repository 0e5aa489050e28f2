"""Faults 1 to 9, 16 to 18 and 24 (listed in `tests/faults`): the classic silent wrong gradients, impossible or errors here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt

KEY = jax.random.key(0)


def mean_gradient(f, family, params, estimator=lt.ScoreFunction()):  # noqa: B008  # frozen
    """The expectation of the gradient of a call with two samples, exact."""
    moments = lt.testing.exact_estimator_variance(
        f, family, params, estimator=estimator, num_samples=2
    )
    return float(moments.mean)


def family(log_prob):
    return lt.distribution(log_prob, lambda key, p: p + jax.random.normal(key, (4,)))


def test_1_2_3_a_log_prob_per_coordinate_is_refused():
    vector = family(lambda p, x: -0.5 * (x - p) ** 2)
    with pytest.raises(
        ValueError, match=r"log_prob must be scalar per draw, got \(4,\); sum the event dimensions"
    ):
        lt.expect(KEY, lambda x: x.sum(), vector(jnp.zeros(4)), num_samples=4)  # S == D
    column = family(lambda p, x: -0.5 * jnp.sum((x - p) ** 2, keepdims=True))
    with pytest.raises(ValueError, match=r"scalar per draw, got \(1,\)"):
        lt.expect(KEY, lambda x: x.sum(), column(jnp.zeros(4)))


def test_2_a_cost_per_draw_and_column_is_refused():
    with pytest.raises(ValueError, match=r"f must return a scalar for one draw; got shape \(1,\)"):
        lt.expect(KEY, lambda x: x[:1], lt.Normal(jnp.zeros(4), 1.0))


def test_4_the_draw_is_held_constant_in_the_score():
    """Re-evaluating log p at x(θ) gives exactly 0 for a location family."""
    found = mean_gradient(lambda x, mu: x, lambda mu: lt.Normal(mu, 1.0), 0.0)
    assert found == pytest.approx(1.0, rel=1e-5)


def test_5_no_double_count():
    """The cost sees a draw without a derivative: score only, not score plus path."""
    seen = []
    value = lambda mu: lt.expect(
        KEY, lambda x: seen.append(jax.jvp(lambda y: y, (x,), (x,))) or x, lt.Normal(mu, 1.0)
    )
    score = jax.grad(value)(0.3)
    x = 0.3 + jax.random.normal(jax.random.fold_in(jax.random.fold_in(KEY, 1), 0), (16,))
    by_hand = jnp.sum((x - x.mean()) * (x - 0.3)) / 15
    assert float(score) == pytest.approx(float(by_hand), rel=1e-5)


@pytest.mark.parametrize(
    "estimator", [lt.ScoreFunction(), lt.ScoreFunction(lt.NoBaseline()), lt.Enumerate()]
)
def test_6_the_direct_term_is_included(estimator):
    """E[θ b] = θ σ(θ)."""
    p = 1 / (1 + np.exp(-0.7))
    found = mean_gradient(lambda b, t: t * b, lt.Bernoulli, 0.7, estimator)
    assert found == pytest.approx(p + 0.7 * p * (1 - p), rel=1e-5)


def test_7_leave_one_out_is_not_shrunk():
    """In-sample means give (n − 1)/n of the gradient: half at n = 2."""
    p = 0.3
    found = mean_gradient(lambda x, t: 3.0 * x, lt.Bernoulli, float(np.log(p / (1 - p))))
    assert found == pytest.approx(3 * p * (1 - p), rel=1e-5)


def test_8_a_constant_baseline_carries_no_derivative():
    """A baseline that depends on θ must not add its own gradient."""
    value = lambda t, b: lt.expect(
        KEY, lambda x: x, lt.Normal(t, 1.0), estimator=lt.ScoreFunction(lt.ConstantBaseline(b))
    )
    assert jax.grad(lambda t: value(t, 2.0 * t))(0.5) == jax.grad(lambda t: value(t, 1.0))(0.5)


def test_9_leave_one_out_with_one_draw():
    with pytest.raises(ValueError, match=r"leave-one-out needs num_samples >= 2 .*; got 1"):
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), num_samples=1)
    with pytest.raises(ValueError, match="leave-one-out needs num_samples >= 2"):
        lt.expect(KEY, lambda x: x, lt.Normal(0.0, 1.0), num_samples=8, chunk_size=1)


@pytest.mark.parametrize("dist", [lt.Bernoulli(0.3), lt.Poisson(2.0), lt.Categorical(jnp.zeros(3))])
def test_16_pathwise_through_a_discrete_draw(dist):
    """By declaration, not dtype: bits are floats here."""
    with pytest.raises(
        ValueError,
        match=r"Pathwise\(\) needs a reparameterized distribution; .* is not. Use ScoreFunction",
    ):
        lt.expect(KEY, lambda x: 1.0 * x, dist, estimator=lt.Pathwise())


def test_16_enumeration_of_an_infinite_support():
    with pytest.raises(
        ValueError, match=r"Enumerate\(\) needs a finite distribution; Poisson is not"
    ):
        lt.expect(KEY, lambda x: x, lt.Poisson(2.0), estimator=lt.Enumerate())


def test_17_a_draw_of_zero_probability_gives_a_nan_gradient_and_a_value():
    """A masked log-prob has a zero gradient at −inf: never taken for an answer."""
    masked = lt.distribution(
        lambda p, x: jnp.where(x > 0, -p * x, -jnp.inf), lambda key, p: -jnp.ones(()) * 1.0
    )
    value = lambda p: lt.expect(KEY, lambda x: x, masked(p), num_samples=4)
    assert value(1.0) == -1.0
    assert jnp.isnan(jax.grad(value)(1.0))
    assert jnp.isnan(jax.hessian(value)(1.0))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_17_whatever_is_not_finite(bad):
    odd = lt.distribution(
        lambda p, x: -0.5 * (x - p) ** 2 + jnp.where(x > 1e9, 0.0, bad), lambda key, p: jnp.ones(())
    )
    assert jnp.isnan(jax.grad(lambda p: lt.expect(KEY, lambda x: x, odd(p), num_samples=4))(1.0))


def test_17_points_of_probability_zero_contribute_nothing_to_an_enumeration():
    """Value and derivative, also where f is not finite there."""
    logits = jnp.array([0.3, -jnp.inf, 0.1])
    f = lambda x: jnp.where(x == 1, jnp.inf, jnp.log(jnp.abs(x - 1.0)) + x)
    value = lambda l: lt.expect(KEY, f, lt.Categorical(l), estimator=lt.Enumerate())
    assert jnp.isfinite(value(logits))
    grad = jax.grad(lambda t: value(logits + jnp.array([t, 0.0, 0.0])))(0.0)
    p = 1 / (1 + np.exp(-0.2))
    assert float(grad) == pytest.approx(p * (1 - p) * (0.0 - 2.0), rel=1e-5)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_18_a_cost_that_is_not_finite_is_not_hidden(bad):
    value = lambda m: lt.expect(
        KEY, lambda x: jnp.where(x > 0.5, bad, x), lt.Normal(m, 1.0), num_samples=64
    )
    assert not jnp.isfinite(value(0.0))
    assert not jnp.isfinite(jax.grad(value)(0.0))


@pytest.mark.parametrize(
    ("dist", "estimator"),
    [
        (lt.Categorical, lt.ScoreFunction()),
        (lt.Categorical, lt.MeasureValued()),
        (lt.OneHotCategorical, lt.StraightThrough()),
        (lt.Bernoulli, lt.ARM()),
    ],
)
def test_24_logits_that_are_nan_give_a_nan_gradient(dist, estimator):
    """Their draws are numbers, and so is the value; the gradient was 0, which a training loop takes for a step."""
    value = lambda l: lt.expect(
        KEY, lambda x: jnp.sum(x) * 2.0, dist(l), estimator=estimator, num_samples=4
    )
    assert jnp.all(jnp.isnan(jax.jit(jax.grad(value))(jnp.full(3, jnp.nan))))


def test_24_a_row_without_any_class():
    value = lambda l: lt.expect(KEY, lambda x: 1.0 * x, lt.Categorical(l), num_samples=4)
    assert jnp.all(jnp.isnan(jax.grad(value)(jnp.full(3, -jnp.inf))))


def test_samplers_refuse_to_be_differentiated_by_hand():
    """jax#17556: the gradient through a discrete draw is silently zero."""
    for dist in (lt.Bernoulli, lt.Poisson, lambda p: lt.Categorical(jnp.stack([p, 0.0 * p]))):
        with pytest.raises(lt.UnaccountedRandomnessError, match=r"sample was differentiated"):
            jax.grad(lambda p: 1.0 * dist(p).sample(KEY))(0.7)
    held = lambda p: p * lt.Bernoulli(jax.lax.stop_gradient(p)).sample(KEY)
    assert jax.grad(held)(0.7) == lt.Bernoulli(0.7).sample(KEY)
    # a reparameterized draw, by hand, is pathwise
    assert jax.grad(lambda p: lt.Normal(p, 1.0).sample(KEY))(0.7) == 1.0


def test_a_sampler_that_closes_over_parameters():
    def by_hand(theta):
        closed = lt.distribution(
            lambda p, x: -0.5 * (x - theta) ** 2, lambda key, p: theta + jax.random.normal(key)
        )
        return closed(0.0)

    with pytest.raises(lt.UnaccountedRandomnessError):
        jax.grad(lambda t: by_hand(t).sample(KEY))(0.7)
    value = lambda t, key: lt.expect(key, lambda x: x, by_hand(t))
    keys = jax.random.split(KEY, 2000)
    slopes = jax.jit(jax.vmap(lambda key: jax.grad(value)(0.7, key)))(keys)
    # held in the draw, differentiated in the log-prob
    lt.testing.assert_unbiased(slopes, 1.0, resolve=0.1)

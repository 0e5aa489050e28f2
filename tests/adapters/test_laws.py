"""Laws of every adapter: the foreign draws and log-probs, unbiased under every legal estimator, refusals, the guard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import logtrick as lt
from tests.adapters.conftest import require
from tests.adapters.registry import CASES, ENUMERATE, PATHWISE, SCORE

KEYS = jax.random.split(jax.random.key(3), 4000)


COVERING = ("numpyro-bernoulli-event", "numpyro-binomial", "numpyro-normal", "distrax-categorical", "distrax-normal",
            "tfp-one-hot", "tfp-gamma", "flowjax-normal")  # fmt: skip


# TFP's one-hot and Poisson samplers ask for 64 bits also where JAX has none.
IN_TFP = pytest.mark.filterwarnings("ignore:Explicitly requested dtype (int64|float64):UserWarning")


def marked(case):
    marks = [] if case.name in COVERING else [pytest.mark.full]
    return pytest.param(
        case, id=case.name, marks=[*marks, IN_TFP] if case.name.startswith("tfp") else marks
    )


@pytest.fixture(params=[marked(case) for case in CASES])
def case(request):
    require(*(package.split(".")[0] for package in request.param.packages))
    return request.param


def gradients(case, estimator, num_samples):
    """One gradient for each key."""

    def value(params, key):
        return lt.expect(key, case.cost, case(params), estimator=estimator, num_samples=num_samples)

    return jax.jit(jax.vmap(jax.grad(value), (None, 0)))(case.params, KEYS)


def test_draws_and_log_probs_are_the_foreign_ones(case):
    ours, theirs = case.both(case.params)
    key = jax.random.key(5)
    x = ours.sample(key)
    by_position = "numpyro" in case.name or "flowjax" in case.name
    draw = theirs.sample if by_position else lambda key: theirs.sample(seed=key)
    if case.own_draws:
        # Two samples of 4,000: a right pair fails once in 10⁴ keys, one whose distribution functions differ by .09 is missed
        # once in 10³.
        samples = [np.ravel(jax.jit(jax.vmap(f))(KEYS)) for f in (ours.sample, draw)]
        assert scipy.stats.ks_2samp(*samples).pvalue > 1e-4
    else:
        np.testing.assert_array_equal(x, draw(key))
    assert x.shape == ours.event_shape and ours.log_prob(x).shape == ()
    np.testing.assert_allclose(ours.log_prob(x), jnp.sum(theirs.log_prob(x)), rtol=2e-6)


def test_score_has_mean_zero_and_gives_the_gradient_over_all_outcomes(case):
    if ENUMERATE not in case.legal:
        pytest.skip("infinite support")
    points = case(case.params).enumerate()
    assert points.dtype == case(case.params).sample(jax.random.key(0)).dtype
    weights = jnp.exp(jax.vmap(case(case.params).log_prob)(points))
    scores = jax.vmap(lambda x: jax.grad(lambda params: case(params).log_prob(x))(case.params))(
        points
    )
    np.testing.assert_allclose(jnp.sum(weights), 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        jnp.tensordot(weights, scores, 1), jnp.zeros_like(case.params), atol=1e-6
    )
    estimate = jnp.tensordot(weights * jax.vmap(case.cost)(points), scores, 1)
    np.testing.assert_allclose(estimate, jax.grad(case.exact)(case.params), rtol=1e-5, atol=1e-5)


def test_unbiased_under_every_legal_estimator(case):
    truth = np.asarray(jax.grad(case.exact)(case.params), np.float64)
    for estimator in case.legal:
        if estimator is ENUMERATE:
            np.testing.assert_allclose(
                gradients(case, estimator, 1)[0], truth, rtol=1e-5, atol=1e-5
            )
        else:
            lt.testing.assert_unbiased(
                np.asarray(gradients(case, estimator, 16)), truth, resolve=0.15
            )


def test_illegal_estimators_raise(case):
    for estimator, need in ((PATHWISE, "reparameterized"), (ENUMERATE, "finite")):
        if estimator not in case.legal:
            with pytest.raises(
                ValueError, match=rf"needs a {need} distribution; .* is not\. Use ScoreFunction\(\)"
            ):
                lt.expect(
                    jax.random.key(0),
                    case.cost,
                    case(case.params),
                    estimator=estimator,
                    num_samples=2,
                )
    assert SCORE in case.legal


def test_sampling_by_hand_is_pathwise_or_raises(case):
    def by_hand(params):
        return jnp.sum(case(params).sample(jax.random.key(0)) * 1.0)

    for derivative in (jax.grad(by_hand), jax.jit(jax.grad(by_hand))):
        if PATHWISE in case.legal:
            assert np.all(np.asarray(derivative(case.params)) != 0.0)
        else:
            with pytest.raises(lt.UnaccountedRandomnessError, match="its draw has no derivative"):
                derivative(case.params)


def test_derivatives_reach_the_foreign_objects_own_arrays(case):
    dist = case(case.params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(dist))
    x = dist.sample(jax.random.key(1))
    grads = jax.jit(jax.grad(lambda d: d.log_prob(x), allow_int=True))(dist)
    floats = [g for g in jax.tree.leaves(grads) if jnp.issubdtype(g.dtype, jnp.floating)]
    assert any(np.any(np.asarray(g) != 0) for g in floats)
    assert jax.tree.structure(dist) == jax.tree.structure(jax.tree.map(lambda leaf: leaf, dist))


def test_a_function_closed_over_is_guarded_too():
    require("numpyro")
    import numpyro.distributions as nd

    class Hidden(nd.Distribution):  # its parameter is no part of its tree
        support = nd.constraints.real
        offset = 0.0

        def sample(self, key, sample_shape=()):
            return self.offset + jax.random.normal(key)

        def log_prob(self, x):
            return -((x - self.offset) ** 2) / 2

    def by_hand(theta):
        Hidden.offset = theta
        return lt.adapters.from_numpyro(Hidden()).sample(jax.random.key(0))

    with pytest.raises(lt.UnaccountedRandomnessError, match="NumPyro.sample was differentiated"):
        jax.grad(by_hand)(1.0)
    Hidden.offset = 0.0
    assert not lt.adapters.from_numpyro(
        Hidden()
    ).reparameterized  # it declares neither set of names

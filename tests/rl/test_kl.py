"""KL to a reference policy: values and gradients over all pairs of draws, and what trainers got wrong."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.rl.groups import groups

LOGITS = (1.0, 0.0, -1.0)
REFERENCE = (0.0, 0.5, 0.0)
PUBLISHED_KL, PUBLISHED_GRADIENT = 0.33961701, [0.3639891, -0.23318858, -0.13080056]
SINGLE = 1e-6  # the published numbers are in single precision


def exact_kl(logits):
    log_p = jax.nn.log_softmax(logits)
    return jnp.exp(log_p) @ (log_p - jax.nn.log_softmax(jnp.array(REFERENCE)))


kl_and_gradient = jax.jit(jax.value_and_grad(exact_kl))


def test_the_exact_kl_is_the_published_one(x64):
    value, grad = kl_and_gradient(jnp.array(LOGITS))
    np.testing.assert_allclose(value, PUBLISHED_KL, rtol=SINGLE)
    np.testing.assert_allclose(grad, PUBLISHED_GRADIENT, rtol=SINGLE)


def expected(term):
    """The exact expectation of a term of two draws, as a function of the logits; its derivative likewise."""

    def of(logits):
        log_p = jax.nn.log_softmax(logits)
        log_ref = jax.nn.log_softmax(jnp.array(REFERENCE))
        tuples, weights = groups(jnp.exp(log_p), 2)
        return weights @ jax.vmap(lambda i: term(log_p[i], log_ref[i]))(tuples)

    return of


@pytest.mark.parametrize("term", [lt.rl.kl_k1, lt.rl.kl_k3])
def test_value_and_gradient_are_those_of_the_kl(term, x64):
    value, grad = jax.jit(jax.value_and_grad(expected(term)))(jnp.array(LOGITS))
    exact, exact_grad = kl_and_gradient(jnp.array(LOGITS))
    np.testing.assert_allclose(value, exact, rtol=1e-10)
    np.testing.assert_allclose(grad, exact_grad, rtol=1e-10)


def test_k2_has_the_gradient_of_the_kl_and_another_value(x64):
    value, grad = jax.jit(jax.value_and_grad(expected(lt.rl.kl_k2)))(jnp.array(LOGITS))
    np.testing.assert_allclose(value, 0.36336187, rtol=SINGLE)
    exact_grad = kl_and_gradient(jnp.array(LOGITS))[1]
    np.testing.assert_allclose(grad, exact_grad, rtol=1e-10)
    with pytest.raises(lt.DerivativeOrderError, match="kl_k2"):
        jax.hessian(expected(lt.rl.kl_k2))(jnp.array(LOGITS))


def test_without_the_score_gradients_are_zero_or_of_another_divergence(x64):
    """k1 and k3 without the term of the score: gradients that are zero, and wrong."""
    k1 = expected(lambda p, ref: jnp.mean(p - ref))
    k3 = expected(lambda p, ref: jnp.mean(jnp.expm1(ref - p) + p - ref))
    logits = jnp.array(LOGITS)
    np.testing.assert_allclose(jax.jit(jax.grad(k1))(logits), 0, atol=1e-12)
    np.testing.assert_allclose(
        jax.jit(jax.grad(k3))(logits), [0.39117226, -0.20713428, -0.18403800], rtol=SINGLE
    )


# Sequences of two tokens: the second's distribution depends on the first.
SEQUENCES = np.array(list(itertools.product((0.0, 1.0), repeat=2)))


def tokens(theta):
    logits = theta[0] + theta[1] * np.pad(SEQUENCES, ((0, 0), (1, 0)))[:, :2]
    return SEQUENCES * logits - jax.nn.softplus(logits)


@pytest.mark.parametrize("term", [lt.rl.kl_k1, lt.rl.kl_k2, lt.rl.kl_k3])
def test_tokens_are_credited_with_later_terms(term, x64):
    theta, reference = jnp.array([0.4, -1.1]), tokens(jnp.array([-0.3, 0.6]))

    def exact(theta):
        log_p = tokens(theta).sum(1)
        return jnp.exp(log_p) @ (log_p - reference.sum(1))

    def ours(theta):
        log_probs = tokens(theta)
        pairs, weights = groups(jnp.exp(log_probs.sum(1)), 2)
        return weights @ jax.vmap(lambda i: term(log_probs[i], reference[i]))(pairs)

    both = lambda derivative: jax.jit(lambda t: (derivative(ours)(t), derivative(exact)(t)))(theta)
    np.testing.assert_allclose(*both(jax.grad), rtol=1e-9)
    if term is not lt.rl.kl_k2:
        np.testing.assert_allclose(*both(lambda f: f), rtol=1e-10)
        np.testing.assert_allclose(*both(jax.hessian), atol=1e-10)


@pytest.mark.parametrize("term", [lt.rl.kl_k1, lt.rl.kl_k2, lt.rl.kl_k3])
def test_padding_changes_nothing_and_wrong_arrays_are_refused(term, x64):
    log_probs, reference = jnp.array([[-0.3, -0.9], [-1.0, -0.2]]), jnp.full((2, 2), -0.7)
    nan, counts = jnp.full((2, 1), jnp.nan), jnp.array([[True, True, False]] * 2)

    def padded(lp):
        wide = jnp.concatenate([lp, nan], 1)
        return term(wide, jnp.concatenate([reference, nan], 1), mask=counts)

    a, b = (jax.value_and_grad(f)(log_probs) for f in (lambda lp: term(lp, reference), padded))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), a, b)
    with pytest.raises(ValueError, match=r"\(log_probs=…\) needs at least two draws"):
        term(jnp.zeros(1), jnp.zeros(1))
    with pytest.raises(ValueError, match=r"\(reference_log_probs=…\) needs the shape"):
        term(jnp.zeros(2), jnp.zeros(3))


@pytest.mark.parametrize("term", [lt.rl.kl_k1, lt.rl.kl_k2, lt.rl.kl_k3])
def test_half_precision_is_summed_in_single(term):
    rng = np.random.default_rng(0)
    log_probs = rng.normal(-1.2, 0.4, (4, 300))
    given = [
        jnp.array(x, jnp.bfloat16) for x in (log_probs, log_probs + rng.normal(0, 0.03, (4, 300)))
    ]
    exact = term(*(x.astype(jnp.float32) for x in given))
    np.testing.assert_allclose(term(*given), exact, rtol=1e-6)


@pytest.mark.parametrize("term", [lt.rl.kl_k1, lt.rl.kl_k2, lt.rl.kl_k3])
def test_a_draw_that_the_policy_cannot_make_has_a_nan_gradient(term):
    log_probs, reference = jnp.array([-jnp.inf, -1.0]), jnp.array([-1.0, -1.0])
    value, grad = jax.value_and_grad(lambda lp: term(lp, reference))(log_probs)
    assert jnp.isnan(value) and jnp.isnan(grad[0])

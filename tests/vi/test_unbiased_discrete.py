"""Every legal objective × estimator on discrete guides: the mean gradient over all draws is that of the stated target."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import vi
from tests.vi.exact import assert_close, bernoulli_noise, categorical_noise, moments, target
from tests.vi.objectives import ChiSquare, ForwardKL, JensenShannon

BITS = np.array([0.3, -0.7])
SCORES = np.array([[0.4, -0.2, 0.1]])
TABLE = np.array([[0.1, -0.8], [1.2, 0.3]])
THREE = np.array([0.5, -1.0, 0.2])

bits_density = lambda z: z @ jnp.asarray(TABLE) @ z + 5.0
states_density = lambda z: jnp.asarray(THREE)[z[0]] + 5.0

UNBIASED = [
    (vi.ELBO(), lt.ScoreFunction(lt.NoBaseline()), 1),
    (vi.ELBO(), lt.ScoreFunction(), 2),
    (vi.ELBO(), lt.DisARM(), 1),
    (vi.IWELBO(2), lt.ScoreFunction(lt.NoBaseline()), 1),
    (vi.IWELBO(2), vi.VIMCO(), 1),
    (vi.IWELBO(2), vi.VIMCO(vi.ArithmeticMean()), 1),
    (vi.IWELBO(2), vi.OVIS(), 1),
    (vi.Renyi(0.5, 2), lt.ScoreFunction(lt.NoBaseline()), 1),
    (vi.Renyi(0.5, 2), vi.VIMCO(), 1),
    (vi.Renyi(2.0, 2), vi.VIMCO(), 1),
    (JensenShannon(), lt.ScoreFunction(lt.NoBaseline()), 1),
    (JensenShannon(), vi.VIMCO(), 1),
    (ChiSquare(), vi.VIMCO(), 1),
    (ForwardKL(), lt.ScoreFunction(), 2),
]


def title(case):
    return f"{type(case[0]).__name__}-{type(case[1]).__name__}" if isinstance(case, tuple) else None


@pytest.mark.parametrize("case", UNBIASED, ids=title)
def test_the_mean_gradient_over_all_bits_is_exact(x64, case):
    objective, estimator, samples = case
    q = vi.BernoulliProduct(logits=BITS)
    noise, weights = bernoulli_noise(q, objective.num_draws * samples)
    if objective.num_draws > 1 and isinstance(estimator, lt.Estimator):
        noise = noise.reshape(-1, samples, objective.num_draws, 2)  # one site draws all
    mean, _ = moments(
        q, bits_density, noise, weights, samples, objective=objective, estimator=estimator
    )
    exact = target(
        q, bits_density, objective, objective.num_draws, q.base.enumerate(), bits_log_probs
    )
    assert_close(mean, exact)


def bits_log_probs(q):
    return jax.vmap(q.base.log_prob)(q.base.enumerate())


@pytest.mark.parametrize(
    "case", [c for c in UNBIASED if not isinstance(c[1], lt.DisARM)], ids=title
)
def test_the_mean_gradient_over_all_categories_is_exact(x64, case):
    objective, estimator, samples = case
    q = vi.CategoricalProduct(like=jnp.zeros(1, int), num_states=3, logits=SCORES)
    noise, weights = categorical_noise(q, objective.num_draws * samples)
    if objective.num_draws > 1 and isinstance(estimator, lt.Estimator):
        noise = noise.reshape(-1, samples, objective.num_draws, 1)
    mean, _ = moments(
        q, states_density, noise, weights, samples, objective=objective, estimator=estimator
    )
    exact = target(
        q, states_density, objective, objective.num_draws, q.base.enumerate(), bits_log_probs
    )
    assert_close(mean, exact)


@pytest.mark.parametrize(
    "objective", [vi.ELBO(), vi.IWELBO(2), JensenShannon()], ids=lambda o: type(o).__name__
)
def test_the_sum_over_a_support(x64, objective):
    q = vi.BernoulliProduct(logits=BITS)
    loss = lambda q: vi.loss(
        jax.random.key(0),
        bits_density,
        q,
        objective=objective,
        estimator=lt.Enumerate(),
        num_samples=1,
    )
    exact = target(
        q, bits_density, objective, objective.num_draws, q.base.enumerate(), bits_log_probs
    )
    assert_close(jax.jit(jax.grad(loss))(q), exact)


def test_log_variance_is_leave_one_out(x64):
    """VarGrad is unbiased for −∇ELBO at every n ≥ 2, and draw for draw the leave-one-out gradient."""
    q = vi.BernoulliProduct(logits=BITS)
    exact = target(q, bits_density, vi.ELBO(), 1, q.base.enumerate(), bits_log_probs)
    for n in (2, 3):
        noise, weights = bernoulli_noise(q, n)
        mean, variance = moments(q, bits_density, noise, weights, n, objective=vi.LogVariance())
        loo = moments(q, bits_density, noise, weights, n, estimator=lt.ScoreFunction())
        assert_close(mean, exact)
        assert_close(variance, loo[1])


@pytest.mark.parametrize("n", [2, 3])
def test_normalized_weights_have_the_stated_mean(x64, n):
    """InclusiveKL: −E Σ w̄ᵢ ∇log q(zᵢ); Renyi(α < 0): that of w^(1 − α), times (1 − α)⁻¹ α. Summed here by hand."""
    q = vi.BernoulliProduct(logits=BITS)
    points = np.asarray(q.base.enumerate())
    log_p = np.asarray(jax.vmap(bits_density)(q.base.enumerate()))
    log_q = np.asarray(bits_log_probs(q))
    scores = points - np.asarray(jax.nn.sigmoid(q.logits))
    for objective, power, factor in (
        (vi.InclusiveKL(), 1.0, -1.0),
        (vi.Renyi(-1.0, n), 2.0, -0.5),
    ):
        stated = np.zeros(2)
        for index in itertools.product(range(4), repeat=n):
            at = list(index)
            raw = np.exp(power * (log_p[at] - log_q[at] - 5.0))
            stated += np.exp(log_q[at].sum()) * factor * (raw / raw.sum()) @ scores[at]
        noise, weights = bernoulli_noise(q, n)
        samples = n if objective.num_draws is None else 1
        mean, _ = moments(q, bits_density, noise, weights, samples, objective=objective)
        assert_close(mean.logits, stated)


def test_the_biased_cell_is_declared_and_biased(x64):
    q = vi.BernoulliProduct(logits=BITS)
    noise, weights = bernoulli_noise(q, 2)
    mean, _ = moments(
        q, bits_density, noise, weights, 1, objective=vi.IWELBO(2), estimator=vi.OVIS(1.0)
    )
    exact = target(q, bits_density, vi.IWELBO(2), 2, q.base.enumerate(), bits_log_probs)
    assert not vi.OVIS(1.0).unbiased
    assert np.max(np.abs(mean.logits - exact.logits)) > 0.1 * np.max(np.abs(exact.logits))

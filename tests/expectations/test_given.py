"""Draws made elsewhere: exact by enumeration of every tuple of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from tests.programs.exact import ORDERS, all_runs, expected, up_to

LOGITS = (0.2, -0.4, 0.7)
SHIFT = jnp.arange(3.0)
NORMAL = lt.Normal(0.0, 1.0)


def f(x, logits):
    return (x - 0.7) ** 2 * (1 + logits[0] * logits[1])


def exact(logits):
    return jax.nn.softmax(logits) @ f(jnp.arange(3.0), logits)


def tuples(probabilities, n):
    return all_runs(np.arange(3), probabilities, n)


@pytest.mark.parametrize(
    "how",
    [{}, {"baseline": lt.NoBaseline()}, {"num_chains": 2}, {"baseline": lt.ConstantBaseline(0.5)}],
)
def test_importance_weights_are_exact_at_every_order(x64, how):
    """Draws from a uniform r under weights p/r; with chains, two of two draws each."""
    logits = jnp.array(LOGITS)
    chained = "num_chains" in how
    draws, weights = tuples([1 / 3] * 3, 4 if chained else 2)
    draws = draws.reshape(-1, 2, 2) if chained else draws
    log_weights = jax.nn.log_softmax(logits) + jnp.log(3.0)

    def one(x):
        value = lambda l: lt.expect_given(
            x, lambda x: f(x, l), lt.Categorical(l), log_weights=log_weights[x], **how
        )
        return up_to(2, value)(logits)

    for order, found in enumerate(expected(one, draws, weights)):
        np.testing.assert_allclose(found, ORDERS[order](exact)(logits), rtol=0, atol=1e-10)


def test_unnormalised_is_unbiased_for_independent_draws(x64):
    logits = jnp.array(LOGITS)
    draws, weights = tuples(jax.nn.softmax(logits), 3)

    def one(x):
        value = lambda l: lt.expect_given(x, lambda x: f(x, l), lambda x: l[x], normalized=False)
        return up_to(1, value)(logits)

    for order, found in enumerate(expected(one, draws, weights)):
        np.testing.assert_allclose(found, ORDERS[order](exact)(logits), rtol=0, atol=1e-10)


def test_log_z_cancels_exactly(x64):
    """Any constant, with any gradient, may be added to the log density and to the weights."""
    x = jax.random.normal(jax.random.key(0), (50,))
    log_p = lambda a, shift: lambda x: -0.5 * a * x**2 + shift * jnp.exp(a)
    weights = -0.1 * x**2

    def gradient(shift, **how):
        return jax.grad(
            lambda a: lt.expect_given(
                x, lambda x: x**2 * a, log_p(a, shift), normalized=False, **how
            )
        )(1.3)

    for how, moved in (({}, {}), ({"log_weights": weights}, {"log_weights": weights + 700.0})):
        np.testing.assert_allclose(gradient(1e3, **moved), gradient(0.0, **how), rtol=1e-9)


def test_unnormalised_second_derivatives_raise():
    x = jnp.arange(4.0)
    value = lambda a: lt.expect_given(x, lambda x: x, lambda x: -a * x, normalized=False)
    assert jnp.isfinite(jax.grad(value)(1.0))
    for second in (jax.hessian, lambda f: jax.jacrev(jax.jacrev(f))):
        with pytest.raises(
            lt.DerivativeOrderError,
            match=r"expect_given\(normalized=False\) is right for first deriv",
        ):
            second(value)(1.0)


def test_self_normalised_weights_approach_the_truth(x64):
    """A grid is the limit of many draws: ∫ x² of N(μ, 1) from a uniform proposal, the density without its constant."""
    x = jnp.linspace(-12, 12, 100_001)
    log_p = lambda mu: lambda x: -0.5 * (x - mu) ** 2
    value = lambda mu: lt.expect_given(
        x, lambda x: x**2, log_p(mu), log_weights=log_p(0.7)(x) - 300.0, normalized=False
    )
    found, gradient = jax.value_and_grad(value)(0.7)
    weights = jax.nn.softmax(log_p(0.7)(x))
    np.testing.assert_allclose(
        [found, gradient * (1 - jnp.sum(weights**2))], [1 + 0.49, 1.4], rtol=1e-9
    )


def test_effective_sample_size_and_clipping():
    x, log_w = jnp.arange(4.0), jnp.log(jnp.array([4.0, 2.0, 1.0, 1.0]))
    value, aux = lt.expect_given(
        x, lambda x: x, lt.Normal(0.0, 1.0), log_weights=log_w, has_aux=True
    )
    np.testing.assert_allclose(aux.effective_sample_size, 64 / 22, rtol=1e-6)
    np.testing.assert_allclose(value, (0 + 2 + 2 + 3) / 4, rtol=1e-6)
    assert aux.clipped == 0
    value, aux = lt.expect_given(
        x, lambda x: x, lt.Normal(0.0, 1.0), log_weights=log_w, max_weight=1.5, has_aux=True
    )
    np.testing.assert_allclose(value, (0 + 1.5 + 2 + 3) / 4, rtol=1e-6)
    assert aux.clipped == 0.5
    _, aux = lt.expect_given(x, lambda x: x, lt.Normal(0.0, 1.0), has_aux=True)
    np.testing.assert_allclose(aux.standard_error, np.std(np.arange(4.0), ddof=1) / 2, rtol=1e-6)
    np.testing.assert_allclose(aux.costs, x)
    _, extreme = lt.expect_given(
        x, lambda x: x, lambda x: 0.0 * x, log_weights=log_w + 512.0, normalized=False, has_aux=True
    )
    np.testing.assert_allclose(
        extreme.effective_sample_size, 64 / 22, rtol=1e-4
    )  # exp(512) would overflow


def test_chains_gradient_is_short_by_the_autocorrelation(x64):
    """All 4,096 pairs of stationary two-state Metropolis chains of n/2 = 6 draws: the mean estimate is right, the mean
    gradient (n − τ)/(n − 1) of the truth, where τ = n Var(x̄)/Var(x): the bias of order 1/n that the docstring states."""
    logit, length = 0.8, 6
    p, paths = jax.nn.sigmoid(logit), jnp.array(list(np.ndindex((2,) * length)), float)
    leave = jnp.array(
        [1.0, jnp.exp(-logit)]
    )  # a proposal to flip, accepted with min(1, p(x')/p(x))
    moved = paths[:, 1:] != paths[:, :-1]
    stay_or_go = leave[paths[:, :-1].astype(int)]
    chance = jnp.where(paths[:, 0] == 1, p, 1 - p) * jnp.prod(
        jnp.where(moved, stay_or_go, 1 - stay_or_go), 1
    )
    first, second = jnp.divmod(jnp.arange(len(paths) ** 2), len(paths))

    def one(i, j):
        x = jnp.stack([paths[i], paths[j]])
        value = lambda l: lt.expect_given(
            x, lambda x: x, lambda x: l * x, normalized=False, num_chains=2
        )
        return jnp.stack(jax.value_and_grad(value)(logit))

    found = (chance[first] * chance[second]) @ jax.jit(jax.vmap(one))(first, second)
    n, tau = 2 * length, length * (chance @ (paths.mean(1) - p) ** 2) / (p * (1 - p))
    np.testing.assert_allclose(found, [p, p * (1 - p) * (n - tau) / (n - 1)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("phi, tilt", [(0.0, None), (0.9, None), (-0.5, None), (0.9, 0.2)])
def test_standard_error_knows_autocorrelation(phi, tilt):
    """Chains x' = φ x + ε: τ = (1 + φ)/(1 − φ), the standard error is the spread of the means over many repeats, and 5% of
    these lie beyond 1.96 of them; also under self-normalized weights exp(tilt x), which move the mean by tilt / (1 − φ²)."""

    def chain(key):
        eps = jax.random.normal(key, (4, 2000))
        start = eps[:, 0] / np.sqrt(1 - phi**2)
        return jax.lax.scan(lambda c, e: (phi * c + e, phi * c + e), start, eps.T)[1].T

    def one(key):
        x = chain(key)
        how = {} if tilt is None else {"log_weights": tilt * x, "normalized": False}
        return lt.expect_given(
            x, lambda x: x, lt.Normal(0.0, 1.0), num_chains=4, has_aux=True, **how
        )

    values, aux = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 300))
    if tilt is None:
        np.testing.assert_allclose(aux.autocorrelation_time.mean(), (1 + phi) / (1 - phi), rtol=0.1)
    np.testing.assert_allclose(aux.standard_error.mean(), values.std(), rtol=0.15)
    truth = (tilt or 0.0) / (1 - phi**2)
    missed = np.mean(np.abs(values - truth) > 1.96 * aux.standard_error)
    assert 0.01 < missed < 0.11  # 5% of 300: 3 to 33 of Binomial(300, 0.05) but for 1e-4


@pytest.mark.parametrize("normalized", [True, False])
def test_draws_of_weight_zero_add_nothing(normalized):
    """An action that the target policy never takes; its score is nan for a logit of −inf."""
    x, cost = jnp.array([0, 1, 2, 2]), jnp.array([1.0, 5.0, 2.0])

    def value(logits):
        log_weights = jax.nn.log_softmax(logits)[x] + jnp.log(3.0)
        return lt.expect_given(
            x,
            lambda i: cost[i],
            lt.Categorical(logits),
            log_weights=log_weights,
            normalized=normalized,
        )

    masked, rare = (jax.value_and_grad(value)(jnp.array([0.0, l, 1.0])) for l in (-jnp.inf, -40.0))
    np.testing.assert_allclose(masked[0], rare[0], rtol=1e-6)
    np.testing.assert_allclose(masked[1], rare[1], atol=1e-6)


@pytest.mark.parametrize("normalized", [True, False])
def test_draws_that_cannot_be_give_nan(normalized):
    """Also where the log-prob masks its own derivative: it was the gradient of the other draws."""
    x = jnp.array([0.5, -1.0, 0.2])
    value = lambda rate: lt.expect_given(
        x, lambda x: x**2, lt.Exponential(rate), normalized=normalized
    )
    assert jnp.isnan(jax.grad(value)(1.0))


def test_wrong_arguments_are_refused():
    x, dist = jnp.arange(3.0), lt.Normal(0.0, 1.0)
    f = lambda x: x
    cases = [
        (
            {"samples": jnp.zeros(())},
            ValueError,
            r"\(samples=…\) needs the same leading axes \(n,\)",
        ),
        ({"samples": (x, jnp.zeros(2))}, ValueError, "same leading axes"),
        (
            {"log_weights": jnp.zeros(2)},
            ValueError,
            r"\(log_weights=…\) needs one for each draw, shape \(3,\); got \(2,\)",
        ),
        ({"samples": x[:1]}, ValueError, "LeaveOneOut needs at least 2 draws; got 1"),
        (
            {"samples": x[None], "num_chains": 1},
            ValueError,
            "LeaveOneOut needs at least 2 chains; got 1",
        ),
        (
            {"samples": x[None], "num_chains": 3},
            ValueError,
            r"leading axes \(chains, draws\); got \(1, 3\)",
        ),
        ({"samples": x[:1], "normalized": False}, ValueError, "needs at least 2 draws"),
        ({"max_weight": 0.0}, ValueError, r"\(max_weight=…\) needs a positive number"),
        (
            {"baseline": 1.0},
            TypeError,
            r"\(baseline=…\) needs a baseline that is one number per sample",
        ),
        ({"dist": 2.0}, TypeError, r"\(dist=…\) needs a distribution, or a function"),
        ({"dist": lambda x: jnp.zeros(2)}, ValueError, "log_prob must be scalar per draw"),
        ({"f": lambda x: x[None]}, ValueError, "f must return a scalar for one draw"),
    ]
    for change, error, match in cases:
        how = {"samples": x, "f": f, "dist": dist, **change}
        with pytest.raises(error, match=match):
            lt.expect_given(how.pop("samples"), how.pop("f"), how.pop("dist"), **how)


def mixed(f, i, j):
    """∂/∂ argument i of the gradient with respect to argument j, that with respect to the latter summed."""
    return jax.grad(lambda *args: jnp.sum(jax.grad(f, j)(*args)), i)


def test_a_mixed_derivative_without_normalization(x64):
    """In a parameter of f and then in the logits, over all tuples of three draws; it was 0. The other order is refused."""
    cost = lambda x, b: jnp.sin(b * x) + b**2
    draws, weights = all_runs(np.arange(3), jax.nn.softmax(np.array(LOGITS)), 3)
    exact = lambda logits, b: jax.nn.softmax(logits) @ cost(jnp.arange(3.0), b)

    def value(x, logits, b):
        return lt.expect_given(x, lambda x: cost(x, b), lambda x: logits[x], normalized=False)

    one = lambda x: mixed(lambda logits, b: value(x, logits, b), 0, 1)(np.array(LOGITS), 1.3)
    found = jnp.tensordot(weights, jax.jit(jax.vmap(one))(draws), 1)
    np.testing.assert_allclose(found, mixed(exact, 0, 1)(np.array(LOGITS), 1.3), rtol=0, atol=1e-10)
    with pytest.raises(lt.DerivativeOrderError, match="is right for first derivatives only"):
        mixed(lambda logits, b: value(draws[0], logits, b), 1, 0)(np.array(LOGITS), 1.3)


@pytest.mark.parametrize("normalized", [True, False])
def test_chains_of_one_draw_are_independent_draws(normalized):
    """Their autocorrelation time was 1 / log(101), and the standard error half of what it is."""
    x = jax.random.normal(jax.random.key(0), (100,))
    how = {"normalized": normalized, "has_aux": True}
    value, alone = lt.expect_given(x, jnp.exp, NORMAL, **how)
    same, chains = lt.expect_given(x[:, None], jnp.exp, NORMAL, num_chains=100, **how)
    assert (value, alone.autocorrelation_time) == (same, 1)
    np.testing.assert_allclose(alone.standard_error, np.std(np.exp(x), ddof=1) / 10, rtol=1e-5)
    for field in ("standard_error", "effective_sample_size", "autocorrelation_time"):
        assert getattr(chains, field) == getattr(alone, field), field


@pytest.mark.parametrize("how", [{}, {"num_chains": 1}])
def test_a_single_draw_has_no_standard_error(how):
    x = jnp.ones((1, 1) if how else (1,))
    how = {"baseline": lt.NoBaseline(), "has_aux": True, **how}
    _, aux = lt.expect_given(x, lambda x: x, NORMAL, **how)
    assert np.isnan(aux.standard_error) and aux.effective_sample_size == 1


def test_an_empty_tuple_of_costs_is_refused():
    with pytest.raises(ValueError, match="f must return a scalar or a tuple of scalars"):
        lt.expect_given(jnp.zeros(3), lambda x: (), NORMAL)


def test_what_the_host_raises():
    """As by `lt.expect`."""

    def simulator(x):
        raise KeyError("no such state")

    with pytest.raises(
        lt.BlackBoxError, match=r"lt.black_box\(simulator\): the host function raised"
    ):
        lt.expect_given(jnp.zeros(3), lt.black_box(simulator), NORMAL)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("how", [{}, {"normalized": False}, {"num_chains": 2}])
def test_half_precision_is_summed_in_single(dtype, how):
    """Costs whose sum float16 does not hold, weights that bfloat16 rounds; chains raised an error of JAX's FFT."""
    draws = jnp.array([0.0, 1.0, 1.0, 0.0, 1.0, 1.0], dtype)
    log_weights = jnp.array([0.1, -0.3, 0.2, 0.05, -0.15, 0.3], dtype)
    if "num_chains" in how:
        draws, log_weights = draws.reshape(2, 3), log_weights.reshape(2, 3)

    def value(draws, log_weights, logit):
        cost = lambda x: (30_000 + 8_192 * x, 4_096 * x)
        dist = lt.Bernoulli(logit)
        return lt.expect_given(draws, cost, dist, log_weights=log_weights, has_aux=True, **how)

    @jax.value_and_grad
    def wanted(logit):
        single = jnp.float32
        return value(draws.astype(single), log_weights.astype(single), logit)[0]

    logit = jnp.asarray(0.25, dtype)
    exact, gradient = wanted(jnp.float32(0.25))
    found, aux = value(draws, log_weights, logit)
    assert found.dtype == jnp.float32 and jnp.isfinite(aux.standard_error)
    np.testing.assert_allclose(found, exact, rtol=2e-3)  # 30,000 is rounded to bfloat16
    slope = jax.grad(lambda logit: value(draws, log_weights, logit)[0])(logit)
    np.testing.assert_allclose(slope.astype(float), gradient, rtol=1e-2)


@pytest.mark.parametrize("how", [{}, {"normalized": False}, {"num_chains": 4}])
def test_standard_errors_of_large_costs(how):
    """At f = 10²⁰ x they were infinite in float32."""
    x = jax.random.normal(jax.random.key(0), (4, 25) if "num_chains" in how else (100,))

    def auxiliary(scale):
        return lt.expect_given(x, lambda x: scale * x, NORMAL, has_aux=True, **how)[1]

    large, small = auxiliary(1e20), auxiliary(1.0)
    np.testing.assert_allclose(large.standard_error / 1e20, small.standard_error, rtol=1e-4)
    np.testing.assert_allclose(large.effective_sample_size, small.effective_sample_size, rtol=1e-4)

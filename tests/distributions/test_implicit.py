"""Implicit reparameterization: Beta, Dirichlet, Student's t, Gamma and mixtures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import logtrick as lt
from logtrick.distributions._implicit import implicit_log_gamma, implicit_logit
from tests.distributions.registry import float64


def quantile_slopes(z: float, a: float, b: float) -> tuple[float, float]:
    """dz/da and dz/db of the logit at a fixed quantile, by inverting the distribution function in float64."""
    lower = special.betainc(a, b, special.expit(z))
    if lower < 0.5:
        logit = lambda a, b: special.logit(special.betaincinv(a, b, lower))
    else:
        upper = special.betainc(b, a, special.expit(-z))
        logit = lambda a, b: -special.logit(special.betaincinv(b, a, upper))
    slope = lambda f, at: (f(at * (1 + 1e-5)) - f(at * (1 - 1e-5))) / (2e-5 * at)
    return slope(lambda a: logit(a, b), a), slope(lambda b: logit(a, b), b)


def test_the_slopes_of_a_beta_variate_from_tiny_to_large_concentrations() -> None:
    rng = np.random.default_rng(0)
    grid = [
        (a, b) for a in (0.1, 0.5, 1.0, 3.0, 30.0, 1e3) for b in (0.1, 0.5, 1.0, 3.0, 30.0, 1e3)
    ]
    rows = [(np.log(rng.gamma(a)) - np.log(rng.gamma(b)), a, b) for a, b in grid for _ in range(3)]
    exact = np.array([quantile_slopes(*row) for row in rows])
    kept = np.isfinite(exact).all(1)
    assert kept.mean() > 0.9
    slopes = jax.jit(jax.vmap(jax.grad(lambda a, b, z: implicit_logit(z, a, b), (0, 1))))
    with float64():
        z, a, b = map(jnp.asarray, np.array(rows).T)
        np.testing.assert_allclose(np.array(slopes(a, b, z)).T[kept], exact[kept], rtol=1e-6)
        double = np.array(slopes(a, b, z)).T
    z, a, b = (jnp.asarray(v, jnp.float32) for v in np.array(rows).T)
    np.testing.assert_allclose(np.array(slopes(a, b, z)).T, double, rtol=1e-3)


def test_the_slopes_of_a_beta_variate_keep_their_digits_in_float32() -> None:
    """Of concentrations up to 1e6, in the tails too, where a form in x alone is off by 25 %."""
    sizes = np.array([0.02, 0.5, 20.0, 1e4, 1e6])
    a, b, u = (v.ravel() for v in np.meshgrid(sizes, sizes, [1e-3, 0.3, 0.7, 0.999]))
    z = np.log(stats.beta.ppf(u, a, b)) - np.log(stats.beta.ppf(1 - u, b, a))
    kept = np.isfinite(z)
    assert kept.mean() > 0.9
    z, a, b = (np.asarray(v, np.float32)[kept] for v in (z, a, b))
    slopes = jax.jit(jax.vmap(jax.grad(lambda a, b, z: implicit_logit(z, a, b), (0, 1))))
    single = slopes(a, b, z)
    with float64():
        double = slopes(*(jnp.asarray(v, float) for v in (a, b, z)))
    np.testing.assert_allclose(single, double, rtol=3e-4)


def test_the_slope_of_a_gamma_variate_from_tiny_to_large_concentrations() -> None:
    """d log x / da at a fixed quantile, in float32; a draw of e^−300, which float32 does not hold, among them."""
    a, u = (
        v.ravel() for v in np.meshgrid([0.02, 0.3, 4.0, 900.0, 1100.0, 1e4, 1e6], [1e-3, 0.3, 0.9])
    )
    log_x = np.log(stats.gamma.ppf(u, a)).astype("f4")
    slopes = jax.jit(jax.vmap(jax.grad(lambda a, log_x: implicit_log_gamma(log_x, a))))
    h = 1e-4 * np.sqrt(a) * np.minimum(a, 1.0)
    x = np.exp(log_x.astype(float))
    rises = (special.gammainc(a + h, x) - special.gammainc(a - h, x)) / (2 * h)
    want = -rises / stats.gamma.pdf(x, a) / x
    np.testing.assert_allclose(slopes(jnp.float32(a), log_x), want, rtol=1e-4)
    # P(X ≤ x) = xᵃ / Γ(a + 1) there
    want = (special.digamma(1.01) + 300) / 0.01
    np.testing.assert_allclose(slopes(jnp.full(1, 0.01), jnp.full(1, -300.0)), [want], rtol=1e-6)
    with pytest.raises(lt.DerivativeOrderError, match="gamma variate is right to first order"):
        jax.grad(jax.grad(lambda a: lt.Gamma(a, 1.0).sample(jax.random.key(0))))(2.0)


@pytest.mark.parametrize(
    ("name", "f", "gradient", "variance"),
    # ESTIMATORS' oracle rows beta/x/implicit and beta/log/implicit: a = 2, b = 3, with respect to a
    [
        ("x", lambda x: x, 0.12, 0.0005685887981534271),
        ("log", jnp.log, 0.42361111111111127, 0.07464920775253048),
    ],
)
def test_the_variance_of_betas_gradient_is_the_univariate_implicit_one(
    name, f, gradient, variance
) -> None:
    keys = jax.random.split(jax.random.key(0), 200_000)
    estimates = jax.jit(jax.vmap(jax.grad(lambda a, k: f(lt.Beta(a, 3.0).sample(k))), (None, 0)))(
        2.0, keys
    )
    lt.testing.assert_unbiased(estimates, gradient, resolve=0.02)
    assert abs(np.var(np.asarray(estimates, float)) / variance - 1) < 0.02


def test_dirichlets_gradient_is_unbiased_for_expected_logs_and_a_product() -> None:
    concentration = jnp.array([0.9, 1.7, 2.5])

    def f(x: jax.Array) -> jax.Array:
        return jnp.log(x) @ jnp.array([1.0, -2.0, 0.5]) + 10 * x[0] * x[1]

    def exact(a: np.ndarray) -> float:
        total = a.sum()
        logs = (special.digamma(a) - special.digamma(total)) @ np.array([1.0, -2.0, 0.5])
        return logs + 10 * a[0] * a[1] / (total * (total + 1))

    a = np.asarray(concentration, float)
    truth = [(exact(a + 1e-5 * e) - exact(a - 1e-5 * e)) / 2e-5 for e in np.eye(3)]
    keys = jax.random.split(jax.random.key(1), 100_000)
    estimates = jax.jit(jax.vmap(jax.grad(lambda a, k: f(lt.Dirichlet(a).sample(k))), (None, 0)))(
        concentration, keys
    )
    lt.testing.assert_unbiased(estimates, np.array(truth), resolve=0.05)


def test_a_dirichlet_of_two_moves_as_a_beta() -> None:
    key = jax.random.key(4)
    first = lambda a: lt.Dirichlet(jnp.stack([a, 3.0])).sample(key)[0]
    x, slope = jax.jit(jax.value_and_grad(first))(2.0)
    density = stats.beta.pdf(float(x), 2, 3)
    step = 1e-4
    exact = (
        -(stats.beta.cdf(float(x), 2 + step, 3) - stats.beta.cdf(float(x), 2 - step, 3))
        / (2 * step)
        / density
    )
    np.testing.assert_allclose(slope, exact, rtol=1e-4)


def test_the_derivative_survives_scan_and_checkpoint_and_the_second_raises() -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    one = lambda a, k: lt.Beta(a, 3.0).sample(k)

    def looped(a: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda c, k: (c + one(a, k), None), 0.0, keys)[0]

    by_hand = jax.jit(jax.vmap(jax.grad(one), (None, 0)))(2.0, keys).sum()
    for f in (looped, jax.checkpoint(looped)):
        np.testing.assert_allclose(jax.jit(jax.grad(f))(2.0), by_hand, rtol=1e-5)
        for second in (jax.grad(jax.grad(f)), jax.jacfwd(jax.grad(f)), jax.jacfwd(jax.jacfwd(f))):
            with pytest.raises(lt.DerivativeOrderError, match="right to first order only"):
                jax.make_jaxpr(second)(2.0)


def test_a_mixture_is_reparameterised_in_the_weights_and_refuses_a_second_derivative() -> None:
    """E[x²] = Σ w (m² + s²); the pathwise gradient in the logits, means and scales is unbiased."""
    logits, locs = jnp.array([0.3, -0.5]), jnp.array([-1.0, 2.0])

    def value(logits, locs, scale, key):
        return lt.Mixture(logits, jax.vmap(lt.Normal, (0, None))(locs, scale)).sample(key) ** 2

    exact = jax.grad(lambda l, m, s: jax.nn.softmax(l) @ (m**2 + s**2), (0, 1, 2))(
        logits, locs, 0.8
    )
    keys = jax.random.split(jax.random.key(2), 150_000)
    slopes = jax.jit(jax.vmap(jax.grad(value, (0, 1, 2)), (None, None, None, 0)))(
        logits, locs, 0.8, keys
    )
    lt.testing.assert_unbiased(slopes, jax.tree.map(np.asarray, exact), resolve=0.05)
    with pytest.raises(
        lt.DerivativeOrderError,
        match="Pathwise\\(\\) of a Mixture is right for first derivatives only",
    ):
        jax.make_jaxpr(jax.grad(jax.grad(value, 2), 2))(logits, locs, 0.8, keys[0])

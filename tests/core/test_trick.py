"""∇p = p ∇log p, and the checks at its entrance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import logtrick as lt
from tests.core.x64 import double_precision


def factors(params, x):
    """2,000 normal factors."""
    return jnp.sum(
        -0.5 * ((x - params["mu"]) / params["sigma"]) ** 2
        - jnp.log(params["sigma"])
        - 0.5 * jnp.log(2 * jnp.pi)
    )


def test_score_against_the_formula():
    got = lt.score(factors, {"mu": 1.0, "sigma": 2.0}, jnp.array([3.0, 0.0]))
    assert got["mu"] == pytest.approx((2 - 1) / 4)
    assert got["sigma"] == pytest.approx((4 + 1) / 8 - 2 / 2)


@pytest.mark.parametrize("sigma", [1e-3, 1.0, 30.0])
def test_scaled_pair_of_2000_factors(sigma):
    """The density over- (sigma 1e-3: log p = 11,900) or underflows; ∇p̂ / p̂ is the score to 1e-12."""
    with double_precision():
        x = np.random.default_rng(0).normal(1.0, sigma, 2000)
        params = {"mu": jnp.float64(0.9999), "sigma": jnp.float64(sigma * 1.1)}
        log_scale, p, grad = lt.density_and_grad(factors, params, jnp.asarray(x), scaled=True)
        mu, s = 0.9999, sigma * 1.1
        exact = {"mu": np.sum((x - mu) / s**2), "sigma": np.sum((x - mu) ** 2 / s**3 - 1 / s)}
        for name, value in exact.items():
            assert float(grad[name] / p) == pytest.approx(value, rel=1e-12)
        log_density = np.sum(stats.norm(mu, s).logpdf(x))
        assert float(log_scale + jnp.log(p)) == pytest.approx(log_density, rel=1e-12)
        direct = jax.grad(
            lambda q: jnp.prod(jnp.exp(-0.5 * ((x - q) / s) ** 2) / s / np.sqrt(2 * np.pi))
        )(params["mu"])
        assert (
            not np.isfinite(direct) or direct == 0 or sigma == 1.0
        )  # what differentiating the product gives


def test_plain_pair():
    with double_precision():
        params = {"mu": jnp.float64(0.3), "sigma": jnp.float64(1.2)}
        x = jnp.array([0.5, -1.0, 2.0])
        p, grad = lt.density_and_grad(factors, params, x)
        want = jax.value_and_grad(
            lambda q: jnp.prod(jax.scipy.stats.norm.pdf(x, q["mu"], q["sigma"]))
        )(params)
        assert p == pytest.approx(float(want[0]), rel=1e-12)
        assert all(float(grad[k]) == pytest.approx(float(want[1][k]), rel=1e-12) for k in grad)


def test_gradient_in_range_where_the_density_is_not():
    """p = e^{−110} underflows to 0 in float32, ∂p = e^{−110} · 1e10 does not."""
    p, grad = lt.density_and_grad(lambda t, x: 1e10 * (t - 1.0) - 110.0, 1.0, 0.0)
    assert p == 0.0 or p < 1e-45
    assert grad == pytest.approx(np.exp(-110 + np.log(1e10)), rel=1e-4)


def test_outside_the_support():
    log_scale, p, grad = lt.density_and_grad(
        lambda t, x: jnp.where(x > 0, -t * x, -jnp.inf), 1.0, -1.0, scaled=True
    )
    assert (log_scale, p, grad) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("call", [lt.score, lt.density_and_grad])
class TestEntrance:
    def test_a_vector_log_prob(self, call):
        """FAULTS 1: forgot the sum."""
        with pytest.raises(
            ValueError,
            match=r"log_prob must be scalar per draw, got \(4,\); sum the event dimensions",
        ):
            call(lambda p, x: -((x - p) ** 2), 1.0, jnp.zeros(4))

    def test_integer_leaf(self, call):
        """FAULTS 35."""
        with pytest.raises(TypeError, match=r"params\['n'\] is int32, which has no gradient"):
            call(lambda p, x: p["a"] * x, {"a": 1.0, "n": jnp.int32(3)}, 1.0)

    def test_bool_and_string_leaves(self, call):
        """FAULTS 36."""
        with pytest.raises(TypeError, match=r"params\[1\] is bool"):
            call(lambda p, x: p[0] * x, [1.0, True], 1.0)
        with pytest.raises(TypeError, match=r"params\[1\] is a str"):
            call(lambda p, x: p[0] * x, [1.0, "a"], 1.0)

    def test_none_leaf_is_legal(self, call):
        call(lambda p, x: p[0] * x, [1.0, None], 1.0)

    def test_complex(self, call):
        """FAULTS 37."""
        with pytest.raises(TypeError, match="complex parameters are not supported"):
            call(lambda p, x: (p * x).real, 1.0 + 2j, 1.0)
        with pytest.raises(TypeError, match="log_prob must be real"):
            call(lambda p, x: p * x * 1j, 1.0, 1.0)

    def test_empty(self, call):
        """FAULTS 39."""
        with pytest.raises(ValueError, match="no trainable parameters"):
            call(lambda p, x: x, {}, 1.0)

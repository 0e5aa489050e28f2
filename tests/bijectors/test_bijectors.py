"""Laws of the bijectors: round trip, log-determinant against the Jacobian, tails in float32, supports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick import bijectors as b, supports
from tests.distributions.registry import float64

VECTOR = np.array([0.3, -1.2, 2.0])
SIX = np.array([0.3, -1.2, 2.0, 0.5, -0.4, 0.9])
# name -> (bijector, x, the free entries of y)
CASES = {
    "identity": (b.Identity, VECTOR, None),
    "exp": (b.Exp, VECTOR, None),
    "softplus": (b.Softplus, VECTOR, None),
    "sigmoid": (b.Sigmoid, VECTOR, None),
    "interval": (lambda: b.Interval(-2.0, 5.0), VECTOR, None),
    "interval by coordinate": (
        lambda: b.Interval(np.array([-2.0, 0, 1]), np.array([5.0, 1, 4])),
        VECTOR,
        None,
    ),
    "affine": (lambda: b.Affine(1.0, -3.0), VECTOR, None),
    "ordered": (b.Ordered, VECTOR, None),
    "ordered rows": (b.Ordered, SIX.reshape(2, 3), None),
    "simplex": (b.StickBreaking, VECTOR, lambda y: y[..., :-1]),
    "simplex rows": (b.StickBreaking, SIX.reshape(2, 3), lambda y: y[..., :-1]),
    "covariance": (b.CholeskyCovariance, SIX, lambda y: y[np.tril_indices(3)]),
    "correlation": (b.CholeskyCorrelation, SIX, lambda y: y[np.tril_indices(4, -1)]),
    "permute": (lambda: b.Permute((2, 0, 1)), VECTOR, None),
    "chain": (lambda: b.Chain((b.Affine(0.5, 2.0), b.Sigmoid(), b.Affine(1.0, 4.0))), VECTOR, None),
    "invert": (lambda: b.Invert(b.Exp()), np.exp(VECTOR), None),
}


@pytest.mark.parametrize("name", CASES)
def test_round_trip_shapes_image_and_log_det_against_the_jacobian(name: str) -> None:
    make, x, free = CASES[name]
    with float64():
        bijector, x = make(), jnp.asarray(x)
        entries = free or (lambda y: y)
        free_of = lambda v: entries(bijector.forward(v.reshape(x.shape))).ravel()

        @jax.jit
        def all_of(x: jax.Array) -> tuple:
            y = bijector.forward(x)
            back, inside = bijector.inverse(y), bijector.inside(y)
            return y, back, inside, bijector.log_det(x), jax.jacfwd(free_of)(x.ravel())

        y, back, inside, log_det, jacobian = all_of(x)
        assert y.shape == bijector.forward_shape(x.shape)
        assert bijector.inverse_shape(y.shape) == x.shape
        np.testing.assert_allclose(back, x, rtol=1e-12, atol=1e-12)
        assert bool(inside)
        assert jacobian.shape == (x.size, x.size)
        np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=1e-12, atol=1e-12)
        assert log_det.shape == ()


@pytest.mark.parametrize("name", CASES)
def test_a_bijector_is_a_pytree_keeps_the_dtype_and_runs_under_jit_and_vmap(name: str) -> None:
    make, x, _ = CASES[name]
    bijector, x = make(), jnp.asarray(x, jnp.float32)
    again = jax.tree.unflatten(*reversed(jax.tree.flatten(bijector)))
    eager = bijector.forward(x)
    assert eager.dtype == jnp.float32 and bijector.log_det(x).dtype == jnp.float32
    both = jax.jit(lambda t, x: jax.vmap(t.forward)(jnp.stack([x, x])))(again, x)
    np.testing.assert_allclose(both, jnp.stack([eager, eager]), rtol=2e-6)


@pytest.mark.parametrize("size", [80.0, -80.0, 30.0, -30.0])
def test_float32_tails(size: float) -> None:
    """In float32 the tails are those of float64 to a few ulp, where float32 can hold them."""
    x = np.array([size])
    for name in ("exp", "softplus", "sigmoid", "interval"):
        make = CASES[name][0]
        with float64():
            exact = make().forward(jnp.asarray(x)), make().log_det(jnp.asarray(x))
        single = jnp.asarray(x, jnp.float32)
        np.testing.assert_allclose(make().forward(single), exact[0], rtol=1e-5, atol=1e-37)
        np.testing.assert_allclose(make().log_det(single), exact[1], rtol=1e-6)
    if abs(size) < 80:  # a logit of −30: 1e-13, held by the fraction but not by 1 − it
        y = b.Sigmoid().forward(jnp.float32(-abs(size)))
        np.testing.assert_allclose(b.Sigmoid().inverse(y), -abs(size), rtol=1e-6)
        y = b.Softplus().forward(jnp.float32(size))
        np.testing.assert_allclose(b.Softplus().inverse(y), size, rtol=1e-6)


def test_the_simplex_and_the_correlations_keep_their_constraint_in_float32() -> None:
    x = 20 * jax.random.normal(jax.random.key(0), (50, 6))
    both = lambda t: jax.jit(jax.vmap(lambda x: (t.forward(x), *jax.value_and_grad(t.log_det)(x))))
    y, *of_the_simplex = map(np.asarray, both(b.StickBreaking())(x))
    np.testing.assert_allclose(y.sum(-1), 1.0, rtol=1e-6)
    factors, *of_correlations = map(np.asarray, both(b.CholeskyCorrelation())(x))
    np.testing.assert_allclose((factors**2).sum(-1), 1.0, rtol=2e-6)
    for values in (*of_the_simplex, *of_correlations):
        assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("bijector", "outside"),
    [
        (b.Exp(), [1.0, -1.0]),
        (b.Exp(), [1.0, jnp.nan]),
        (b.Softplus(), [1.0, 0.0]),
        (b.Sigmoid(), [0.5, 1.0]),
        (b.Interval(-2.0, 5.0), [0.0, 5.5]),
        (b.Ordered(), [1.0, 1.0]),
        (b.StickBreaking(), [0.5, 0.6]),
        (b.StickBreaking(), [-0.5, 1.5]),
        (b.CholeskyCovariance(), [[1.0, 0.0], [0.0, -1.0]]),
        (b.CholeskyCovariance(), [[1.0, 0.5], [0.0, 1.0]]),
        (b.CholeskyCorrelation(), [[1.0, 0.0], [0.5, 0.5]]),
        (b.Chain((b.Exp(), b.Affine(1.0, 1.0))), [0.5, 2.0]),
    ],
)
def test_outside_the_image(bijector: b.Bijector, outside: list[float]) -> None:
    assert not bool(bijector.inside(jnp.array(outside)))


@pytest.mark.parametrize(
    ("support", "shape"),
    [
        (supports.Real(), (3,)),
        (supports.Positive(), (3,)),
        (supports.UnitInterval(), (3,)),
        (supports.Interval(-1.0, 2.0), (3,)),
        (supports.Simplex(), (3,)),
        (supports.Ordered(), (3,)),
        (supports.CovarianceCholesky(), (3, 3)),
        (supports.CorrelationCholesky(), (3, 3)),
    ],
)
def test_the_bijector_to_a_support_has_it_as_its_image(
    support: supports.Support, shape: tuple[int, ...]
) -> None:
    bijector = b.bijector_to(support)
    assert type(bijector.image(supports.Real())) is type(support)
    x = jnp.linspace(-1.0, 1.5, int(np.prod(bijector.inverse_shape(shape))))
    y = bijector.forward(x)
    assert y.shape == shape and bool(bijector.inside(y))


def test_whose_image_moves() -> None:
    real, positive = supports.Real(), supports.Positive()
    assert not b.Affine(0.0, 1.0).moves(real) and b.Affine(0.0, 1.0).moves(positive)
    assert b.Interval(0.0, 1.0).moves(real)
    assert not b.Chain((b.Affine(0.0, 1.0), b.Exp())).moves(real)
    assert b.Chain((b.Exp(), b.Affine(0.0, 1.0))).moves(real)


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"bijector_to\(support=…\) needs one of .*Boolean\(\), which is discrete"
    ):
        b.bijector_to(lt.Bernoulli(0.0).support)
    with pytest.raises(ValueError, match=r"Unknown\(\), which is not declared"):
        b.bijector_to(supports.Unknown())
    for low, high in ((1.0, 0.0), (0.0, np.inf)):
        with pytest.raises(
            ValueError, match=r"Interval\(high - low=…\) needs high above low, by a"
        ):
            b.Interval(low, high)
    with pytest.raises(
        ValueError, match=r"Affine\(scale=…\) needs finite numbers that are not 0; got 0"
    ):
        b.Affine(1.0, 0.0)
    with pytest.raises(
        ValueError, match=r"Permute\(order=…\) needs a permutation of 0 … 1; got \(0, 0\)"
    ):
        b.Permute((0, 0))
    with pytest.raises(TypeError, match=r"Chain\(parts=…\) needs bijectors; got float"):
        b.Chain((b.Exp(), 1.0))
    with pytest.raises(TypeError, match=r"Invert\(base=…\) needs a bijector; got float"):
        b.Invert(1.0)
    with pytest.raises(
        ValueError,
        match=r"CholeskyCovariance.forward\(x=…\) needs a vector of D\(D \+ 1\)/2 entries",
    ):
        b.CholeskyCovariance().forward(jnp.zeros(4))
    assert np.isnan(jax.jit(lambda s: b.Affine(0.0, s).forward(1.0))(0.0))
    assert np.isnan(jax.jit(lambda h: b.Interval(0.0, h).forward(1.0))(-1.0))

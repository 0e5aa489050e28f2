"""Estimators that differentiate the rest of the program themselves, before a site that is right to first order only.

The later site sums over its one bit (`LocalExpectation`), so that it adds no noise; everything is enumerated or integrated.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import logtrick as lt
from logtrick._core.meter import evaluations_counted
from tests.estimators.exact import cells, product
from tests.estimators.test_double_cv import runs_noise
from tests.programs.exact import estimate

KEY = jax.random.key(5)
PARAMS = np.array([0.4, -0.8, 0.3])
heads = lambda w, u: jnp.tanh(w @ u)
W = 0.3 * np.eye(2)


def program(p, dist_of, first, last=None):
    """The later bit depends on the draw, and the cost on both and on every parameter."""
    x = yield lt.sample(dist_of(p), first)
    b = yield lt.sample(lt.Bernoulli(p[2] + 1.5 * jnp.sum(x)), last or lt.LocalExpectation())
    yield lt.cost((b + p[2] - 0.3 * jnp.sum(x)) ** 2 + p[0] * b * jnp.sum(x))


bits = lambda p: lt.Bernoulli(p[:2])
normal = lambda p: lt.Normal(p[0], 0.3 + 0.2 * p[1] ** 2)


def expected(dist_of, first, noise, weights, runs):
    """Mean of value and gradient over all noise of the first site; the later one has none that matters."""

    def one(p, noise):
        later = jnp.full((runs,), 0.5)
        return estimate(lambda: program(p, dist_of, first), [noise, later], runs)

    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(one), (None, 0)))(
        PARAMS, jax.tree.map(jnp.asarray, noise)
    )
    return weights @ np.asarray(values), weights @ np.asarray(gradients)


def truth(dist_of):
    value = lambda p: lt.expect_program(
        KEY, program, p, dist_of, lt.Enumerate(), lt.Enumerate(), num_samples=1
    )
    return jax.value_and_grad(value)(PARAMS)


OF_BITS = {
    "DoubleCV": lt.DoubleCV(0.3),
    "DoubleCV, learned": lt.DoubleCV(0.3, learn=True),
    "RODEO": lt.RODEO(heads, W),
    "MuProp": lt.ScoreFunction(lt.MuProp()),
    "delta method": lt.ScoreFunction(lt.DeltaMethod(1)),
}


FEW = {"DoubleCV", "RODEO", "MuProp"}


@pytest.mark.parametrize(
    "name", [n if n in FEW else pytest.param(n, marks=pytest.mark.full) for n in OF_BITS]
)
def test_over_all_draws(x64, name):
    noise, weights = runs_noise(np.asarray(PARAMS[:2]), 2)
    if isinstance(OF_BITS[name], lt.ScoreFunction):
        noise = 1 - noise  # its bits are u < p, the others' u > 1 − p
    value, gradient = expected(bits, OF_BITS[name], noise, weights, 2)
    want_value, want = truth(bits)
    np.testing.assert_allclose(value, want_value, atol=1e-10)
    np.testing.assert_allclose(gradient, want, atol=1e-10)


@pytest.mark.parametrize("learn", [pytest.param(False, marks=pytest.mark.full), True])
def test_rebar_by_quadrature(x64, learn):
    points, weights = product(cells(expit(-np.asarray(PARAMS[0])), 40), cells([], 40))
    value, gradient = expected(
        lambda p: lt.Bernoulli(p[0]), lt.REBAR(0.7, 0.8, learn=learn), points[:, None], weights, 1
    )
    want_value, want = truth(lambda p: lt.Bernoulli(p[0]))
    np.testing.assert_allclose(value, want_value, atol=1e-9)
    np.testing.assert_allclose(gradient, want, atol=1e-8)


@pytest.mark.parametrize("learn", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_combination_by_quadrature(x64, learn):
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    i, j = np.indices((24, 24)).reshape(2, -1)
    rule = (weights[i] * weights[j]) / weights.sum() ** 2
    both = lt.Combination(
        (lt.Pathwise(), lt.ScoreFunction(lt.NoBaseline())), (0.6, 0.4), learn=learn
    )
    value, gradient = expected(normal, both, (nodes[i][:, None], nodes[j][:, None]), rule, 1)

    def exact(p):
        x = p[0] + (0.3 + 0.2 * p[1] ** 2) * nodes
        q, direct = jax.nn.sigmoid(p[2] + 1.5 * x), p[2] - 0.3 * x
        return weights @ (q * ((1 + direct) ** 2 + p[0] * x) + (1 - q) * direct**2) / weights.sum()

    np.testing.assert_allclose(value, exact(PARAMS), atol=1e-10)
    np.testing.assert_allclose(gradient, jax.grad(exact)(PARAMS), atol=1e-7)


def learned(first, dist_of, p=PARAMS):
    """The adaptive loss of a call."""
    return lt.expect_program(KEY, program, p, dist_of, first, num_samples=2, has_aux=True)[
        1
    ].adaptive_loss


@pytest.mark.parametrize(
    "make, dist_of, at",
    [
        pytest.param(lambda w: lt.DoubleCV(w, learn=True), bits, 0.3, marks=pytest.mark.full),
        pytest.param(
            lambda w: lt.RODEO(lambda w, u: heads(w * W, u), w), bits, 1.2, marks=pytest.mark.full
        ),
        (lambda w: lt.REBAR(0.7, w, learn=True), bits, 0.8),
        (
            lambda w: lt.Combination((lt.Pathwise(), lt.ScoreFunction()), (w, 1 - w), learn=True),
            normal,
            0.4,
        ),
    ],
    ids=["DoubleCV", "RODEO", "REBAR", "Combination"],
)
def test_what_learns_still_learns(x64, make, dist_of, at):
    """By differences; and nothing of it reaches the model."""
    loss = jax.jit(lambda w, p: learned(make(w), dist_of, p))
    slope, model = jax.jit(jax.grad(lambda w, p: learned(make(w), dist_of, p), (0, 1)))(at, PARAMS)
    numeric = (loss(at + 1e-5, PARAMS) - loss(at - 1e-5, PARAMS)) / 2e-5
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)
    assert abs(slope) > 1e-3 and np.all(model == 0)


def test_a_trained_weight_and_model_in_the_loop():
    """`lt.minimize` trains model and weights together before a first-order site; it was refused."""
    import optax

    def objective(params, key):
        first = lt.Combination((lt.Pathwise(), lt.ScoreFunction()), tuple(params["w"]), learn=True)
        return lt.expect_program(
            key, program, params["p"], normal, first, num_samples=4, has_aux=True
        )

    start_at = {"p": jnp.asarray(PARAMS), "w": jnp.array([0.5, 0.5])}
    fit = lt.minimize(KEY, objective, start_at, optax.adam(0.02), num_steps=60)
    assert fit.history.value[-10:].mean() < fit.history.value[:10].mean()
    assert np.all(np.abs(fit.params["w"] - 0.5) > 2e-3)


def test_one_evaluation_a_point():
    """Also where the derivative is taken: once on the host for every point counted."""
    seen = []

    def counted(p, first):
        x = yield lt.sample(normal(p) if isinstance(first, lt.Combination) else bits(p), first)
        b = yield lt.sample(lt.Bernoulli(p[2] + jnp.sum(x)), lt.DisARM())
        jax.debug.callback(lambda _: seen.append(1), b)
        yield lt.cost(b * jnp.sum(x))

    combined = lt.Combination((lt.Pathwise(), lt.ScoreFunction()), (0.5, 0.5), learn=True)
    for first in (
        lt.DoubleCV(),
        lt.RODEO(heads, W),
        lt.REBAR(learn=True),
        lt.ScoreFunction(lt.MuProp()),
        combined,
    ):
        seen.clear()

        @jax.jit
        def both(p, first=first):
            value, aux = lt.expect_program(KEY, counted, p, first, num_samples=2, has_aux=True)
            return value + aux.adaptive_loss

        with evaluations_counted() as counts:
            jax.block_until_ready(jax.grad(both)(PARAMS))
        jax.effects_barrier()
        points = first.count_evaluations(bits(PARAMS)) * 2 * 2
        assert (counts[0], len(seen)) == (points, points), type(first).__name__


def test_a_temperature_that_learns_is_refused_and_why():
    loss = lambda t: learned(lt.REBAR(t, 0.8, learn=True), bits)
    with pytest.raises(
        lt.DerivativeOrderError,
        match=r"REBAR\(learn=True\): the loss of the temperature needs the second",
    ):
        jax.eval_shape(jax.grad(loss), 0.7)
    assert jax.jit(jax.grad(lambda t: loss(jax.lax.stop_gradient(t))))(0.7) == 0


def test_a_temperature_learns_where_the_later_site_allows_it(x64):
    def loss(t):
        first, last = lt.REBAR(t, 0.8, learn=True), lt.Enumerate()
        return lt.expect_program(
            KEY, program, PARAMS, bits, first, last, num_samples=4, has_aux=True
        )[1].adaptive_loss

    value = jax.jit(loss)
    numeric = (value(0.7 + 1e-5) - value(0.7 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(0.7), numeric, rtol=1e-6)


def test_a_second_order_expansion_is_refused_and_why():
    value = lambda p: lt.expect_program(
        KEY, program, p, normal, lt.ScoreFunction(lt.DeltaMethod(2)), num_samples=2
    )
    message = (
        r"ScoreFunction\(DeltaMethod\(order=2\)\) takes the second derivative of the rest of the program, and a later site "
        r"has none: LocalExpectation is right for first derivatives only. Use DeltaMethod\(order=1\) or LeaveOneOut\(\)"
    )
    with pytest.raises(lt.DerivativeOrderError, match=message):
        jax.eval_shape(jax.grad(value), PARAMS)


def test_infinite_derivatives_leave_the_value_alone():
    """√x at a draw of 0: the derivative is infinite, the value is not."""
    value = lambda l: lt.expect(
        KEY, lambda x: jnp.sum(jnp.sqrt(x)), lt.Bernoulli(l), estimator=lt.DoubleCV()
    )
    assert np.isfinite(value(jnp.zeros(3)))


def test_second_derivatives_through_learned_weights_are_refused():
    both = lt.Combination((lt.Pathwise(), lt.ScoreFunction()), (0.5, 0.5), learn=True)
    assert both.max_order == 1
    value = lambda m: lt.expect(
        KEY, lambda x: x**2, lt.Normal(m, 1.0), estimator=both, has_aux=True
    )[0]
    with pytest.raises(
        lt.DerivativeOrderError,
        match=r"Combination is right for first derivatives only",
    ):
        jax.hessian(value)(0.3)


@pytest.mark.full
def test_chunked_is_whole():
    """In chunks, under a checkpoint: the same numbers."""

    def gradient(chunk):
        first = lt.REBAR(0.7, 0.8, learn=True)
        value = lambda p: lt.expect_program(
            KEY, program, p, bits, first, num_samples=4, chunk_size=chunk, has_aux=True
        )
        return jax.jit(jax.grad(lambda p: value(p)[0]))(PARAMS)

    np.testing.assert_allclose(gradient(2), gradient(None), rtol=2e-5)

"""What the surrogates of RELAX, LAX and RODEO close over: held constant by the user, or refused, never lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.meter import evaluations_counted

KEY = jax.random.key(8)
COST = lambda x: (jnp.sum(x) - 0.3) ** 3
KINDS = {
    "RELAX": (lambda fn, w: lt.RELAX(lambda w, y: jnp.sum(fn(w, y)), w), lambda t: lt.Bernoulli(t)),
    "LAX": (lambda fn, w: lt.LAX(lambda w, x: jnp.sum(fn(w, x)), w), lambda t: lt.Normal(t, 1.0)),
    "RODEO": (lambda fn, w: lt.RODEO(fn, w), lambda t: lt.Bernoulli(t)),
}


def both(name, context, theta, w, closed):
    """Value and adaptive loss, with a surrogate that closes over `context(closed)`."""
    make, dist_of = KINDS[name]
    held = context(closed)
    estimator = make(lambda w, y: w * jnp.tanh(held * y), w)
    value, aux = lt.expect(
        KEY, COST, dist_of(theta), estimator=estimator, num_samples=4, has_aux=True
    )
    return value + aux.adaptive_loss


@pytest.mark.parametrize("name", KINDS)
def test_what_is_closed_over_and_differentiated_is_refused(name):
    """A parameter of the model would be moved by the surrogate's loss; one of the surrogate would never learn."""
    theta = jnp.array([0.4, -0.2])
    for how in (
        jax.grad(both, argnums=4),
        jax.jit(jax.grad(both, argnums=4), static_argnums=(0, 1)),
    ):
        with pytest.raises(
            TypeError,
            match=rf"{name}\(fn=…\) closes over an array that is differentiated. Pass what the",
        ):
            how(name, lambda c: c, theta, 0.5, 1.3)
    with pytest.raises(
        TypeError, match=rf"{name}\(fn=…\) closes over an array that is differentiated"
    ):
        jax.grad(lambda t: both(name, jnp.sum, t, 0.5, t))(theta)  # the model's own parameters


@pytest.mark.parametrize("name", KINDS)
def test_a_context_that_is_held_changes_nothing_but_the_surrogate(name):
    """The same numbers as with the context as a constant, and no gradient to it; traced and not differentiated is legal."""
    theta = jnp.array([0.4, -0.2])
    run = jax.jit(jax.value_and_grad(both, argnums=(2, 3, 4)), static_argnums=(0, 1))
    value, (model, surrogate, context) = run(name, jax.lax.stop_gradient, theta, 0.5, 1.3)
    constant, (same, slope) = jax.jit(
        jax.value_and_grad(lambda t, w: both(name, lambda _: 1.3, t, w, None), argnums=(0, 1))
    )(theta, 0.5)
    np.testing.assert_allclose([value, *model, surrogate], [constant, *same, slope], rtol=1e-5)
    assert context == 0 and surrogate != 0
    traced = jax.jit(jax.grad(both, argnums=2), static_argnums=(0, 1))(
        name, lambda c: c, theta, 0.5, 1.3
    )
    np.testing.assert_allclose(traced, model, rtol=1e-5)


@pytest.mark.parametrize("name", ["RELAX", "RODEO"])
def test_behind_a_site_that_differentiates_the_rest(name):
    """DoubleCV linearizes everything that the later sites close over; what the user does not differentiate stays legal."""
    make, _ = KINDS[name]

    def value(t, context):
        def program():
            x = yield lt.sample(lt.Bernoulli(t[0]), lt.DoubleCV())
            y = yield lt.sample(
                lt.Bernoulli(t[1:] + x), make(lambda w, y: w * jnp.tanh(context * y), 0.5)
            )
            yield lt.cost(x * COST(y))

        return lt.expect_program(KEY, program, num_samples=4, has_aux=True)[0]

    t = jnp.array([0.3, 0.4, -0.2])
    assert np.all(jax.jit(jax.grad(value))(t, 1.3) != 0)
    with pytest.raises(
        TypeError, match=rf"{name}\(fn=…\) closes over an array that is differentiated"
    ):
        jax.jit(jax.grad(value, 1))(t, 1.3)


def test_one_evaluation_of_f():
    """LAX evaluates f once a draw, also where its derivative is taken."""
    seen = []

    def cost(x):
        jax.debug.callback(lambda _: seen.append(1), x)
        return jnp.where(x > 0, 1.0, 0.0)

    def value(mu):
        estimator = lt.LAX(lambda w, x: w * x, 0.3)
        value, aux = lt.expect(
            KEY, cost, lt.Normal(mu, 1.0), estimator=estimator, num_samples=5, has_aux=True
        )
        return value + aux.adaptive_loss

    with evaluations_counted() as counts:
        jax.block_until_ready(jax.jit(jax.grad(value))(0.2))
    jax.effects_barrier()
    assert (len(seen), counts) == (5, [5])

"""Baselines that learn: what they read, what moves them, and what does not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt

KEY = jax.random.key(3)
COST = lambda x: (x - 0.45) ** 2 + 7.0


def call(estimator, logit=0.2, key=KEY, num_samples=4, **kwargs):
    return lt.expect(
        key,
        COST,
        lt.Bernoulli(logit),
        estimator=estimator,
        num_samples=num_samples,
        has_aux=True,
        **kwargs,
    )


@jax.jit
def gradient(estimator, key, logit=0.2):
    return jax.grad(lambda logit: call(estimator, logit, key, 1)[0])(logit)


def test_moving_average_reads_the_old_value():
    """One draw a call: mixing this call's cost in first would give 0 in the first call, and decay · g later."""
    baseline = lt.MovingAverage(0.9)
    for step in range(3):
        key = jax.random.fold_in(KEY, step)
        b = baseline.average / baseline.weight if step else 0.0
        want = gradient(lt.ScoreFunction(lt.ConstantBaseline(jnp.asarray(b))), key)
        np.testing.assert_allclose(gradient(lt.ScoreFunction(baseline), key), want, rtol=1e-5)
        assert abs(want) > 1e-3
        baseline = call(lt.ScoreFunction(baseline), key=key, num_samples=1)[1].estimator.baseline


def test_moving_average_of_a_constant_is_the_constant():
    estimator = lt.ScoreFunction(lt.MovingAverage(0.9))
    for step in range(4):
        _, aux = lt.expect(
            jax.random.key(step),
            lambda x: 1.0,
            lt.Bernoulli(0.0),
            estimator=estimator,
            num_samples=3,
            has_aux=True,
        )
        estimator = aux.estimator
        np.testing.assert_allclose(estimator.baseline.value(None, None), 1.0, rtol=1e-6)
    np.testing.assert_allclose(estimator.baseline.weight, 1 - 0.9**4, rtol=1e-6)


def test_moving_average_advances_by_the_mean_whatever_the_chunks():
    whole, chunked = (
        call(lt.ScoreFunction(lt.MovingAverage(0.5)), num_samples=10, chunk_size=c)[1]
        for c in (None, 4)
    )
    np.testing.assert_allclose(
        whole.estimator.baseline.average, 0.5 * whole.costs.mean(), rtol=1e-6
    )
    np.testing.assert_allclose(
        chunked.estimator.baseline.average, whole.estimator.baseline.average, rtol=1e-6
    )
    assert whole.adaptive_loss == 0


def test_moving_average_is_not_poisoned():
    old = lt.MovingAverage(0.5, average=2.0, weight=0.5)
    value, aux = lt.expect(
        KEY,
        lambda x: jnp.log(x - 2.0),
        lt.Bernoulli(0.0),
        estimator=lt.ScoreFunction(old),
        num_samples=2,
        has_aux=True,
    )
    assert jnp.isnan(value)
    assert (aux.estimator.baseline.average, aux.estimator.baseline.weight) == (2.0, 0.5)


def test_moving_average_of_whole_numbers_moves():
    """Kept as integers, 3 stayed 3 whatever the costs were."""
    old = lt.MovingAverage(0.5, average=3, weight=1)
    new = old.advance(jnp.float32(4.0))
    assert (new.average, new.weight) == (3.5, 1.0)
    with pytest.raises(TypeError, match=r"MovingAverage\(average=…\) needs a number; got str 'x'"):
        lt.MovingAverage(average="x")


def test_a_baseline_is_a_number_for_each_sample():
    constant = lt.ScoreFunction(lt.ConstantBaseline(jnp.arange(3.0)))
    value = lambda estimator: lt.expect(
        KEY, COST, lt.Bernoulli(0.2), estimator=estimator, num_samples=2
    )
    with pytest.raises(
        ValueError, match=r"ConstantBaseline: .* must be a scalar; got shape \(3,\)"
    ):
        value(constant)
    assert jax.vmap(value)(constant).shape == (3,)  # stacked for vmap they are legal


def test_moving_average_keeps_dtype_and_structure():
    old = lt.ScoreFunction(lt.MovingAverage(0.9))
    new = jax.eval_shape(lambda e: call(e)[1].estimator, old)
    assert jax.tree.structure(new) == jax.tree.structure(old)
    assert [x.dtype for x in jax.tree.leaves(new)] == [x.dtype for x in jax.tree.leaves(old)]


X = np.array([1.0, -2.0], np.float32)


def learned_loss(params, key):
    """A model whose hidden number feeds the baseline, too."""
    hidden = jnp.tanh(params["w"] @ X)
    estimator = lt.ScoreFunction(
        lt.LearnedBaseline(lambda b: b["slope"] * hidden + b["shift"], params["b"])
    )
    return lt.expect(
        key, COST, lt.Bernoulli(hidden), estimator=estimator, num_samples=8, has_aux=True
    )


PARAMS = {"w": jnp.array([0.3, 0.1]), "b": {"slope": jnp.array(0.5), "shift": jnp.array(0.2)}}


def test_adaptive_loss_reaches_only_the_baseline_and_the_value_only_the_model():
    of_loss = jax.grad(lambda p: learned_loss(p, KEY)[1].adaptive_loss)(PARAMS)
    assert (
        np.all(of_loss["w"] == 0)
        and abs(of_loss["b"]["shift"]) > 1
        and abs(of_loss["b"]["slope"]) > 0.01
    )
    of_value = jax.grad(lambda p: learned_loss(p, KEY)[0])(PARAMS)
    assert np.all(of_value["w"] != 0) and of_value["b"] == {"slope": 0, "shift": 0}
    _, aux = learned_loss(PARAMS, KEY)
    b = 0.5 * jnp.tanh(0.1) + 0.2
    np.testing.assert_allclose(aux.adaptive_loss, jnp.mean((aux.costs - b) ** 2), rtol=1e-6)


def test_one_gradient_and_one_step_train_both():
    """By hand: one jax.grad of value + adaptive loss, one optax step; b goes to E f, the model downhill."""

    def loss(params, key):
        value, aux = learned_loss(params, key)
        return value + aux.adaptive_loss, value

    optimizer = optax.adam(0.05)

    @jax.jit
    def step(carry, key):
        params, state = carry
        gradient, value = jax.grad(loss, has_aux=True)(params, key)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(KEY, 400)
    (params, _), values = jax.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), keys)
    b = params["b"]["slope"] * jnp.tanh(params["w"] @ X) + params["b"]["shift"]
    np.testing.assert_allclose(b, values[-50:].mean(), atol=0.05)
    assert params["w"] @ X < -0.5  # E f grows with the logit


@pytest.mark.parametrize(("fit", "sign"), [(lt.minimize, 1), (lt.maximize, -1)])
def test_in_the_training_loop(fit, sign):
    """Through lt.minimize and lt.maximize: the baseline learns downhill in both, the statistics by their rule."""
    result = fit(KEY, learned_loss, PARAMS, optax.adam(0.05), num_steps=1600)
    hidden = jnp.tanh(result.params["w"] @ X)
    b = result.params["b"]["slope"] * hidden + result.params["b"]["shift"]
    np.testing.assert_allclose(b, result.history.value[-50:].mean(), atol=0.06)
    assert sign * hidden < 0.1

    def objective(params, key):
        return call(params["estimator"], params["logit"], key)

    start = {"logit": jnp.array(0.0), "estimator": lt.ScoreFunction(lt.MovingAverage(0.8))}
    result = fit(KEY, objective, start, optax.adamw(0.1, weight_decay=0.5), num_steps=5)
    want = sum(0.2 * 0.8 ** (4 - i) * v for i, v in enumerate(result.history.value))
    np.testing.assert_allclose(result.params["estimator"].baseline.average, want, rtol=1e-5)


def test_a_baseline_that_would_never_learn_is_refused():
    for baseline in (lt.MovingAverage(), lt.LearnedBaseline(lambda b: b, 0.0)):
        with pytest.raises(
            ValueError,
            match="the estimator of site 0 learns, and without has_aux=True it never would",
        ):
            lt.expect(KEY, COST, lt.Bernoulli(0.0), estimator=lt.ScoreFunction(baseline))


@pytest.mark.parametrize("decay", [1.0, -0.1, "x"])
def test_moving_average_refuses_a_wrong_decay(decay):
    with pytest.raises(
        ValueError, match=r"MovingAverage\(decay=…\) needs a static number in \[0, 1\)"
    ):
        lt.MovingAverage(decay)


def test_learned_baseline_refuses():
    with pytest.raises(TypeError, match=r"LearnedBaseline\(fn=…\) needs a function"):
        lt.LearnedBaseline(3.0, 1.0)
    with pytest.raises(TypeError, match="LearnedBaseline: params is int32, which has no gradient"):
        lt.LearnedBaseline(lambda b: b, jnp.arange(3))
    with pytest.raises(
        ValueError, match=r"LearnedBaseline: fn must return a scalar for one draw; got shape \(2,\)"
    ):
        call(lt.ScoreFunction(lt.LearnedBaseline(lambda b: b, jnp.zeros(2))))

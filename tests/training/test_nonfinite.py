"""Steps that are not finite: skipped in the jit, counted, never accepted; too many end the fit with the culprit named."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt

KEY = jax.random.key(3)
ADAM = optax.adam(0.1)


def step_is(key, steps):
    """Whether this is the key of one of `steps`."""
    data = jax.random.key_data(key)
    keys = [jax.random.key_data(jax.random.fold_in(jax.random.fold_in(KEY, s), 1)) for s in steps]
    return jnp.any(jnp.stack([jnp.all(data == k) for k in keys]))


def poisoned(steps, how):
    def objective(params, key):
        value = (params["w"] - 1.0) ** 2 + params["b"] ** 2
        return how(value, params, step_is(key, steps))

    return objective


def nan_value(value, params, bad):
    return jnp.where(bad, jnp.nan, value)


def inf_value(value, params, bad):
    return value + jnp.where(bad, jnp.inf, 0.0)


@jax.custom_jvp
def flagged(w, bad):
    return w


@flagged.defjvp
def _(primals, tangents):
    w, bad = primals
    return w, jnp.where(bad, jnp.nan, 1.0) * tangents[0]


def nan_gradient(value, params, bad):
    return (flagged(params["w"], bad) - 1.0) ** 2 + params["b"] ** 2


START = {"b": 1.0, "w": 0.0}


@pytest.mark.parametrize("how", [nan_value, inf_value, nan_gradient])
def test_a_bad_step_changes_nothing_and_is_counted(how):
    before = lt.minimize(KEY, poisoned([2], how), START, ADAM, num_steps=2)
    at = lt.minimize(KEY, poisoned([2], how), START, ADAM, num_steps=3)
    for a, b in zip(
        jax.tree.leaves((before.params, before.state.opt_state)),
        jax.tree.leaves((at.params, at.state.opt_state)),
    ):
        assert np.array_equal(a, b)
    assert at.history.skipped.tolist() == [False, False, True]
    assert int(at.state.skipped) == 1 == int(at.state.skipped_in_a_row) and int(at.state.step) == 3
    after = lt.minimize(KEY, poisoned([2], how), START, ADAM, num_steps=5)
    assert (
        after.status == "max_steps"
        and int(after.state.skipped_in_a_row) == 0
        and int(after.state.skipped) == 1
    )
    assert after.params["w"] != at.params["w"] and np.isfinite(after.params["w"])


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_too_many_in_a_row_end_the_fit_wherever_the_chunk_ends(chunk):
    bad = range(5, 15)  # ten in a row, and finite again afterwards: it must not go on
    with pytest.raises(
        lt.NonFiniteError, match=r"stopped at step 14: the value was nan.*last of 10 such steps"
    ) as caught:
        lt.minimize(KEY, poisoned(bad, nan_value), START, ADAM, num_steps=40, chunk=chunk)
    result = caught.value.result
    assert result.status == "diverged" and int(result.state.step) == 15 == len(result.history.value)
    kept = lt.minimize(KEY, poisoned(bad, nan_value), START, ADAM, num_steps=5)
    assert result.params["w"] == kept.params["w"]


def test_nine_in_a_row_do_not_end_the_fit():
    fit = lt.minimize(KEY, poisoned(range(5, 14), nan_value), START, ADAM, num_steps=20)
    assert fit.status == "max_steps" and int(fit.state.skipped) == 9


def test_the_leaf_is_named_where_the_gradient_is_to_blame():
    with pytest.raises(
        lt.NonFiniteError,
        match=r"step 0: the gradient of params\['w'\] was not finite while.*log_prob of a draw",
    ):
        lt.minimize(KEY, poisoned([0], nan_gradient), START, ADAM, num_steps=20, nonfinite="raise")


def test_an_int_is_the_limit_of_bad_steps_in_a_row():
    with pytest.raises(lt.NonFiniteError, match=r"stopped at step 4: .*last of 3 such steps"):
        lt.minimize(KEY, poisoned(range(2, 9), nan_value), START, ADAM, num_steps=20, nonfinite=3)


def test_a_fit_that_accepts_no_step_is_no_fit():
    with pytest.raises(lt.NonFiniteError, match="stopped at step 2: the value was inf"):
        lt.minimize(KEY, poisoned(range(9), inf_value), START, ADAM, num_steps=3)


def test_an_update_that_overflows_is_not_accepted():
    """g = 1e25 is finite; Adam's second moment is inf, and would freeze the parameter for ever."""
    objective = lambda p, key: 1e25 * p["w"]
    with pytest.raises(
        lt.NonFiniteError,
        match=r"update of its own state was not finite while the gradient was finite",
    ) as caught:
        lt.minimize(KEY, objective, {"w": 1.0}, ADAM, num_steps=3)
    assert caught.value.result.params["w"] == 1.0
    with pytest.raises(lt.NonFiniteError, match=r"update of params\['w'\]"):
        lt.minimize(KEY, objective, {"b": 0.0, "w": 1.0}, optax.sgd(1e20), num_steps=3)


def test_infinities_that_were_there_are_no_fault():
    start = {"w": jnp.array([1.0, -jnp.inf])}
    fit = lt.minimize(KEY, lambda p, key: p["w"][0] ** 2, start, optax.sgd(0.1), num_steps=3)
    assert (
        fit.status == "max_steps" and fit.params["w"][1] == -jnp.inf and int(fit.state.skipped) == 0
    )


def test_fault_17_a_draw_of_probability_zero_is_named():
    family = lt.distribution(
        lambda p, x: jnp.log(p * jnp.maximum(0.5 - x, 0.0)), lambda key, p: jax.random.uniform(key)
    )
    objective = lambda p, key: lt.expect(key, lambda x: x, family(p), num_samples=8)
    with pytest.raises(
        lt.NonFiniteError,
        match=r"gradient of params was not finite while the value was finite.*log_prob",
    ):
        lt.minimize(KEY, objective, 1.0, ADAM, num_steps=50)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_faults_18_and_19_steps_with_a_bad_draw_are_skipped_and_the_others_train(value):
    """f is not finite for one point of eight: such steps are skipped, all others train."""

    def objective(params, key):
        f = lambda x: jnp.where(jnp.all(x == 1), value, jnp.sum((x - 0.45) ** 2))
        return lt.expect(key, f, lt.Bernoulli(params), num_samples=4)

    fit = lt.minimize(KEY, objective, jnp.zeros(3), ADAM, num_steps=60)
    assert (
        0 < int(fit.state.skipped) < 60 and np.isfinite(fit.params).all() and np.all(fit.params < 0)
    )
    assert np.array_equal(fit.history.skipped, ~np.isfinite(fit.history.value))


def test_the_cost_is_named_where_the_objective_returns_aux():
    def objective(params, key):
        f = lambda x: (x**2, jnp.where(x > 0, jnp.nan, x))
        return lt.expect(key, f, lt.Normal(params, 1.0), num_samples=8, has_aux=True)

    with pytest.raises(lt.NonFiniteError, match=r"the value was nan \(cost\[1\], of draw \d\)"):
        lt.minimize(KEY, objective, 3.0, ADAM, num_steps=20)


def test_under_vmap_it_is_counted_run_by_run():
    def fit(key):
        return lt.minimize(key, poisoned(range(20), nan_value), START, ADAM, num_steps=15)

    many = jax.vmap(fit)(jnp.stack([KEY, jax.random.key(4)]))
    assert many.state.skipped.tolist() == [10, 0] and many.state.step.tolist() == [10, 15]
    assert many.params["w"][0] == 0.0 and many.params["w"][1] > 0.5


def test_float64_gradients_beyond_float32_are_finite():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        fit = lt.minimize(
            jax.random.key(0), lambda p, key: 1e60 * p, jnp.ones(()), optax.sgd(1e-60), num_steps=1
        )
        assert abs(fit.params.item()) < 1e-15 and fit.history.gradient_norm[0] == 1e60


def test_the_draw_is_named():
    """FAULTS 17 and 18: which draw had no density, and at which draw a cost was not a number."""
    masked = lt.distribution(
        lambda p, x: jnp.where(x > 0, -p * x, -jnp.inf), lambda key, p: -jnp.ones(())
    )
    value = lambda p, key: lt.expect(key, lambda x: x, masked(p), num_samples=2)
    with pytest.raises(lt.NonFiniteError, match="the log_prob was -inf at the draw -1 of Custom"):
        lt.minimize(KEY, value, 1.0, optax.sgd(0.1), num_steps=1, nonfinite="raise")

    def program(p):
        x = yield lt.sample(lt.Normal(p, 1.0))
        yield lt.cost(jnp.log(x - 100.0))

    value = lambda p, key: lt.expect_program(key, program, p, num_samples=2)
    with pytest.raises(lt.NonFiniteError, match=r"was nan.*a cost was nan at the draw -?\d"):
        lt.minimize(KEY, value, 1.0, optax.sgd(0.1), num_steps=1, nonfinite="raise")

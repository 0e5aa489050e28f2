"""Bad inputs and faults that reach the training loop; the numbers are those of the list of faults."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logtrick as lt
from tests.training.test_minimize import ADAM, KEY, SGD, leaves_equal

T = lt.training


def test_fault_20_huge_costs_do_not_overflow():
    """Values of 1e30: their squares overflow, the fit and its standard error do not."""
    objective = lambda p, key: lt.expect(
        key, lambda x: 1e30 * (x - 0.45) ** 2, lt.Bernoulli(p), num_samples=8, has_aux=True
    )
    fit = lt.minimize(KEY, objective, 0.0, optax.sgd(1e-29), num_steps=40)
    assert fit.params < -0.5 and not fit.history.skipped.any()
    assert np.isfinite(fit.history.metrics["standard_error"]).all()


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_fault_32_parameters_in_sixteen_bits_train_and_objectives_are_named(dtype):
    """Parameters in 16 bits train; the norm of their gradient is summed in float32; an objective in 16 bits is named."""
    start = jnp.zeros(2000, dtype)
    objective = lambda p, key: jnp.sum((p.astype(jnp.float32) - 100.0) ** 2)
    fit = lt.minimize(KEY, objective, start, optax.sgd(0.25), num_steps=2)
    assert fit.params.dtype == dtype and fit.history.gradient_norm[0] == pytest.approx(
        200 * np.sqrt(2000), rel=1e-3
    )
    with pytest.warns(UserWarning, match=r"computed in \w*float16, whose sums lose digits"):
        lt.minimize(KEY, lambda p, key: jnp.sum(p), start, optax.sgd(0.1), num_steps=1)


def test_fault_33_float64_data_without_x64_are_float32_data():
    """NumPy's float64 becomes JAX's default float, without a warning for every array."""
    data = np.linspace(0.0, 1.0, 8)
    objective = lambda p, key, batch: jnp.mean((p - batch) ** 2)
    fit = lt.minimize(KEY, objective, 0.0, SGD, num_steps=3, data=data)
    same = lt.minimize(KEY, objective, 0.0, SGD, num_steps=3, data=data.astype(np.float32))
    assert leaves_equal(fit.history, same.history) and fit.history.value.dtype == np.float32


def test_fault_43_a_step_that_does_not_fit_into_memory_names_what_helps(monkeypatch):
    from logtrick.training import _program

    def exhausted(task, params):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 4 TiB")

    monkeypatch.setattr(_program, "take", lambda *args: exhausted(*args[:2]))
    with pytest.raises(RuntimeError) as caught:
        lt.minimize(KEY, lambda p, key: (p - 0.125) ** 2, 0.0, SGD, num_steps=3)
    assert any("chunk_size" in note for note in caught.value.__notes__)


def test_fault_51_a_host_function_is_called_afresh_in_every_step():
    calls = []

    def simulator(x):
        calls.append(1)
        return np.float32(len(calls))

    box = lt.black_box(simulator)
    objective = lambda p, key: p**2 + box(jax.lax.stop_gradient(p))
    values = lt.minimize(KEY, objective, 0.0, SGD, num_steps=5).history.value
    assert np.all(np.diff(values) >= 1)


def test_fault_60_another_function_or_optimizer_is_refused(tmp_path):
    objective = lambda p, key: jnp.sum(p**2)
    lt.minimize(KEY, objective, jnp.ones(3), ADAM, num_steps=2, checkpoint=tmp_path)
    with pytest.raises(
        lt.CheckpointError, match="its function is 'lt.minimize', here 'lt.maximize'"
    ):
        lt.maximize(KEY, objective, jnp.ones(3), ADAM, num_steps=2, checkpoint=tmp_path)
    with pytest.raises(lt.CheckpointError, match=r"\.opt_state"):
        momentum = optax.sgd(0.1, momentum=0.9)
        lt.minimize(KEY, objective, jnp.ones(3), momentum, num_steps=3, checkpoint=tmp_path)

"""What a training step watches: the precision of costs inside of expectations, and nothing once it is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.samples import SampleAxis, under_name
from logtrick._core.watch import costs_watched, wait_until_noted

KEY = jax.random.key(0)


def value(dtype):
    return lt.expect(KEY, lambda x: jnp.log(x).astype(dtype), lt.Bernoulli(0.0), num_samples=8)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_costs_in_16_bits_are_seen_where_the_value_is_float32(dtype):
    with costs_watched() as seen:
        assert value(dtype).dtype == jnp.float32
    assert set(seen) == {np.dtype(dtype).name}
    with costs_watched() as seen:
        value(jnp.float32)
    assert not seen


def test_the_first_cost_that_is_not_finite_is_noted_and_nothing_is_left_afterwards():
    """In a jitted function too, which JAX's caches know already, and will be asked for later."""
    jitted = jax.jit(lambda: value(jnp.float32))
    jitted()
    found: dict[str, str] = {}
    with costs_watched(found):
        anew = lambda: under_name(SampleAxis(), jitted)
        jax.block_until_ready(anew())
        assert "callback" in str(jax.make_jaxpr(anew)())
    jax.effects_barrier()
    assert found == {"cost": "-inf at the draw 0"}
    with costs_watched():
        assert "callback" not in str(jax.make_jaxpr(jitted)())


def test_the_error_of_an_earlier_computation_is_not_raised_once_more(monkeypatch):
    """JAX may keep the failed effects of a computation, and `jax.effects_barrier` then raises their error each time."""

    def barrier():
        raise jax.errors.JaxRuntimeError("INTERNAL: of an earlier computation")

    monkeypatch.setattr(jax, "effects_barrier", barrier)
    wait_until_noted()

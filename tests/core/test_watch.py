"""What a training step watches: the precision of costs inside of expectations, and nothing once it is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick._core.watch import costs_watched

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
    found: dict[str, str] = {}
    with costs_watched(found):
        watched = jax.make_jaxpr(value, static_argnums=0)(jnp.float32)
        jax.block_until_ready(value(jnp.float32))
    jax.effects_barrier()
    assert found == {"cost": "-inf at the draw 0"}
    with costs_watched():
        without = jax.make_jaxpr(value, static_argnums=0)(jnp.float32)
    assert "callback" in str(watched) and "callback" not in str(without)

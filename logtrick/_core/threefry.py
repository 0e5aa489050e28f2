"""Threefry-2x32 in jnp: numbers at any position of a counter-based draw, bit for bit those of `jax.random`.

`jax.random` has no offset, and on the CPU its own threefry is a rolled loop over full-size buffers.
`jax.extend.random.threefry2x32_p` cannot be used: its result loses the mark that it varies over a
mesh axis, and gradients inside a `shard_map` are then silently wrong.

References:
  Salmon, Moraes, Dror & Shaw (2011), "Parallel Random Numbers: As Easy as 1, 2, 3".
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Two random words, uint32, for each 64-bit counter (high, low), of one shape: 20 rounds under the two words of `key`.

    In `lax` and not by operators, each of which would be traced as a call: the rounds are much of a first trace.
    """
    words = jax.random.key_data(key)
    parts = (words[0], words[1], words[0] ^ words[1] ^ np.uint32(_PARITY))
    schedule = [lax.broadcast(part, low.shape) for part in parts]
    # each number once: a constant of the full shape is an operation of its own
    number = functools.cache(
        lambda value: lax.full_like(low, value) if low.ndim else np.uint32(value)
    )
    x, y = lax.add(high, schedule[0]), lax.add(low, schedule[1])
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            x = lax.add(x, y)
            rotated = lax.bitwise_or(
                lax.shift_left(y, number(r)), lax.shift_right_logical(y, number(32 - r))
            )
            y = lax.bitwise_xor(rotated, x)
        x = lax.add(x, schedule[(group + 1) % 3])
        y = lax.add(lax.add(y, schedule[(group + 2) % 3]), number(group + 1))
    return x, y


def _counters(start: Any, count: int, total: int, size: int) -> tuple[Array, Array]:
    """The 64-bit positions of the words of rows start … start + count, as (high, low); `size` words a row."""
    if count * size >= 2**32:
        raise ValueError(
            f"{count} draws of {size} numbers exceed 2**32 in one block. Pass chunk_size=…."
        )
    within = jnp.arange(count * size, dtype=jnp.uint32)
    if isinstance(start, int) and start == 0:
        return jnp.zeros_like(within), within
    start = jnp.asarray(start, jnp.uint32)
    if total * size <= 2**32:
        low = start * np.uint32(size) + within
        return jnp.zeros_like(low), low
    high, base = _wide_product(start, size)
    low = base + within
    return high + (low < base).astype(jnp.uint32), low


def _wide_product(a: Array, b: int) -> tuple[Array, Array]:
    """a · b in 64 bits as (high, low), from 16-bit halves."""
    mask, half = np.uint32(0xFFFF), np.uint32(16)
    a0, a1, b0, b1 = a & mask, a >> half, np.uint32(b & 0xFFFF), np.uint32(b >> 16)
    low, cross, other = a0 * b0, a0 * b1, a1 * b0
    middle = (low >> half) + (cross & mask) + (other & mask)
    high = a1 * b1 + (cross >> half) + (other >> half) + (middle >> half)
    return high, (middle << half) | (low & mask)


def uniform(
    key: Array, start: Any, count: int, total: int, shape: Any, dtype: np.dtype, low: Any, high: Any
) -> Array:
    """Uniforms in [low, high) from the top bits, as `jax.random.uniform` makes them."""
    x, y = threefry(key, *_counters(start, count, total, math.prod(shape)))
    one, low, high = np.ones((), dtype), np.array(low, dtype), np.array(high, dtype)
    if dtype.itemsize == 8:
        word = (x.astype(jnp.uint64) << np.uint64(32)) | y.astype(jnp.uint64)
        mantissa = (word >> np.uint64(12)) | one.view(np.uint64)
    else:
        mantissa = ((x ^ y) >> np.uint32(9)) | one.view(np.uint32)
    unit = lax.bitcast_convert_type(mantissa, dtype) - one
    return jnp.maximum(low, unit * (high - low) + low).reshape(count, *shape)


def rounded_down(u: Array, dtype: Any) -> Array:
    """Float32 numbers of [0, 1) in a half precision, the digits that it lacks cut off: to the nearest, some would be 1."""
    if u.dtype == dtype:
        return u
    lacking = jnp.finfo(u.dtype).nmant - jnp.finfo(dtype).nmant
    bits = lax.bitcast_convert_type(u, jnp.uint32) >> np.uint32(lacking) << np.uint32(lacking)
    return lax.bitcast_convert_type(bits, u.dtype).astype(dtype)

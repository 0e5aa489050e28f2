"""Keys: typed, one at a time; the tree of purposes is `fold_in(key, step)`, then `fold_in(·, TAG)`, then one key per site."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core.calls import described, in_words
from logtrick._core.compat import is_key
from logtrick._core.threefry import threefry

# Purposes. A key that is folded with one of these is never split as well: split(k, n)[i] is
# fold_in(k, i).
SAMPLE, ESTIMATOR, DATA, REPLICATE, NESTED, NESTED_STEP = 1, 2, 3, 4, 5, 6


@in_words("lt.key")
def key(seed: int) -> jax.Array:
    """A typed key from any non-negative Python int, all of its bits used.

    Below 2³² it is `jax.random.key(seed)`. Above, `jax.random.key` without 64-bit mode drops the
    high bits (2³² gives the key of 0); here 64 bits go into the key as they are, and longer seeds
    through BLAKE2b.

    Args:
      seed: a non-negative Python int.
    Returns:
      A typed key, shape (), of JAX's default implementation.
    Raises:
      TypeError: `seed` is no Python int.
      ValueError: `seed` is negative.
    Example:
      >>> import jax, logtrick as lt
      >>> bool((jax.random.key_data(lt.key(7)) == jax.random.key_data(jax.random.key(7))).all())
      True
      >>> jax.random.key_data(lt.key(2**32)).tolist()
      [1, 0]
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(
            f"lt.key(seed=…) needs a Python int; got {described(seed)}. Pass lt.key(0), say."
        )
    seed = int(seed)
    if seed < 0:
        raise ValueError(
            f"lt.key(seed=…) needs a non-negative int; got {seed}. Pass its absolute value."
        )
    if seed < 2**32:
        return jax.random.key(np.uint32(seed))
    if seed >= 2**64:
        digest = hashlib.blake2b(
            seed.to_bytes((seed.bit_length() + 7) // 8, "little"), digest_size=8
        )
        seed = int.from_bytes(digest.digest(), "little")
    words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape[0]
    data = np.array([seed >> 32, seed & 0xFFFFFFFF] * (words // 2), np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(data))


def as_key(key: Any) -> jax.Array:
    """A typed key, or an error that says how to get one; raw uint32 keys are wrapped."""
    if is_key(key):
        if key.shape:
            raise ValueError(
                f"key must be one key; got an array of shape {key.shape}. Use jax.vmap over the keys."
            )
        return key
    if isinstance(key, jax.Array | np.ndarray) and key.dtype == np.uint32:
        words = jax.eval_shape(lambda: jax.random.key_data(jax.random.key(0))).shape[0]
        if key.shape == (words,):
            return jax.random.wrap_key_data(jnp.asarray(key))
        if key.ndim == 2 and key.shape[1] == words:
            raise ValueError(
                f"key must be one key; got raw keys of shape {key.shape}. Use jax.vmap over the keys."
            )
    raise TypeError(
        f"key must be a PRNG key; got {described(key)}. Pass jax.random.key(seed), and keys come first."
    )


def is_threefry(key: jax.Array) -> bool:
    """Whether `key` is of JAX's default implementation, whose numbers are a function of a counter."""
    return str(jax.random.key_impl(key)) == "threefry2x32"


def fold_in(key: jax.Array, data: Any) -> jax.Array:
    """`jax.random.fold_in`, bit for bit.

    For threefry keys its 20 rounds are written out: JAX's own are a rolled loop, which costs XLA a dozen kernels each
    time, where these are one.

    Args:
      key: a typed key, shape ().
      data: an integer, shape ().
    """
    if not is_threefry(key):
        return jax.random.fold_in(key, data)
    number = np.uint32(data) if isinstance(data, int) else jnp.asarray(data).astype(jnp.uint32)
    return _folded_in(key, number)


@jax.jit
def _folded_in(key: jax.Array, number: jax.Array) -> jax.Array:
    # the counter of a fold is the pair (0, data): the seed that jax.random makes of 32 bits
    words = jnp.stack(threefry(key, jnp.zeros_like(number), number))
    return jax.random.wrap_key_data(words, impl="threefry2x32")

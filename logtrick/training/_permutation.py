"""Random permutations of row numbers, any part of which is computed from the key alone, without storing the whole."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
_SMALL = 128
_PAIRS_OF_ROUNDS = 6


def permuted(key: Array, start: Array, count: int, num_rows: int) -> Array:
    """π(start), …, π(start + count − 1) for a random permutation π of 0, …, num_rows − 1 that the key determines.

    Up to 128 rows π(i) is the rank of the i-th of `num_rows` random words, uniform over all permutations (except for ties,
    of probability below 2⁻¹⁹, which are broken by position). For more rows π is a Feistel network on ℤ_a × ℤ_b,
    ab ≥ num_rows, by modular addition:

        row = hi · b + lo;   lo ← lo + F₁(hi) mod b,   hi ← hi + F₂(lo) mod a,   …   12 rounds with a keyed hash F each,

    a bijection whatever F is. Where the result is num_rows or more, the network is applied again until it is not (cycle
    walking), which is a bijection of the rows alone; ab exceeds num_rows by less than b ≈ √num_rows, so that this is rare.
    Cost: a few hashes for each row asked for, about as much as drawing as many random row numbers. `jax.random.permutation`,
    sorted once per epoch and stored, needs O(N log N) time and N integers of state; on two CPU cores its loop took 1 to 15
    times as long (N from 100 to 10⁶, batches of 32 to 1,024, whole epochs, medians of interleaved ratios).

    Args:
      key: a typed key.
      start: the first position, an integer; start + count ≤ num_rows.
      count: how many row numbers.
      num_rows: N, from 1 to 2³¹ − 1.
    Returns:
      int32 row numbers, (count,).
    References:
      Black & Rogaway (2002), "Ciphers with Arbitrary Finite Domains"; Mitchell, Stokes, Frank & Holmes (2022),
      "Bandwidth-Optimal Random Shuffling for GPUs"; Appleby (2011), MurmurHash3 (the hash's mixing step).
    """
    positions = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    if num_rows <= _SMALL:
        return _ranks(jax.random.bits(key, (num_rows,), jnp.uint32), positions)
    words = jax.random.bits(key, (_PAIRS_OF_ROUNDS, 4), jnp.uint32)
    return _walk(words, positions, num_rows).astype(jnp.int32)


def _ranks(words: Array, positions: Array) -> Array:
    mine = words.at[positions].get(mode="promise_in_bounds")[:, None]
    others = jnp.arange(words.shape[0], dtype=jnp.uint32)[None, :]
    tied_before = (words[None, :] == mine) & (others < positions[:, None])
    return jnp.sum((words[None, :] < mine) | tied_before, axis=1, dtype=jnp.int32)


def _walk(words: Array, rows: Array, num_rows: int) -> Array:
    # b is even: for odd a and b the network would only have even permutations.
    b = 2 * math.ceil(math.isqrt(num_rows - 1) / 2) + 2
    a = -(-num_rows // b)

    def step(walk: tuple[Array, Array]) -> tuple[Array, Array]:
        rows, outside = walk
        rows = jnp.where(outside, _feistel(words, rows, a, b), rows)
        return rows, rows >= np.uint32(num_rows)

    everywhere = jnp.ones_like(rows, bool)
    return lax.while_loop(lambda walk: jnp.any(walk[1]), step, (rows, everywhere))[0]


def _feistel(words: Array, rows: Array, a: int, b: int) -> Array:
    def two_rounds(halves: tuple[Array, Array], words: Array) -> tuple[tuple[Array, Array], None]:
        high, low = halves
        low = (low + _hash(words[:2], high) % np.uint32(b)) % np.uint32(b)
        high = (high + _hash(words[2:], low) % np.uint32(a)) % np.uint32(a)
        return (high, low), None

    # A loop, not unrolled: it is as fast, and compiles in less time.
    halves = rows // np.uint32(b), rows % np.uint32(b)
    high, low = lax.scan(two_rounds, halves, words)[0]
    return high * np.uint32(b) + low


def _hash(words: Array, x: Array) -> Array:
    return _mix(_mix(x ^ words[0]) + words[1])


def _mix(x: Array) -> Array:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))

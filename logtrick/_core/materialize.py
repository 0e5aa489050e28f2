"""Make XLA compute numbers once, where it would recompute them in each of their consumers.

Of noise, which is costly (`materialized`):

XLA on the CPU fuses the computation of noise into every loop that reads it (1.2 to 1.8 times the
time of a gradient), and drops an optimization barrier before it fuses. It does not fuse across a
branch, and a branch, unlike the body of a scan, runs on all cores. So the computation is put into a
`lax.cond` whose predicate is always true and which the compiler cannot see through.

Of sums that are each other's terms (`computed_once`): XLA deems additions cheap enough to be repeated in each consumer,
so that the costs from each site on, summed site by site, become as many sums from the last site on, and compiling 200
sites takes minutes. A division is not repeated. The divisor is 1, which XLA does not see and its code generator does.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

Array = jax.Array


def _true(word: Array) -> Array:
    return (word | 1) != 0


def _batch(words: Any, dims: Any) -> Any:
    # True for each element of the batch, so true for all. A predicate with a batch axis would turn the branch into a select.
    return _true_p.bind(jnp.sum(words[0], dims[0], dtype=words[0].dtype)), None


_true_p = Primitive("logtrick_true")
_true_p.def_impl(_true)
_true_p.def_abstract_eval(lambda word: word.update(dtype=jnp.dtype(bool), weak_type=False))
mlir.register_lowering(_true_p, mlir.lower_fun(_true, multiple_results=False))
batching.primitive_batchers[_true_p] = _batch


def materialized(make: Callable[[], Any], *seeds: Array) -> Any:
    """`make()`: arrays that are computed once, from unsigned integers `seeds`, shape (), that the compiler cannot know."""
    if jax.default_backend() != "cpu":  # on other devices a branch has to wait for its predicate
        return make()
    make = jax.jit(make, inline=True)  # traced once for its shapes and its numbers
    shapes = jax.eval_shape(make)

    # The branches return flat arrays: XLA's loops follow the shape of what they return, and rows of ten are not vectorized.
    def flat() -> Any:
        return jax.tree.map(jnp.ravel, make())

    def nothing() -> Any:
        # A zero that varies over the mesh axes that the seeds vary over: both branches must have results of one type.
        zero = sum((seed ^ seed).astype(jnp.uint32) for seed in seeds)
        return jax.tree.map(lambda s: jnp.broadcast_to(zero, s.size).astype(s.dtype), shapes)

    made = lax.cond(_true_p.bind(seeds[0]), flat, nothing)
    return jax.tree.map(lambda x, s: x.reshape(s.shape), made, shapes)


def _divided_by_one(x: Array) -> Array:
    if jax.default_backend() != "cpu":
        return x
    word = lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32)
    return x / jnp.where(_true(word), 1.0, 2.0).astype(x.dtype)


_once_p = Primitive("logtrick_computed_once")
_once_p.def_impl(lambda x: x)
_once_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(_once_p, mlir.lower_fun(_divided_by_one, multiple_results=False))
batching.primitive_batchers[_once_p] = lambda xs, dims: (_once_p.bind(*xs), *dims)
ad.primitive_jvps[_once_p] = lambda xs, tangents: (_once_p.bind(*xs), *tangents)


def computed_once(x: Array) -> Array:
    """`x`, real, with its derivatives; computed once by a compiled program, however many consumers it has."""
    return _once_p.bind(x) if jnp.issubdtype(x.dtype, jnp.floating) else x

"""Base noise as rows of one counter-based draw, so that chunks, shards and prefixes see the same bits.

Row i of a `Uniform` or `StandardNormal` of some shape is row i of `jax.random.uniform(key, (n, *shape))` or
`jax.random.normal`, for any n, bit for bit, without drawing the rest; `jax.random` itself has no offset. Other key types,
and samplers that reject, have no counters: they take one key per sample, `fold_in(key, position)`.
"""

import abc
import functools
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core.compat import partitionable
from logtrick._core.kernel import wide
from logtrick._core.keys import fold_in, is_threefry
from logtrick._core.materialize import materialized
from logtrick._core.module import Module, static
from logtrick._core.threefry import rounded_down, uniform
from logtrick.noise._injected import injected_rows, is_injected

Array = jax.Array


class Noise(Module, abstract=True):
    """A declaration of the parameter-free noise that one draw needs: its shape and law, no numbers.

    Attributes:
      counted: whether its rows are numbers of a counter-based draw, worth computing once.
      block: how many consecutive rows depend on each other; None for all of them.
    """

    counted: ClassVar[bool] = False
    block: ClassVar[int | None] = 1

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return math.prod(getattr(self, "shape", ()))

    @abc.abstractmethod
    def rows(self, key: Array, start: Any, count: int, total: int) -> Any:
        """Rows start … start + count of a draw of `total` rows: shape (count, *shape)."""

    @abc.abstractmethod
    def one(self, key: Array) -> Any:
        """The noise of a single draw by hand."""

    @abc.abstractmethod
    def example(self) -> Any:
        """Some legal values of the noise, for tracing shapes."""

    def reflect(self, value: Any) -> Any:
        """The mirror image of the noise `value`: as far out on the other side, with the same law bit for bit.

        Raises:
          ValueError: this noise has no mirror image.
        """
        raise ValueError(f"{type(self).__name__} has no mirror image. Use lt.IID().")


class Uniform(Noise):
    """Uniforms on [0, 1).

    Args:
      shape: of one row.
      dtype: of the numbers; 16-bit numbers are drawn in float32 and rounded down, so that none is 1, and u < p has the
        probability p for every p of the dtype.
    Raises:
      ValueError: when drawn, float64 outside of 64-bit mode, or no float type.
    Example:
      >>> import jax, logtrick as lt
      >>> key = jax.random.key(0)
      >>> row = lt.noise.Uniform((3,)).rows(key, 5, 1, total=8)      # row 5 of 8, without the others
      >>> (row[0] == jax.random.uniform(key, (8, 3))[5]).tolist()
      [True, True, True]
    """

    shape: tuple[int, ...] = static(default=())
    dtype: Any = static(default=np.dtype("float32"))
    counted: ClassVar[bool] = True

    def rows(self, key: Array, start: Any, count: int, total: int) -> Array:
        dtype = _drawn_in("Uniform", self.dtype)
        if _counted(key):
            drawn = uniform(key, start, count, total, self.shape, dtype, 0.0, 1.0)
        else:
            drawn = _keyed(lambda k: jax.random.uniform(k, self.shape, dtype), key, start, count)
        return rounded_down(drawn, self.dtype)

    def one(self, key: Array) -> Array:
        return self.rows(key, 0, 1, 1)[0]

    def example(self) -> Array:
        return jnp.full(self.shape, 0.5, self.dtype)

    def reflect(self, value: Array) -> Array:
        if np.dtype(self.dtype).itemsize < 4:
            raise ValueError(
                f"Uniform(dtype={np.dtype(self.dtype)}) has no mirror image of the same law. Draw in float32, or use lt.IID()."
            )
        largest = 1 - np.finfo(self.dtype).eps  # the draws are the multiples of eps below 1
        return largest.astype(self.dtype) - value


class StandardNormal(Noise):
    """Standard normals.

    Args:
      shape: of one row.
      dtype: of the numbers; 16-bit numbers are drawn in float32 and rounded.
    Raises:
      ValueError: when drawn, float64 outside of 64-bit mode, or no float type.
    Example:
      >>> import jax, logtrick as lt
      >>> key = jax.random.key(0)
      >>> row = lt.noise.StandardNormal((3,)).rows(key, 5, 1, total=8)      # row 5 of 8, without the others
      >>> (row[0] == jax.random.normal(key, (8, 3))[5]).tolist()
      [True, True, True]
    """

    shape: tuple[int, ...] = static(default=())
    dtype: Any = static(default=np.dtype("float32"))
    counted: ClassVar[bool] = True

    def rows(self, key: Array, start: Any, count: int, total: int) -> Array:
        dtype = _drawn_in("StandardNormal", self.dtype)
        if not _counted(key):
            drawn = _keyed(lambda k: jax.random.normal(k, self.shape, dtype), key, start, count)
            return drawn.astype(self.dtype)
        low = np.nextafter(np.array(-1, dtype), np.array(0, dtype))
        u = uniform(key, start, count, total, self.shape, dtype, low, 1.0)
        return (lax.erf_inv(u) * np.array(math.sqrt(2), dtype)).astype(self.dtype)

    def one(self, key: Array) -> Array:
        return self.rows(key, 0, 1, 1)[0]

    def example(self) -> Array:
        return jnp.full(self.shape, 0.5, self.dtype)

    def reflect(self, value: Array) -> Array:
        return -value


class KeyPerRun(Noise):
    """One key per sample: for samplers that reject, and for a user's own samplers.

    Example:
      >>> import jax, logtrick as lt
      >>> key = jax.random.key(0)
      >>> rows = lt.noise.KeyPerRun().rows(key, 3, 1, total=8)
      >>> bool(rows[0] == jax.random.fold_in(key, 3))
      True
    """

    def rows(self, key: Array, start: Any, count: int, total: int) -> Array:
        index = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
        return jax.vmap(lambda i: fold_in(key, i))(index)

    def one(self, key: Array) -> Array:
        return key

    def example(self) -> Array:
        return jax.random.key(0)


class NoNoise(Noise):
    """No noise: for estimators that draw nothing.

    Example:
      >>> import logtrick as lt
      >>> lt.Enumerate().noise(lt.Bernoulli(0.0))
      NoNoise()
    """

    def rows(self, key: Array, start: Any, count: int, total: int) -> None:
        return None

    def one(self, key: Array) -> None:
        return None

    def example(self) -> None:
        return None


def is_noise(x: Any) -> bool:
    """Whether `x` is a declaration of noise: a leaf of trees of declarations.

    Args:
      x: any object.
    Returns:
      True for instances of `Noise`.
    Example:
      >>> import logtrick as lt
      >>> lt.noise.is_noise(lt.noise.Uniform()), lt.noise.is_noise(0.5)
      (True, False)
    """
    return isinstance(x, Noise)


def rows(
    spec: Any, key: Array, start: Any, count: int, total: int, seed: Array | None = None
) -> Any:
    """Rows of every noise in the tree `spec`; each of several leaves gets `fold_in(key, position)`, a single one the key.

    Args:
      spec: a `Noise`, or a pytree of these.
      key: a typed key.
      start: the number of the first row, an int or a traced integer.
      count: how many rows.
      total: how many rows the whole draw has.
      seed: any unsigned integer, shape (), that XLA cannot know and that is cheap to compute: by it XLA is kept from
        recomputing the draw in each of its consumers. None takes a word of `key`.
    Returns:
      The numbers, a pytree like `spec` whose leaves have shape (count, *shape).
    Example:
      >>> import jax, logtrick as lt
      >>> key, spec = jax.random.key(0), {"a": lt.noise.Uniform(), "b": lt.noise.StandardNormal((2,))}
      >>> whole = lt.noise.rows(spec, key, 0, 6, total=6)
      >>> part = lt.noise.rows(spec, key, 4, 2, total=6)
      >>> part["b"].shape, (part["a"] == whole["a"][4:]).tolist()
      ((2, 2), [True, True])
    """
    leaves, tree = jax.tree.flatten(spec, is_leaf=is_noise)
    if is_injected() and not all(isinstance(leaf, NoNoise) for leaf in leaves):
        structure = jax.tree.structure(jax.eval_shape(lambda: example(spec)))
        return injected_rows(structure, start, count)
    keys = _key_of_each(key, len(leaves))
    counted = [leaf.counted and _counted(key) for leaf in leaves]
    together: Iterator[Any] = iter(())
    if any(counted):
        seed = jax.random.key_data(keys[0])[0] if seed is None else seed
        chosen = [leaf for leaf, yes in zip(leaves, counted) if yes]
        chosen_keys = [k for k, yes in zip(keys, counted) if yes]
        known, traced = (start, None) if isinstance(start, int) else (None, start)
        together = iter(_counted_rows(chosen, chosen_keys, seed, traced, known, count, total))
    drawn = [
        next(together) if yes else leaf.rows(k, start, count, total)
        for leaf, k, yes in zip(leaves, keys, counted)
    ]
    return tree.unflatten(drawn)


def _key_of_each(key: Array, count: int) -> list[Array]:
    """A key for each of the leaves of a tree of noises."""
    return [key] if count == 1 else [fold_in(key, i) for i in range(count)]


@functools.partial(jax.jit, static_argnums=(4, 5, 6), inline=True)
def _counted_rows(
    leaves: list[Noise],
    keys: list[Array],
    seed: Array,
    traced: Any,
    known: int | None,
    count: int,
    total: int,
) -> list[Any]:
    """Rows of counter-based noises, computed once; the first row is `known`, or `traced` where that is None.

    Jitted, so that eager calls compile it once.
    """
    start = traced if known is None else known
    draw = lambda: [leaf.rows(key, start, count, total) for leaf, key in zip(leaves, keys)]
    return materialized(draw, seed, jnp.asarray(start, jnp.uint32))


def one(spec: Any, key: Array) -> Any:
    """The noise of a single draw: the first row, or the key itself.

    Args:
      spec: a `Noise`, or a pytree of these.
      key: a typed key.
    Returns:
      The numbers, a pytree like `spec`.
    Example:
      >>> import jax, logtrick as lt
      >>> key = jax.random.key(0)
      >>> bool(lt.noise.one(lt.noise.Uniform(), key) == lt.noise.rows(lt.noise.Uniform(), key, 0, 1, 1)[0])
      True
    """
    leaves, tree = jax.tree.flatten(spec, is_leaf=is_noise)
    keys = _key_of_each(key, len(leaves))
    return tree.unflatten([leaf.one(k) for leaf, k in zip(leaves, keys)])


def example(spec: Any) -> Any:
    """Some legal noise for every leaf of `spec`.

    Args:
      spec: a `Noise`, or a pytree of these.
    Returns:
      Values of the noise, the same at every call, a pytree like `spec`.
    Example:
      >>> import logtrick as lt
      >>> lt.noise.example(lt.Normal(0.0, 1.0).noise_spec).item()
      0.5
    """
    return jax.tree.map(lambda leaf: leaf.example(), spec, is_leaf=is_noise)


def interior(uniform: Array) -> Array:
    """`uniform` of [0, 1) moved to the middle of its cell: in (0, 1), so that logs are finite, and symmetric under 1 − u.

    Args:
      uniform: draws of `Uniform`; half precisions are kept below 1, and not symmetric.
    Returns:
      The moved numbers, of the same shape and dtype.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> bool(jnp.isfinite(jnp.log(lt.noise.interior(jnp.array(0.0)))))
      True
    """
    info = jnp.finfo(uniform.dtype)
    moved = uniform + np.array(info.eps / 2, uniform.dtype)
    if uniform.dtype.itemsize >= 4:
        return moved
    largest = np.asarray(1 - np.array(info.epsneg, uniform.dtype), uniform.dtype)
    return jnp.minimum(moved, largest)  # no cells of one size


def _drawn_in(kind: str, dtype: Any) -> np.dtype:
    """The float type in which numbers of `dtype` are drawn."""
    given = np.dtype(dtype)
    if not jnp.issubdtype(given, jnp.floating) or jax.dtypes.canonicalize_dtype(given) != given:
        raise ValueError(
            f"{kind}(dtype=…) needs a float type that JAX has in its present mode; got {given}. Pass float32, or set "
            "jax_enable_x64 for float64."
        )
    return wide(given)


def _counted(key: Array) -> bool:
    """Whether the numbers of a draw with `key` are a function of a counter."""
    return is_threefry(key) and partitionable()


def _keyed(draw: Any, key: Array, start: Any, count: int) -> Array:
    """Rows by one key each, in a loop: under vmap the bits of other generators depend on the batch."""
    return lax.map(draw, KeyPerRun().rows(key, start, count, count))

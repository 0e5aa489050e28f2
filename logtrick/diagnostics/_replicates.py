"""Many independent gradients of one objective, in vmapped blocks of bounded memory, their moments in float64."""

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logtrick._core import checks, keys
from logtrick._core.jaxprs import largest
from logtrick._core.meter import evaluations_counted
from logtrick.training._adaptive import merge, partition

Array = jax.Array

_BLOCK_ELEMENTS = 2**22  # of the largest intermediate array of a block: 16 MB in float32
_JITTED = type(jax.jit(lambda: None))


class Replicator:
    """The compiled functions of one objective."""

    def __init__(self, where: str, objective: Callable[..., Any]) -> None:
        self.where, self.objective = where, objective
        self.single = jax.jit(self._value_and_grad)
        self.block = jax.jit(self._block, static_argnames=("size",))
        self._probed: dict[Any, tuple[int, int | None, tuple[str, ...]]] = {}

    def _value_and_grad(self, params: Any, key: Array) -> tuple[Array, Any]:
        trained, statistics = partition(params)

        def value(trained: Any) -> Array:
            out = self.objective(merge(params, trained, statistics), key)
            value = out[0] if isinstance(out, tuple) and len(out) == 2 else out
            return checks.scalar_cost(f"{self.where}: the objective", value)

        return jax.value_and_grad(value)(trained)

    def _block(self, params: Any, key: Array, start: Array, size: int) -> tuple[Array, Any]:
        """Replicates start … start + size; each replicate's key depends on its index alone."""
        index = start + jnp.arange(size, dtype=jnp.int32)
        return jax.vmap(lambda i: self.single(params, jax.random.fold_in(key, i)))(index)

    def probe(self, params: Any, key: Array) -> tuple[int, int | None, tuple[str, ...]]:
        """The elements of the largest intermediate array, the evaluations of f (None where no `expect` is used), and the
        estimators that are declared biased.

        The one place where the objective is traced: what it raises there, it refuses.
        """
        shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(params))
        kind = (jax.tree.structure(params), shapes, key.dtype)
        if kind not in self._probed:
            with evaluations_counted() as counts:
                jaxpr = self.single.trace(params, key).jaxpr
                if not counts and isinstance(
                    self.objective, _JITTED
                ):  # traced before, by its own jit
                    plain = inspect.unwrap(self.objective)
                    jax.eval_shape(
                        lambda params, key: plain(params, key), params, key
                    )  # anew: it caches by function
            self._probed[kind] = (
                largest(jaxpr.jaxpr.eqns),
                sum(counts) if counts else None,
                tuple(counts.biased),
            )
        return self._probed[kind]


@functools.lru_cache(maxsize=32)
def _cached(where: str, objective: Callable[..., Any]) -> Replicator:
    return Replicator(where, objective)


def replicator(where: str, objective: Any) -> Replicator:
    """The compiled functions of `objective`, cached for the 32 objectives used last."""
    if not callable(objective):
        raise TypeError(
            f"{where}(objective=…) needs a function of (params, key); got {type(objective).__name__}."
        )
    return (
        _cached(where, objective)
        if isinstance(objective, Hashable)
        else Replicator(where, objective)
    )


class Moments:
    """Mean and centred sum of squares of rows, block by block, in float64 (Chan, Golub & LeVeque 1983)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.peak = 0.0

    def add(self, rows: np.ndarray) -> None:
        """Take in rows, shape (n, …)."""
        rows = np.asarray(rows, np.float64)
        count = len(rows)
        mean = rows.mean(0)
        with np.errstate(over="ignore", invalid="ignore"):  # inf and nan come out as such
            shift = mean - self.mean
            total = self.count + count
            self.squares = (
                self.squares + ((rows - mean) ** 2).sum(0) + shift**2 * (self.count * count / total)
            )
            self.mean = self.mean + shift * (count / total)
        self.count = total
        self.peak = max(self.peak, float(np.max(np.abs(rows), initial=0.0)))

    @property
    def variance(self) -> np.ndarray:
        """With one degree of freedom taken off."""
        return np.asarray(self.squares / (self.count - 1))


def moments(
    work: Replicator, key: Array, params: Any, count: int, block: int | None
) -> tuple[Moments, list[Moments]]:
    """The moments of the value, and of each leaf of the gradient, over `count` replicates."""
    base = jax.random.fold_in(key, keys.REPLICATE)
    largest, *_ = work.probe(params, base)
    most = min(count, block or max(1, _BLOCK_ELEMENTS // largest))
    size = -(
        -count // -(-count // most)
    )  # even blocks: of the last one no more than the surplus is thrown away
    value, leaves = Moments(), [Moments() for _ in jax.tree.leaves(partition(params)[0])]
    for start in range(0, count, size):
        values, grads = work.block(params, base, np.int32(start), size=size)
        kept = min(size, count - start)
        value.add(np.asarray(values, np.float64)[:kept])
        for moment, grad in zip(leaves, jax.tree.leaves(grads)):
            moment.add(np.asarray(grad, np.float64)[:kept])
    return value, leaves

"""Refuse arrays that the machine cannot hold, before anything runs, with the batches around them taken into account.

A claim is an equation that carries the bytes of one array. Under `jax.vmap` its batching rule multiplies them by the size
of the axis, so that the check sees every batch that JAX knows of when it traces: samples, points, a user's own `vmap`.
"""

import os
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_SMALL = 2**10  # bytes below which an array claims nothing, so that small programs stay as they are


def machine_memory() -> int:
    """The machine's memory in bytes; 16 GB where it is not told."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on every system
        return 2**34


def amount(count: float) -> str:
    """Bytes in the unit that reads best.

    Example:
      >>> amount(3_000_000)
      '3 MB'
    """
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:,.0f} TB"


def claim(x: Any, points: int, size: int, who: str) -> Any:
    """`x`, on the condition that arrays of `size` bytes, one for each element of the batches around, fit into memory.

    Args:
      x: an array that is batched wherever the arrays are.
      points: how many points of a support they hold, for the message.
      size: their bytes.
      who: whose they are, for the message.
    Raises:
      ValueError: they take more than half of the machine's memory.
    """
    return x if size < _SMALL else _claim_p.bind(x, points=points, size=size, who=who)


def _check(points: int, size: int, who: str) -> None:
    memory = machine_memory()
    if size > memory / 2:
        raise ValueError(
            f"{who}, with the batches around it {points:,} of them: {amount(size)} in one array, and the machine has "
            f"{amount(memory)}. Take chunk_size (lax.map over a vmapped axis), fewer points, or an estimator that samples, "
            "ScoreFunction() say."
        )


_claim_p = Primitive("logtrick_claim")


def _evaluate(x: Any, **claimed: Any) -> Any:
    _check(**claimed)
    return x


def _batch(xs: Any, dims: Any, *, points: int, size: int, who: str) -> tuple[Any, Any]:
    (x,), (axis,) = xs, dims
    count = x.shape[axis]
    return _claim_p.bind(x, points=points * count, size=size * count, who=who), axis


def _jvp(primals: Any, tangents: Any, **claimed: Any) -> tuple[Any, Any]:
    return _claim_p.bind(*primals, **claimed), tangents[0]


_claim_p.def_impl(_evaluate)
_claim_p.def_abstract_eval(_evaluate)
mlir.register_lowering(_claim_p, lambda ctx, x, **_: [x])
batching.primitive_batchers[_claim_p] = _batch
ad.primitive_jvps[_claim_p] = _jvp


def nbytes(tree: Any) -> int:
    """The bytes of the arrays of a pytree of shapes."""
    return sum(int(x.size) * x.dtype.itemsize for x in jax.tree.leaves(tree))

"""Parameters: stored in one float dtype, checked, broadcast; half precisions worked with in float32."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logtrick._core import checks
from logtrick._core.kernel import as_dtype, as_inexact, wide, zero_of
from logtrick._core.module import assign

Array = jax.Array


def parameters(dist: Any, **named: Any) -> None:
    """Store parameters as arrays of one float dtype, the one to which theirs promote."""
    where = type(dist).__name__
    real = lambda v: float(v) if isinstance(v, int) else v  # takes the dtype of the others
    arrays = {name: checks.numbers(where, name, real(value)) for name, value in named.items()}
    dtype = jnp.result_type(*arrays.values())
    assign(dist, **{name: as_dtype(value, dtype) for name, value in arrays.items()})


def broadcasting(dist: Any, **named: Any) -> None:
    """Store parameters that broadcast to the event; scalars stay scalars, the others get its rank."""
    parameters(dist, **named)
    arrays = {name: getattr(dist, name) for name in named}
    rank = len(_broadcast(dist, *arrays.values()))

    def ranked(v: Array) -> Array:  # no rank promotion later on
        return v.reshape((1,) * (rank - v.ndim) + v.shape) if v.ndim else v

    assign(dist, **{name: ranked(value) for name, value in arrays.items()})


def positive(dist: Any, *names: str) -> None:
    """Refuse what is not a positive finite number: concrete parameters raise, traced ones become nan."""
    for name in names:
        value = checks.require(
            type(dist).__name__, name, getattr(dist, name), _is_positive, "positive finite numbers"
        )
        assign(dist, **{name: value})


def not_negative(dist: Any, *names: str) -> None:
    """Refuse what is not a non-negative finite number: concrete parameters raise, traced ones become nan."""
    legal = lambda x: (x >= 0) & (x < np.inf)
    need = "non-negative finite numbers"
    for name in names:
        value = checks.require(type(dist).__name__, name, getattr(dist, name), legal, need)
        assign(dist, **{name: value})


def finite(dist: Any, *names: str) -> None:
    """Refuse concrete numbers that are not finite. Traced ones need no help: they make draws and log p nan or ±inf."""
    for name in names:
        value = getattr(dist, name)
        if checks.concrete(value) is not None:
            checks.require(type(dist).__name__, name, value, _is_finite, "finite numbers")


def _is_positive(x: Any) -> Any:
    return (x > 0) & (x < np.inf)


def _is_finite(x: Any) -> Any:
    return (x > -np.inf) & (x < np.inf)


def _broadcast(dist: Any, *values: Array) -> tuple[int, ...]:
    """The common shape of the parameters, or an error that names the family."""
    try:
        return np.broadcast_shapes(*(v.shape for v in values))
    except ValueError:
        name = type(dist).__name__
        shapes = ", ".join(str(v.shape) for v in values)
        raise ValueError(
            f"{name}: parameters of shapes {shapes} do not broadcast to one event."
        ) from None


# Half precision: the noise is drawn, the draw computed and log p summed in float32; only draws are rounded, since a bf16
# x − loc is 0 where the score is not.


def widened(tree: Any) -> Any:
    """`tree` with half-precision leaves as float32; the same object where there are none.

    Args:
      tree: a pytree, a distribution say.
    Returns:
      A pytree of the same structure.
    Example:
      >>> import jax.numpy as jnp, logtrick as lt
      >>> lt.distributions.widened(jnp.ones(2, jnp.bfloat16)).dtype.name
      'float32'
    """
    if not any(is_inexact(x) and x.dtype.itemsize < 4 for x in jax.tree.leaves(tree)):
        return tree
    return jax.tree.map(lambda x: x.astype(wide(x.dtype)) if is_inexact(x) else x, tree)


def is_inexact(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact)


def is_count(x: Array) -> Array:
    """Whether a real number is one of 0, 1, 2, … (inf − inf is nan)."""
    return (x >= 0) & (x - jnp.floor(x) == 0)


def where_inside(inside: Any, log_density: Any) -> Array:
    """−inf outside the support. (`log_density` must be finite there, or its gradient is not.)"""
    return jnp.where(inside, log_density, -jnp.inf)


def standardized(x: Any, loc: Array, scale: Array) -> Array:
    """(x − loc) / scale, whose derivative, (dx − dloc − z dscale) / scale, never squares the scale.

    That of a quotient does: at a scale of 1e30 it is silently 0 in float32.
    """
    return _standardized(as_inexact(x), loc, scale)  # whole numbers have no tangent to compute with


@jax.custom_jvp
def _standardized(x: Array, loc: Array, scale: Array) -> Array:
    return (x - loc) / scale


@_standardized.defjvp
def _standardized_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    z = _standardized(*primals)
    dx, dloc, dscale = tangents
    return z, (dx - dloc - z * dscale) / primals[2]


def nan_where_any(tree: Any, shown: Any = None) -> Array | None:
    """0, and nan where any traced number in `tree` is nan: illegal parameters are. None where all numbers are known.

    Its derivative in a number is 0, and nan where that is nan, whatever f makes of the draws.

    Args:
      tree: of numbers.
      shown: numbers that are nan where those in `tree` are, and are computed already; None for those in `tree`.
    """
    leaves = [leaf for leaf in jax.tree.leaves(tree) if is_inexact(leaf)]
    traced = [leaf for leaf in leaves if checks.concrete(leaf) is None]
    if not traced:
        return None
    seen = traced if shown is None else [shown]
    illegal = [jnp.any(jnp.isnan(lax.stop_gradient(leaf))) for leaf in seen]
    value = jnp.where(jnp.stack(illegal).any(), jnp.nan, 0.0)
    for leaf in traced:
        value = value + 0.0 * zero_of(leaf)
    return value

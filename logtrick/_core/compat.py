"""What differs between the supported versions of JAX (0.7 to 0.12), in one place."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax


def is_tracer(x: Any) -> bool:
    """Whether `x` is an abstract value, which has no numbers to look at."""
    return isinstance(x, jax.core.Tracer)


def is_key(x: Any) -> bool:
    """Whether `x` is a typed key or an array of them."""
    return isinstance(x, jax.Array) and jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def jaxpr_of(fun: Callable[..., Any], *args: Any) -> tuple[Any, Any]:
    """The closed jaxpr of `fun` and the shapes of its output."""
    return jax.make_jaxpr(fun, return_shape=True)(*args)


def partitionable() -> bool:
    """Whether threefry draws by counters, so that a row's bits depend on nothing but (key, row)."""
    return bool(jax.config.values["jax_threefry_partitionable"])


def scan_sizes(params: dict[str, Any]) -> tuple[int, int]:
    """From the parameters of a `scan` equation: how many constants come first, and how many carries after them."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carries, _ = params["ft_in"].unpack()
    return len(consts), len(carries)


def varying_axes(kind: Any) -> frozenset[Any]:
    """The mesh axes over which an abstract value varies."""
    return kind.vma if hasattr(kind, "vma") else kind.mat.varying


def to_varying(x: Any, axes: tuple[Any, ...]) -> Any:
    """`x`, made to vary over further mesh axes."""
    if hasattr(lax, "pcast"):
        return lax.pcast(x, axes, to="varying")
    return lax.pvary(x, axes)  # type: ignore[attr-defined, unused-ignore]  # jax 0.7

"""What differs between the supported versions of JAX (0.7 to 0.12), in one place."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax


def varying(x: Any) -> frozenset[Any]:
    """The mesh axes of an enclosing `shard_map` over which `x` varies."""
    return _axes(jax.typeof(x))


def _axes(kind: Any) -> frozenset[Any]:
    return kind.vma if hasattr(kind, "vma") else kind.mat.varying


def in_shard_map() -> bool:
    """Whether this is traced inside a `shard_map`."""
    return bool(jax.sharding.get_abstract_mesh().manual_axes)


def cast_varying(tree: Any, axes: frozenset[Any]) -> Any:
    """`tree`, every leaf made to vary over `axes` of an enclosing `shard_map` too."""

    def cast(x: Any) -> Any:
        more = tuple(axes - varying(x))
        if not more:
            return x
        if hasattr(lax, "pcast"):
            return lax.pcast(x, more, to="varying")
        return lax.pvary(x, more)  # type: ignore[attr-defined, unused-ignore]  # jax 0.7

    return jax.tree.map(cast, tree) if axes else tree


def alike(*xs: Any) -> list[Any]:
    """Operands that vary over the same mesh axes.

    jnp functions see to this by themselves, a primitive bound directly does not; without it the reverse mode of
    `shard_map` takes one device's residual for all of them: a wrong gradient without a word.
    """
    return cast_varying(list(xs), frozenset().union(*(varying(x) for x in xs)))


def local(fun: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """`args` (floats), made to vary over the mesh axes over which `fun(*args)` does: for a derivative of one's own.

    Inside a user's `shard_map`, the derivative in what is the same on all devices is summed over these; an estimator's own
    derivative is of its own device's number.
    """
    if not in_shard_map():
        return args
    results = jax.make_jaxpr(lambda: fun(*args))().out_avals
    return cast_varying(args, frozenset().union(*(_axes(kind) for kind in results)))


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

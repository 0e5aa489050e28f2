"""A state, which is any pytree, as arrays with a description of each leaf, and back by a template."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logtrick.training._archive import Wanted, member

_NUMBERS = (bool, int, float, str)
_MOST_NAMED = 8


class Packed(NamedTuple):
    """What is written of a state: the arrays, and for every leaf its kind and where it is."""

    arrays: list[np.ndarray]
    leaves: list[dict[str, Any]]


def pack(state: Any) -> Packed:
    """`state` as arrays that NumPy can store, and the descriptions of all leaves."""
    arrays: list[np.ndarray] = []
    leaves: list[dict[str, Any]] = []
    for path, leaf in _flat(state):
        described = {"path": path, **describe(path, leaf)}
        if described["kind"] in ("array", "key"):
            described["member"] = member(len(arrays))
            arrays.append(_stored(path, leaf))
        elif described["kind"] != "none":
            described["value"] = leaf
        leaves.append(described)
    return Packed(arrays, leaves)


def describe(path: str, leaf: Any) -> dict[str, Any]:
    """The kind, shape and dtype of a leaf, in which a saved state and a template must agree."""
    if leaf is None:
        return {"kind": "none"}
    if type(leaf) in _NUMBERS:
        return {"kind": type(leaf).__name__}
    if not isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic):
        raise TypeError(
            f"the leaf {path} of the state is of type {type(leaf).__name__}, which a checkpoint cannot keep. Make it an array, "
            "or a static field."
        )
    if _is_key(leaf):
        kind = {"kind": "key", "implementation": _implementation(leaf)}
        return {**kind, "shape": list(leaf.shape), "dtype": str(_key_data(leaf).dtype)}
    dtype = np.dtype(leaf.dtype)
    if dtype.kind not in "biufc" and dtype.isbuiltin != 2:  # 2: bfloat16 and its kin
        raise TypeError(
            f"the leaf {path} of the state has dtype {dtype}, which is no number. Leave it out."
        )
    return {"kind": "array", "shape": list(leaf.shape), "dtype": dtype.name}


def differences(saved: list[dict[str, Any]], like: Any, prefix: str) -> str:
    """In words, where the saved leaves differ from the template's; empty where none does. More leaves may be saved."""
    by_path = {leaf["path"]: leaf for leaf in saved}
    wrong = []
    template = _flat(like, prefix)
    for path, leaf in template:
        asked = describe(path, leaf)
        found = by_path.get(path)
        if found is None:
            wrong.append(f"{path} is missing")
        elif {name: found.get(name) for name in asked} != asked or not _complete(found):
            wrong.append(f"{path} is {_words(found)}, not {_words(asked)}")
    if not wrong:
        return ""
    more = f"; and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    return (
        f"{len(wrong)} of the template's {len(template)} leaves differ: "
        f"{'; '.join(wrong[:_MOST_NAMED])}{more}"
    )


def wanted(saved: list[dict[str, Any]], like: Any, prefix: str) -> list[Wanted]:
    """The members of the archive that hold the template's leaves, in its order, with the template's own sizes."""
    by_path = {leaf["path"]: leaf for leaf in saved}
    return [
        Wanted(by_path[path]["member"], *_storage(leaf))
        for path, leaf in _flat(like, prefix)
        if describe(path, leaf)["kind"] in ("array", "key")
    ]


def unpack(saved: list[dict[str, Any]], like: Any, prefix: str, arrays: list[np.ndarray]) -> Any:
    """The state: the template's tree with the saved leaves, on the template's devices."""
    by_path = {leaf["path"]: leaf for leaf in saved}
    remaining = iter(arrays)
    leaves = []
    for path, leaf in _flat(like, prefix):
        kind = describe(path, leaf)["kind"]
        if kind in ("array", "key"):
            leaves.append(_restored(next(remaining), leaf))
        else:
            leaves.append(by_path[path].get("value"))
    return jax.tree.unflatten(jax.tree.structure(like, is_leaf=_is_none), leaves)


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Leaves with their paths; None is a leaf here, so that an array in its place is noticed."""
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_none)[0]
    named = [(prefix + jax.tree_util.keystr(path), leaf) for path, leaf in leaves]
    if len({path for path, _ in named}) != len(named):
        raise TypeError("two leaves of the state have the same path. Give its nodes names.")
    return named


def _is_none(x: Any) -> bool:
    return x is None


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _key_data(key: Any) -> jax.ShapeDtypeStruct:
    return jax.eval_shape(jax.random.key_data, key)


def _implementation(key: Any) -> str:
    """The name of a key's generator; found by tracing, so that it also works for the shape of a key."""
    found = []

    def look(key: jax.Array) -> jax.Array:
        found.append(str(jax.random.key_impl(key)))
        return jax.random.key_data(key)

    jax.eval_shape(look, key)
    return found[0]


def _storage(leaf: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of a leaf within the archive. What NumPy does not know (bfloat16) is stored as unsigned integers."""
    kept = _key_data(leaf) if _is_key(leaf) else leaf
    dtype = np.dtype(kept.dtype)
    if dtype.isbuiltin == 2:
        dtype = np.dtype(f"uint{8 * dtype.itemsize}")
    return tuple(kept.shape), dtype.newbyteorder("<")


def _stored(path: str, leaf: Any) -> np.ndarray:
    shape, dtype = _storage(leaf)
    if isinstance(leaf, jax.Array):
        leaf = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        leaf = _on_host(path, leaf)
    array = np.asarray(leaf, order="C")
    if array.dtype.isbuiltin == 2:
        return array.view(dtype).reshape(shape)
    return array.astype(dtype, copy=False)


def _on_host(path: str, leaf: jax.Array) -> np.ndarray:
    if leaf.is_fully_addressable:
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    raise TypeError(
        f"the leaf {path} of the state is spread over several processes. Gather it by "
        "jax.experimental.multihost_utils.process_allgather(x, tiled=True) first."
    )


def _restored(array: np.ndarray, like: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(array), impl=_implementation(like))
    dtype = np.dtype(like.dtype)
    array = array.view(dtype) if dtype.isbuiltin == 2 else array.astype(dtype, copy=False)
    if isinstance(like, np.generic):
        return array[()]
    if isinstance(like, np.ndarray):
        return array
    sharding = like.sharding
    if sharding is not None and len(sharding.device_set) > 1:
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
    if isinstance(like, jax.Array) and like.committed:
        return jax.device_put(array, sharding)
    restored = jnp.asarray(array)
    if restored.dtype != dtype:  # a template of shapes alone may ask for what JAX has not
        raise TypeError(
            f"the template asks for {dtype}, which JAX has only with jax_enable_x64. Enable it, or pass NumPy arrays."
        )
    return restored


def _complete(found: dict[str, Any]) -> bool:
    """Whether a leaf of a manifest says where its numbers are."""
    if found["kind"] in ("array", "key"):
        return isinstance(found.get("member"), str)
    if found["kind"] == "none":
        return True
    return type(found.get("value")).__name__ == found["kind"]


def _words(leaf: dict[str, Any]) -> str:
    if leaf["kind"] == "key":
        return f"a key {leaf.get('implementation')}{leaf.get('shape')}"
    if leaf["kind"] == "array":
        return f"{leaf.get('dtype')}{leaf.get('shape')}"
    return "None" if leaf["kind"] == "none" else f"a Python {leaf['kind']}"

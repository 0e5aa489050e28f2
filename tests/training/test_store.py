"""Checkpoints: what is saved comes back bit for bit, into a template that fits, from a folder with one writer."""

import json
import math
import os
import pathlib
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import logtrick as lt
from logtrick.training import Store, _leaves, _manifest, read_params

ROOT = pathlib.Path(__file__).parents[2]


class State(NamedTuple):
    params: Any
    opt_state: Any
    key: Any
    rest: Any


def state(fill=1.0):
    params = {
        "w": jnp.full((2, 3), fill),
        "b": jnp.full(3, fill, jnp.bfloat16),
        "none": None,
        "f8": jnp.asarray([0.5, fill], jnp.float8_e4m3fn),
        "i4": jnp.asarray([-8, 7], jnp.int4),
    }
    trained = {"w": params["w"], "b": params["b"]}
    key = jax.random.key(3, impl="rbg")
    rest = {
        "scalars": [True, 2**70, 0.1, float("nan"), -0.0, "word"],
        "host": np.arange(4, dtype=np.float64) * fill,
        "zero-d": np.float32(fill),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": jnp.zeros((0, 2)),
        "complex": jnp.asarray([1 + 2j], jnp.complex64),
        "flag": jnp.asarray([True, False]),
        "keys": jax.random.split(jax.random.key(0), 3),
    }
    return State(params, optax.adam(1e-3).init(trained), key, rest)


def bits(tree):
    """Everything of a tree that must come back, comparable with ==."""

    def leaf(x):
        if x is None or type(x) in (bool, int, float, str):
            return type(x).__name__, repr(x)
        kind = "key" if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else "array"
        data = np.asarray(jax.random.key_data(x) if kind == "key" else x)
        owner = "jax" if isinstance(x, jax.Array) else type(x).__name__
        return owner, str(x.dtype), x.shape, data.tobytes()

    is_none = lambda x: x is None
    return [leaf(x) for x in jax.tree.leaves(tree, is_leaf=is_none)], jax.tree.structure(tree)


def test_a_state_comes_back_bit_for_bit(tmp_path):
    saved = state()
    extra = {"status": "running", "list": [1, 2.5, None, {"a": False}], "inf": math.inf}
    with Store(tmp_path / "a" / "b") as store:
        store.save(12, saved, extra)
        restored, extra_restored = store.load(like=state(fill=0.0))
    assert bits(restored) == bits(saved)
    assert extra_restored == extra
    draw = lambda key: np.asarray(jax.random.bits(key, (3,)))
    np.testing.assert_array_equal(draw(restored.key), draw(saved.key))


def test_a_template_of_shapes_is_enough(tmp_path):
    make = lambda: {"k": jax.random.key(1, impl="rbg"), "x": jnp.ones((2,), jnp.bfloat16)}
    with Store(tmp_path) as store:
        store.save(0, make())
        restored, _ = store.load(0, jax.eval_shape(make))
    assert bits(restored) == bits(make())


def test_double_precision_is_kept(tmp_path, x64):
    saved = {"x": jnp.asarray([1 / 3]), "n": jnp.asarray(2**40)}
    with Store(tmp_path) as store:
        store.save(1, saved)
        assert bits(store.load(like=jax.tree.map(jnp.zeros_like, saved))[0]) == bits(saved)


def test_a_template_of_another_precision_is_refused(tmp_path):
    with Store(tmp_path) as store:
        store.save(1, {"x": np.ones(2)})
        with pytest.raises(lt.CheckpointError, match=r"x64 False.*float64\[2\], not float32\[2\]"):
            store.load(like={"x": jnp.ones(2)})
        with pytest.raises(TypeError, match="asks for float64"):
            store.load(like={"x": jax.ShapeDtypeStruct((2,), np.float64)})


def test_the_last_ones_are_kept_and_the_newest_is_the_last_saved(tmp_path):
    with Store(tmp_path, keep=2) as store:
        for step in (10, 20, 30):
            store.save(step, {"x": jnp.full(1, float(step))})
        assert store.steps() == [20, 30]
        assert store.load(20, {"x": jnp.zeros(1)})[0]["x"] == 20
        store.save(20, {"x": jnp.full(1, 21.0)})  # the run went back
        assert store.steps() == [30, 20]
        assert store.load(20, {"x": jnp.zeros(1)})[0]["x"] == 21
        assert store.load(like={"x": jnp.zeros(1)})[0]["x"] == 21
        with pytest.raises(lt.CheckpointError, match=r"no checkpoint of step 5; it has \[20, 30\]"):
            store.load(5, {"x": jnp.zeros(1)})
    assert sum(name.endswith(".npz") for name in os.listdir(tmp_path)) == 2


def test_what_is_written_is_an_npz_file_and_json(tmp_path):
    with Store(tmp_path) as store:
        store.save(3, {"x": jnp.arange(3.0), "y": jnp.ones(2)}, {"a": 1})
    manifest = json.loads((tmp_path / "checkpoint-00000001-step-3.json").read_text())
    assert manifest["leaves"][0] == {
        "path": "['x']",
        "kind": "array",
        "shape": [3],
        "dtype": "float32",
        "member": "leaf_00000",
    }
    with np.load(tmp_path / manifest["archive"]["name"]) as archive:
        np.testing.assert_array_equal(archive["leaf_00000"], np.arange(3.0))


def test_the_same_state_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        with Store(tmp_path / name) as store:
            store.save(1, state())
    files = [sorted((tmp_path / name).glob("checkpoint-*")) for name in ("a", "b")]
    assert [f.read_bytes() for f in files[0]] == [f.read_bytes() for f in files[1]]
    assert len(files[0]) == 2


def test_parts_of_a_state_are_read_alone(tmp_path):
    with Store(tmp_path) as store:
        store.save(1, state())
        params = read_params(tmp_path, state(fill=0.0).params)  # while the run holds the lock
        assert bits(params) == bits(state().params)
        key, _ = store.load(like=jax.random.key(0, impl="rbg"), at=".key")
        assert bits(key) == bits(state().key)
        with pytest.raises(lt.CheckpointError, match=r"\.nowhere\['w'\] is missing"):
            read_params(tmp_path, {"w": jnp.ones((2, 3))}, at=".nowhere")


def test_a_reader_looks_again_when_the_writer_has_removed_what_it_found(tmp_path, monkeypatch):
    read = _manifest.from_file
    with Store(tmp_path, keep=1) as store:
        store.save(1, {"x": jnp.ones(1)})

        def late(path):
            if path.name.endswith("-step-1.json"):
                store.save(2, {"x": jnp.full(1, 2.0)})
            return read(path)

        monkeypatch.setattr(_manifest, "from_file", late)
        assert read_params(tmp_path, {"x": jnp.zeros(1)}, at="")["x"] == 2


def test_parameters_that_are_python_numbers_are_read_as_arrays(tmp_path):
    with Store(tmp_path) as store:
        store.save(1, State(jnp.asarray(2.5), None, None, None))
    assert read_params(tmp_path, 0.0) == 2.5


def test_about_says_what_was_saved(tmp_path):
    with Store(tmp_path) as store:
        store.save(4, state(), {"loss": 0.5})
        about = store.about()
    assert about["step"] == 4 and about["extra"] == {"loss": 0.5}
    assert about["about"] == {"logtrick": lt.__version__, "jax": jax.__version__, "x64": False}
    by_path = {leaf["path"]: leaf for leaf in about["leaves"]}
    assert by_path[".params['b']"]["dtype"] == "bfloat16"
    assert by_path[".key"]["implementation"] == "rbg"
    assert by_path[".params['none']"] == {"path": ".params['none']", "kind": "none"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "more": jnp.ones(1)}, r"1 of .* leaves differ: \['more'\] is missing"),
        (lambda s: {**s, "w": jnp.ones((3, 2))}, r"\['w'\] is float32\[2, 3\], not float32\[3, 2\]"),
        (lambda s: {**s, "w": jnp.ones((2, 3), int)}, r"float32\[2, 3\], not int32\[2, 3\]"),
        (lambda s: {**s, "n": jnp.ones(1)}, r"\['n'\] is None, not float32\[1\]"),
        (lambda s: {**s, "w": None}, r"\['w'\] is float32\[2, 3\], not None"),
        (lambda s: {**s, "i": 1.0}, r"\['i'\] is a Python int, not a Python float"),
        (lambda s: {**s, "k": jax.random.key(0, impl="rbg")}, r"a key threefry2x32\[\], not a key rbg"),
        (lambda s: {**s, "k": jax.random.key_data(s["k"])}, r"threefry2x32\[\], not uint32\[2\]"),
        (lambda s: {"a": s}, r"4 of .*\['a'\]\['n'\] is missing"),
    ],
)  # fmt: skip
def test_another_template_is_refused_and_the_leaves_are_named(tmp_path, change, message):
    saved = {"w": jnp.ones((2, 3)), "n": None, "i": 1, "k": jax.random.key(0)}
    with Store(tmp_path) as store:
        store.save(1, saved)
        with pytest.raises(lt.CheckpointError, match=message):
            store.load(like=change(saved), fallback=True)  # another model is no damage: no way back
        fewer = {"i": 0, "w": jnp.zeros((2, 3))}
        assert bits(store.load(like=fewer)[0]) == bits({"i": 1, "w": jnp.ones((2, 3))})


def test_many_differences_are_counted(tmp_path):
    with Store(tmp_path) as store:
        store.save(1, {})
        with pytest.raises(lt.CheckpointError, match="20 of the template's 20 .*; and 12 more"):
            store.load(like=[jnp.zeros(1)] * 20)


def test_what_cannot_be_kept_is_refused_before_anything_is_written(tmp_path):
    with Store(tmp_path) as store:
        for leaf, message in [
            (object(), r"\['x'\] of the state is of type object"),
            (np.asarray([None]), "dtype object, which is no number"),
            (np.asarray(["a"]), "dtype <U1"),
        ]:
            with pytest.raises(TypeError, match=message):
                store.save(1, {"x": leaf})
        for extra, message in [
            ({"a": (1, 2)}, r"extra\['a'\] needs what JSON keeps .* got tuple"),
            ({"a": [np.float32(1)]}, r"extra\['a'\]\[0\] .* got float32"),
            ({1: 2}, "strings as keys; got 1"),
            ([1], "needs a dict; got list"),
        ]:
            with pytest.raises(TypeError, match=message):
                store.save(1, {}, extra)
        with pytest.raises(ValueError, match="at least 0; got -1"):
            store.save(-1, {})
        with pytest.raises(TypeError, match="needs a template"):
            store.load(1)
        with pytest.raises(lt.CheckpointError, match="has no checkpoints"):
            store.load(like={})
    with pytest.raises(ValueError, match="keep"):
        Store(tmp_path, keep=0)
    with pytest.raises(lt.CheckpointError, match="cannot be read"):
        read_params(tmp_path / "nowhere", {})


def test_a_state_is_restored_onto_the_devices_of_the_template(tmp_path):
    mesh = jax.make_mesh((4,), ("data",))
    saved = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, PartitionSpec("data")))
    with Store(tmp_path) as store:
        store.save(1, {"x": saved})
        for layout in (PartitionSpec(), PartitionSpec("data")):
            like = jax.device_put(jnp.zeros(8), NamedSharding(mesh, layout))
            restored = store.load(like={"x": like})[0]["x"]
            assert restored.sharding == like.sharding
            np.testing.assert_array_equal(restored, saved)
        one = jax.device_put(jnp.zeros(8), jax.devices()[2])
        assert store.load(like={"x": one})[0]["x"].devices() == {jax.devices()[2]}
        assert not store.load(like={"x": jnp.zeros(8)})[0]["x"].committed


def test_two_writers_are_refused_and_the_lock_dies_with_its_process(tmp_path):
    with (
        Store(tmp_path),
        pytest.raises(lt.CheckpointError, match=f"being written by process {os.getpid()} on"),
    ):
        Store(tmp_path)
    code = (
        "from tests.training.writers import Folder\nimport pathlib, time\n"
        f"folder = Folder(pathlib.Path({str(tmp_path)!r}), 3)\n"
        "print('locked', flush=True)\ntime.sleep(600)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        try:
            assert other.stdout.readline() == "locked\n"
            with pytest.raises(lt.CheckpointError, match=f"written by process {other.pid} on"):
                Store(tmp_path)
        finally:
            other.kill()
            other.wait()
        Store(tmp_path).close()


def test_a_closed_store_saves_nothing(tmp_path):
    store = Store(tmp_path)
    store.save(1, {"x": jnp.ones(1)})
    store.close()
    store.close()
    with pytest.raises(lt.CheckpointError, match="was closed"):
        store.save(2, {"x": jnp.ones(1)})
    assert store.load(like={"x": jnp.zeros(1)})[0]["x"] == 1


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path):
    with Store(tmp_path) as store:
        store.save(1, {"x": jnp.ones(1)})
    stale = [
        ".tmp-checkpoint-00000002-step-2.npz",
        ".tmp-checkpoint-00000002-step-2.json",
        "checkpoint-00000002-step-2.npz",
    ]
    foreign = ["notes.txt", ".tmp-else", "data.npz", "checkpoint-final.npz"]
    for name in stale + foreign:
        (tmp_path / name).write_bytes(b"")
    Store(tmp_path).close()
    kept = ["checkpoint-00000001-step-1.json", "checkpoint-00000001-step-1.npz"]
    assert sorted(os.listdir(tmp_path)) == sorted([".lock", *kept, *foreign])


def test_another_format_is_refused(tmp_path):
    with Store(tmp_path) as store:
        store.save(5, {"x": jnp.arange(3.0)})
        file = tmp_path / "checkpoint-00000001-step-5.json"
        manifest = json.loads(file.read_text())
        del manifest["checksum"]
        file.write_bytes(_manifest.to_bytes({**manifest, "format": 2}))
        with pytest.raises(lt.CheckpointError, match="has format 2; .* reads format 1. Use the"):
            store.load(like={"x": jnp.zeros(3)}, fallback=True)


class Twins:
    """A node that gives both of its children the same name."""


def test_leaves_with_one_path_are_refused(tmp_path):
    name = jax.tree_util.GetAttrKey("x")
    jax.tree_util.register_pytree_with_keys(
        Twins, lambda twins: (((name, 1), (name, 2)), None), lambda aux, children: Twins()
    )
    with Store(tmp_path) as store, pytest.raises(TypeError, match="have the same path"):
        store.save(1, Twins())


class Spread(NamedTuple):
    """The face of an array over several processes."""

    is_fully_replicated: bool
    is_fully_addressable: bool = False

    def addressable_data(self, index):
        return np.full(2, index)


def test_of_arrays_over_several_processes_only_what_is_replicated_is_saved():
    np.testing.assert_array_equal(_leaves._on_host("x", Spread(True)), np.zeros(2))
    with pytest.raises(TypeError, match="the leaf x .* spread over several processes. Gather it"):
        _leaves._on_host("x", Spread(False))

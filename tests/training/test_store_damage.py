"""Damaged and forged checkpoints: an error that says what is wrong, never a wrong state, never a huge allocation."""

import hashlib
import io
import json
import random
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.training import Store, _manifest

STATE = {"w": jnp.arange(6.0).reshape(2, 3), "k": jax.random.key(5), "n": None, "i": 3}
EXTRA = {"value": [0.25, -1.5e-7], "status": "running"}
TEMPLATE = {"w": jnp.zeros((2, 3)), "k": jax.random.key(0), "n": None, "i": 0}
REASON = "cannot be read|has .* bytes|another SHA-256|checksum|is not the JSON|another file"


def same(loaded, extra):
    state = {**loaded, "k": jax.random.key_data(loaded["k"])}
    expected = {**STATE, "k": jax.random.key_data(STATE["k"])}
    equal = jax.tree.map(lambda a, b: bool(np.all(a == b)), state, expected)
    return all(jax.tree.leaves(equal)) and repr(extra) == repr(EXTRA)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        store.save(7, STATE, EXTRA)
        yield store


def files(store):
    stem = store.folder / "checkpoint-00000001-step-7"
    return stem.with_suffix(".json"), stem.with_suffix(".npz")


def flip(store, count, seed):
    """Flip `count` single bits in turn; returns how many were refused, the others having loaded what was saved."""
    generator, refused = random.Random(seed), 0
    intact = [(file, file.read_bytes()) for file in files(store)]
    for _ in range(count):
        file, content = generator.choice(intact)
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(damaged)
        try:
            loaded = store.load(like=TEMPLATE)
        except lt.CheckpointError as error:
            assert str(store.folder) in error.path and error.reason
            refused += 1
        else:
            assert file.suffix == ".json" and same(*loaded)  # white space between two fields
        file.write_bytes(content)
    return refused


def test_bit_flips_never_load_a_wrong_state(store):
    assert 300 < flip(store, 400, seed=0) <= 400
    assert same(*store.load(like=TEMPLATE))


@pytest.mark.full
def test_many_bit_flips_never_load_a_wrong_state(store):
    assert 15_000 < flip(store, 20_000, seed=1) <= 20_000


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: b"hello",
        lambda content: b"[" * 100_000,
        lambda content: b'{"format": 1}',
        lambda content: b"9" * 10_000,
        lambda content: bytes(len(content)),
    ],
)
def test_truncated_empty_and_foreign_files_are_refused(store, which, damage):
    file = files(store)[which]
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(lt.CheckpointError, match=REASON) as caught:
        store.load(like=TEMPLATE)
    assert caught.value.path == str(file)


def test_files_that_are_missing_or_renamed_are_refused(store):
    manifest, archive = files(store)
    renamed = manifest.with_name("checkpoint-00000001-step-8.json")
    renamed.write_bytes(manifest.read_bytes())
    with pytest.raises(lt.CheckpointError, match="it was renamed"):
        store.load(8, TEMPLATE)
    archive.unlink()
    with pytest.raises(lt.CheckpointError, match="npz: cannot be read .* No such file"):
        store.load(7, TEMPLATE)


def test_a_damaged_newest_one_is_an_error_unless_an_older_one_is_asked_for(store):
    store.save(8, {**STATE, "i": 4})
    store.save(9, {**STATE, "i": 5})
    newest = store.folder / "checkpoint-00000003-step-9.npz"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(lt.CheckpointError, match="step-9.npz"):
        store.load(like=TEMPLATE)
    with pytest.warns(RuntimeWarning, match=r"step-9.npz: has .* of step 8 was loaded instead"):
        assert store.load(like=TEMPLATE, fallback=True)[0]["i"] == 4
    for file in store.folder.glob("*.npz"):
        file.write_bytes(b"")
    with pytest.raises(lt.CheckpointError, match=r"no checkpoint that is not damaged: .*9.*8.*7"):
        store.load(like=TEMPLATE, fallback=True)


# Forged files: their hashes and checksums agree, so that what is inside has to be judged.


def forge(store, archive, **changes):
    """Put `archive` in the place of the checkpoint's, with a manifest that vouches for it."""
    manifest_file, archive_file = files(store)
    manifest = json.loads(manifest_file.read_text())
    del manifest["checksum"]
    sha256 = hashlib.sha256(archive).hexdigest()
    manifest["archive"] = {"name": archive_file.name, "bytes": len(archive), "sha256": sha256}
    archive_file.write_bytes(archive)
    manifest_file.write_bytes(_manifest.to_bytes({**manifest, **changes}))


def npz(w, compression=zipfile.ZIP_STORED):
    """An archive whose member of "w" is `w`, bytes or an array."""
    if not isinstance(w, bytes):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, w, allow_pickle=True)
        w = buffer.getvalue()
    key = io.BytesIO()
    np.save(key, np.asarray(jax.random.key_data(STATE["k"])))
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", compression) as archive:
        archive.writestr("leaf_00000.npy", key.getvalue())
        archive.writestr("leaf_00001.npy", w)
    return whole.getvalue()


def header(shape, dtype="<f4"):
    buffer = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def test_the_forger_can_forge(store):
    forge(store, npz(np.asarray(STATE["w"])))
    assert same(*store.load(like=TEMPLATE))


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('unpickled')",)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (lambda: npz(np.array([[Evil()] * 3] * 2)), "holds pickled objects, which are never loaded"),
        (lambda: npz(header((2**40,)) + bytes(24)), r"declared as float32\[1099511627776\]"),
        (lambda: npz(header((2, 3))), r"has 0 bytes of numbers; 24 were expected"),
        (lambda: npz(header((2, 3), "<f8") + bytes(48)), r"float64\[2, 3\]; float32\[2, 3\] was"),
        (lambda: npz(header((3, 2)) + bytes(24)), r"float32\[3, 2\]; float32\[2, 3\] was expected"),
        (lambda: npz(header((2, 3), ">f4") + bytes(24)), r">f4\[2, 3\]; float32\[2, 3\]"),
        (lambda: npz(np.zeros((2, 3), "f4"), zipfile.ZIP_DEFLATED), "compressed members"),
        (lambda: npz(b"\x93NUMPY\x03\x00"), r"npy version \(3, 0\)"),
        (lambda: npz(b"no array"), "cannot be read as an npz file: ValueError"),
        (lambda: npz(b""), "cannot be read as an npz file"),
        (lambda: b"PK\x05\x06" + bytes(18), "cannot be read as an npz file: KeyError"),
        (lambda: b"foreign", "cannot be read as an npz file: BadZipFile"),
        (lambda: claiming(2**42), r"claims \d{13} bytes of arrays in a file of"),
    ],
)  # fmt: skip
def test_forged_archives_are_refused(store, archive, message):
    forge(store, archive())
    tracemalloc.start()
    try:
        with pytest.raises(lt.CheckpointError, match=message):
            store.load(like=TEMPLATE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**23


def claiming(size):
    """An archive whose directory says that "w" has `size` bytes."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("leaf_00001.npy", header((2, 3)) + bytes(24))
        archive.getinfo("leaf_00001.npy").file_size = size
        archive.getinfo("leaf_00001.npy").compress_size = size
    return whole.getvalue()


def test_a_template_as_large_as_the_forged_size_is_refused(store):
    leaf = {"path": "['w']", "kind": "array", "shape": [2**40], "dtype": "float32"}
    forge(store, npz(header((2**40,)) + bytes(24)), leaves=[{**leaf, "member": "leaf_00001"}])
    with pytest.raises(lt.CheckpointError, match="has 24 bytes of numbers; 4398046511104 were"):
        store.load(like={"w": jax.ShapeDtypeStruct((2**40,), jnp.float32)})
    with pytest.raises(lt.CheckpointError, match=r"\[1099511627776\], not float32\[2, 3\]"):
        store.load(like={"w": jnp.zeros((2, 3))})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leaves": [1]}, "describes a leaf wrongly"),
        ({"leaves": [{"path": 1, "kind": "array"}]}, "describes a leaf wrongly"),
        ({"leaves": [{"path": "['w']", "kind": "array", "shape": [2, 3], "dtype": "float32"}]}, r"\['w'\] is"),
        ({"leaves": [{"path": "['w']", "kind": "none", "value": 1}]}, r"\['w'\] is None"),
        ({"leaves": {}}, "lacks fields"),
        ({"extra": []}, "lacks fields"),
        ({"format": "1"}, "has no format version"),
        ({"step": 8}, "it was renamed"),
    ],
)  # fmt: skip
def test_forged_manifests_are_refused(store, changes, message):
    forge(store, npz(np.asarray(STATE["w"])), **changes)
    with pytest.raises(lt.CheckpointError, match=message):
        store.load(like={"w": jnp.zeros((2, 3))})


def test_a_manifest_too_large_is_not_read(store, monkeypatch):
    monkeypatch.setattr(_manifest, "MOST_BYTES", 100)
    with pytest.raises(lt.CheckpointError, match="a manifest has at most 100"):
        store.load(like=TEMPLATE)
    with pytest.raises(ValueError, match="needs at most 100 bytes"):
        store.save(8, STATE)
    assert store.steps() == [7] and len(list(store.folder.glob("*.npz"))) == 1

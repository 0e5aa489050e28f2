"""Killed writers, full disks, folders without permission: what was saved before is there, and no trace of what failed."""

import errno
import fcntl
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest

import logtrick as lt
from logtrick.training import Store

STATE = {"x": jnp.arange(1000.0)}
ROOT = pathlib.Path(__file__).parents[2]


def writers(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.training.writers", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_writer_killed_at_every_single_operation_leaves_a_good_checkpoint(tmp_path):
    assert writers("exhaustive", tmp_path) >= 40


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.full)])
def test_a_writer_killed_at_random_moments_leaves_a_good_checkpoint(tmp_path, kills):
    assert writers("random", tmp_path, kills) >= kills


def test_a_forked_worker_does_not_keep_the_lock(tmp_path):
    assert writers("forked", tmp_path) == 0


def content(folder):
    return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def check_refused(store, message):
    """Saving fails with a message, changes nothing in the folder, and what was there can be read."""
    before = content(store.folder)
    with pytest.raises(lt.CheckpointError, match=message) as caught:
        store.save(2, STATE)
    assert caught.value.path == str(store.folder / "checkpoint-00000002-step-2.json")
    assert content(store.folder) == before
    np.testing.assert_array_equal(store.load(like=STATE)[0]["x"], STATE["x"])


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path, keep=1) as store:
        store.save(1, STATE)
        yield store


def test_a_limit_on_the_size_of_files_leaves_the_earlier_checkpoint(store):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        check_refused(store, "cannot be written: File too large. What was saved before is")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    store.save(2, STATE)
    assert store.steps() == [2]


@pytest.mark.parametrize("operation", ["fsync", "replace"])
@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_full_disk_leaves_the_earlier_checkpoint(store, monkeypatch, operation, failing):
    calls = 0
    function = getattr(os, operation)

    def full(*args):
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*args)

    monkeypatch.setattr(os, operation, full)
    if operation == "replace" and failing > 2:
        store.save(2, STATE)
        assert calls == 2 and store.steps() == [2]
    else:
        check_refused(store, "cannot be written: No space left on device")


def test_an_interrupt_within_a_save_leaves_nothing_behind(store, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    before = content(store.folder)
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(2, STATE)
    assert content(store.folder) == before


def test_a_folder_without_permission_is_left_as_it_was():
    with tempfile.TemporaryDirectory() as above:
        folder = pathlib.Path(above) / "run"
        with Store(folder, keep=1) as store:
            store.save(1, STATE)
            before = content(folder)
            os.chmod(above, 0o755)
            os.chmod(folder, 0o555)
            user = os.geteuid()
            os.seteuid(65534 if user == 0 else user)  # root may write anywhere
            try:
                check_refused(store, "cannot be written: Permission denied")
                with pytest.raises(lt.CheckpointError, match="cannot be made: Permission denied"):
                    Store(folder / "below")
            finally:
                os.seteuid(user)
                os.chmod(folder, 0o755)
            assert content(folder) == before


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(lt.CheckpointError, match="cannot be made: File exists"):
        Store(tmp_path / "file")


def test_a_file_system_that_cannot_lock_is_refused(tmp_path, monkeypatch):
    def flock(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(lt.CheckpointError, match="cannot lock files: No locks available"):
        Store(tmp_path)

"""Writers of checkpoints that are killed: run as a script, without JAX, which forks many of them quickly.

python -m tests.training.writers exhaustive|random|forked FOLDER [COUNT]
"""

import os
import pathlib
import random
import shutil
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import numpy as np

import logtrick

# The package around the store imports JAX; a stand-in for the package itself leaves the modules of the folder alone.
# (Not where JAX is there already: the doctests of a whole suite are collected by importing this file.)
if "jax" not in sys.modules:
    package = types.ModuleType("logtrick.training")
    package.__path__ = [str(pathlib.Path(logtrick.__file__).parent / "training")]
    sys.modules["logtrick.training"] = package

from logtrick.training import _archive, _manifest  # after the stand-in
from logtrick.training._folder import Folder, entries  # after the stand-in

SIZE = 1000
KEEP = 2


def save(folder: Folder, step: int) -> None:
    arrays = [np.full(SIZE, step, "<f8"), np.full((), step, "<i4")]
    manifest = {"format": _manifest.FORMAT, "step": step, "about": {}, "leaves": [], "extra": {}}
    folder.save(step, arrays, manifest)


def newest(path: pathlib.Path) -> int:
    """The step of the newest checkpoint, which has to be whole."""
    entry = entries(path)[-1]
    described = _manifest.from_file(entry.manifest)["archive"]
    wanted = [
        _archive.Wanted(_archive.member(0), (SIZE,), np.dtype("<f8")),
        _archive.Wanted(_archive.member(1), (), np.dtype("<i4")),
    ]
    arrays = _archive.read(entry.archive, described["bytes"], described["sha256"], wanted)
    assert all(np.all(array == entry.step) for array in arrays), entry
    return entry.step


def check_aftermath(path: pathlib.Path) -> int:
    """The newest one is whole, the lock is free, and the next writer leaves no trace of the dead one."""
    step = newest(path)
    folder = Folder(path, KEEP)
    assert newest(path) == step
    save(folder, step + 1)
    folder.close()
    assert newest(path) == step + 1
    kept = [entry.manifest.name for entry in entries(path)][-KEEP:]
    expected = [".lock", *kept, *(name.replace(".json", ".npz") for name in kept)]
    assert sorted(os.listdir(path)) == sorted(expected), os.listdir(path)
    return step


def in_child(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def die_at(operation: int) -> None:
    """From now on, the operation of this number on files does not happen: the process is killed instead."""
    done = 0

    def fatal(function: Callable[..., Any], before: Callable[..., Any] = lambda *args: None) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == operation:
                before(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    def half(sink: Any, data: Any) -> None:
        sink.file.write(bytes(data)[: len(data) // 2])
        sink.file.flush()

    os.fsync, os.replace, os.unlink = fatal(os.fsync), fatal(os.replace), fatal(os.unlink)
    _archive._Hashed.write = fatal(_archive._Hashed.write, half)  # type: ignore[method-assign]  # breaks it on purpose


def exhaustive(path: pathlib.Path) -> int:
    """Kill a writer of two checkpoints before its first operation on files, its second, …; returns how many there are."""
    start = path / "start"
    folder = Folder(start, KEEP)
    for step in (1, 2):
        save(folder, step)
    folder.close()
    before = 2
    for operation in range(1, 1000):
        work = path / str(operation)
        shutil.copytree(start, work)

        def write(work: pathlib.Path = work, operation: int = operation) -> None:
            folder = Folder(work, KEEP)
            die_at(operation)
            for step in (3, 4):
                save(folder, step)

        code = os.waitstatus_to_exitcode(os.waitpid(in_child(write), 0)[1])
        after = newest(work)
        assert before <= after <= 4
        before = after
        if code == 0:
            assert after == 4
            return operation - 1
        assert code == -signal.SIGKILL, code
        check_aftermath(work)
    raise AssertionError("the writer never ended")


def at_random(path: pathlib.Path, count: int) -> int:
    """Kill a writer that saves without a pause, `count` times at a random moment; returns the last step."""
    generator, step = random.Random(0), 0
    folder = Folder(path, KEEP)
    save(folder, 0)
    folder.close()
    for _ in range(count):

        def write(first: int = step) -> None:
            folder = Folder(path, KEEP)
            for step in range(first + 1, first + 10**9):
                save(folder, step)

        child = in_child(write)
        time.sleep(generator.uniform(0.005, 0.03))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        step = check_aftermath(path) + 1
    return step


def forked(path: pathlib.Path) -> int:
    """A forked child neither holds its parent's lock nor writes with it."""
    folder = Folder(path, KEEP)
    reading, writing = os.pipe()

    def idle() -> None:
        os.close(writing)
        assert not folder.lock.held
        os.read(reading, 1)  # until the parent closes its end

    child = in_child(idle)
    folder.close()
    Folder(path, KEEP).close()
    os.close(writing)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    which, place = sys.argv[1], pathlib.Path(sys.argv[2])
    if which == "exhaustive":
        print(exhaustive(place))
    elif which == "random":
        print(at_random(place, int(sys.argv[3])))
    else:
        print(forked(place))
    assert "jax" not in sys.modules

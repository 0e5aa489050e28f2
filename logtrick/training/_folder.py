"""A folder of checkpoints: each is an archive and a manifest, and exists from the moment when its manifest does."""

import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from logtrick._core.errors import CheckpointError
from logtrick.training import _archive, _manifest
from logtrick.training._lock import FolderLock

T = TypeVar("T")
_NAME = re.compile(r"checkpoint-(\d{8,})-step-(\d+)\.json")
_TEMPORARY = ".tmp-"


class Entry(NamedTuple):
    """A checkpoint: the number of the save, counted over the folder's life, and the step."""

    number: int
    step: int
    manifest: pathlib.Path

    @property
    def archive(self) -> pathlib.Path:
        return self.manifest.with_suffix(".npz")


def entries(path: pathlib.Path) -> list[Entry]:
    """The checkpoints of a folder in the order in which they were saved; other files are not looked at.

    In the order of the saves, not of the steps: a run that went back to an earlier step saves smaller steps later.
    """
    try:
        names = os.listdir(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}.") from error
    found = [(match, path / match[0]) for match in map(_NAME.fullmatch, names) if match]
    return sorted(Entry(int(match[1]), int(match[2]), file) for match, file in found)


def steps(path: pathlib.Path) -> list[int]:
    """The steps of which there are checkpoints; one that was saved twice is listed where it was saved last."""
    newest_first = dict.fromkeys(entry.step for entry in reversed(entries(path)))
    return list(reversed(newest_first))


def absolute(folder: str | pathlib.Path) -> pathlib.Path:
    """The path of a folder as users write it, "~/runs" included."""
    return pathlib.Path(folder).expanduser().absolute()


class Folder:
    """The one writer of a folder.

    The order of a save: the archive is written to a temporary file, fsync, rename, fsync of the folder; then the manifest in
    the same way; then the oldest checkpoints are removed, manifest first. So a process that dies at any moment leaves the
    earlier checkpoints, and at most files without a manifest, which the next writer removes.
    """

    def __init__(self, path: pathlib.Path, keep: int) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(path, f"cannot be made: {error.strerror}.") from error
        self.path, self.keep = path, keep
        self.lock = FolderLock(path)
        self._sweep()

    def save(self, step: int, arrays: Sequence[np.ndarray], manifest: dict[str, Any]) -> None:
        """Write `arrays` and `manifest`, whose "archive" is filled in here; then remove all but the last `keep`."""
        if not self.lock.held:
            raise CheckpointError(self.path, "was closed, or belongs to the parent process.")
        existing = entries(self.path)
        number = existing[-1].number + 1 if existing else 1
        new = Entry(number, step, self.path / f"checkpoint-{number:08d}-step-{step}.json")
        try:
            size, sha256 = self._write(new.archive, lambda file: _archive.write(file, arrays))
            described = {"name": new.archive.name, "bytes": size, "sha256": sha256}
            content = _manifest.to_bytes({**manifest, "archive": described})
            self._write(new.manifest, lambda file: file.write(content))
        except OSError as error:
            self._remove(new)
            raise CheckpointError(
                new.manifest,
                f"cannot be written: {error.strerror}. What was saved before is untouched.",
            ) from error
        except BaseException:
            self._remove(new)
            raise
        for old in entries(self.path)[: -self.keep]:
            self._remove(old)

    def close(self) -> None:
        """Let the next writer in."""
        self.lock.release()

    def _write(self, path: pathlib.Path, fill: Callable[[BinaryIO], T]) -> T:
        temporary = path.with_name(_TEMPORARY + path.name)
        try:
            with open(temporary, "wb") as file:
                result = fill(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        self._sync()
        return result

    def _sync(self) -> None:
        """Make the renames in the folder durable. Windows has no such call."""
        if sys.platform == "win32":
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove(self, entry: Entry) -> None:
        for path in (
            entry.manifest,
            entry.archive,
        ):  # in this order: `_sweep` removes an archive without a manifest
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove the files of a writer that died during a save."""
        known = {entry.archive.name for entry in entries(self.path)}
        for name in os.listdir(self.path):
            stem = name.removeprefix(_TEMPORARY).removesuffix(".json").removesuffix(".npz")
            ours = _NAME.fullmatch(stem + ".json") is not None
            stale = name.startswith(_TEMPORARY) or (name.endswith(".npz") and name not in known)
            if ours and stale:
                with suppress(OSError):
                    (self.path / name).unlink()

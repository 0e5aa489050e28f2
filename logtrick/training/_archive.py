"""Arrays in an npz file: written and hashed in one pass, read only after every declared size was checked."""

import hashlib
import math
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from logtrick.training._manifest import DamagedError

_DATE = (1980, 1, 1, 0, 0, 0)  # the same state gives the same bytes
_MOST_HEADER = 10_000
_BLOCK = 2**20
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class Wanted(NamedTuple):
    """A member of the archive, as the template says it must be."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class _Hashed:
    """A file to write to, which hashes and counts the bytes. It cannot seek, so that no byte is written twice."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256, self.count = file, hashlib.sha256(), 0

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self.count += memoryview(data).nbytes
        self.file.write(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        self.file.flush()


def member(index: int) -> str:
    """The name of the leaf number `index` within the archive."""
    return f"leaf_{index:05d}"


def write(file: BinaryIO, arrays: Sequence[np.ndarray]) -> tuple[int, str]:
    """Write `arrays` as the members 0, 1, … of an npz file; returns its length and its SHA-256."""
    sink = _Hashed(file)
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]  # needs no seek
        for index, array in enumerate(arrays):
            info = zipfile.ZipInfo(member(index) + ".npy", _DATE)
            with archive.open(info, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, version=(1, 0), allow_pickle=False)
    return sink.count, sink.sha256.hexdigest()


def read(path: pathlib.Path, size: int, sha256: str, wanted: Sequence[Wanted]) -> list[np.ndarray]:
    """The arrays `wanted`, from a file of the length and the hash that its manifest declares.

    Nothing larger than a block of the file is allocated before all of these agree: the file's length, its hash, each
    member's length and its header with the template. Pickles are never loaded.
    """
    with _said(path), open(path, "rb") as file:
        _check_file(path, file, size, sha256)
        with zipfile.ZipFile(file) as archive:
            _check_sizes(path, archive, size)
            for item in wanted:
                _check_member(path, archive, item)
            return [_array(archive, item) for item in wanted]


@contextmanager
def _said(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except DamagedError:
        raise
    except _BROKEN as error:
        raise DamagedError(
            path, f"cannot be read as an npz file: {type(error).__name__}: {error}."
        ) from error


def _check_file(path: pathlib.Path, file: BinaryIO, size: int, sha256: str) -> None:
    length = file.seek(0, 2)
    if length != size:
        raise DamagedError(path, f"has {length} bytes; {size} were written.")
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    if digest.hexdigest() != sha256:
        raise DamagedError(path, "has another SHA-256 than what was written: it is damaged.")
    file.seek(0)


def _check_sizes(path: pathlib.Path, archive: zipfile.ZipFile, size: int) -> None:
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise DamagedError(path, "has compressed members; logtrick writes none.")
    claimed = sum(entry.file_size for entry in entries)
    if claimed > size:
        raise DamagedError(path, f"claims {claimed} bytes of arrays in a file of {size}.")


def _check_member(path: pathlib.Path, archive: zipfile.ZipFile, wanted: Wanted) -> None:
    entry = archive.getinfo(wanted.name + ".npy")
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise DamagedError(path, f"{wanted.name} has npy version {version}; (1, 0) is written.")
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream, _MOST_HEADER)
        header = stream.tell()
    if dtype.hasobject:
        raise DamagedError(path, f"{wanted.name} holds pickled objects, which are never loaded.")
    if shape != wanted.shape or dtype != wanted.dtype:
        raise DamagedError(
            path,
            f"{wanted.name} is declared as {dtype}{list(shape)}; {wanted.dtype}{list(wanted.shape)} was expected.",
        )
    if entry.file_size != header + wanted.num_bytes:
        raise DamagedError(
            path,
            f"{wanted.name} has {entry.file_size - header} bytes of numbers; {wanted.num_bytes} were expected.",
        )


def _array(archive: zipfile.ZipFile, wanted: Wanted) -> np.ndarray:
    with archive.open(wanted.name + ".npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False, max_header_size=_MOST_HEADER)

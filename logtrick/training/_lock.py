"""One writer per folder: a lock of the operating system, which ends with the process that holds it."""

import os
import pathlib
import socket
import sys
import weakref

from logtrick._core.errors import CheckpointError

NAME = ".lock"


class FolderLock:
    """Held from construction until `release`, or until the process ends, however it ends.

    A file with a process number would outlive `kill -9` and refuse the resumed run. Here, what is written in the lock's file
    only names the holder in the error message.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        path = folder / NAME
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise CheckpointError(folder, f"cannot be written to: {error.strerror}.") from error
        try:
            _acquire(file)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace") or "another process"
            os.close(file)
            raise CheckpointError(
                folder,
                f"is being written by {holder}. Wait until it ends, or pass another folder.",
            ) from None
        except OSError as error:
            os.close(file)
            raise CheckpointError(
                folder, f"is on a file system that cannot lock files: {error.strerror}."
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._file = file
        self._close = weakref.finalize(self, os.close, file)
        _HELD.add(self)

    @property
    def held(self) -> bool:
        """Whether this process still holds it: False after `release`, and in a forked child."""
        return self._close.alive

    def release(self) -> None:
        """Let the next writer in."""
        if self.held:
            # Closing is not enough: a child forked a moment ago may not have closed its copy of the file yet.
            _release(self._file)
        self._close()

    def leave(self) -> None:
        """Close a forked child's copy, without an effect on the parent's lock."""
        self._close()


if sys.platform == "win32":
    import msvcrt

    def _acquire(file: int) -> None:
        os.lseek(file, 4096, os.SEEK_SET)  # a locked byte cannot be read, and the name stands first
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(file, 0, os.SEEK_SET)

    def _release(file: int) -> None:
        pass  # by closing

else:
    import fcntl

    def _acquire(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


_HELD: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _let_go() -> None:
    # A forked child (a worker that loads data) shares its parent's lock, and would hold it after the parent's death.
    for lock in list(_HELD):
        lock.leave()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_let_go)

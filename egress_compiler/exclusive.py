"""One writer at a time: two runs that write the same bundle or lock file wait for each other.

What is locked (flock) are the directories, which are there before and after, and no file is left behind.  A file system
without flock is written to without it: renames keep every file whole there too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PATIENCE = 600.0
"""Seconds; a run on the largest clusters takes one or two minutes."""
_STEP = 0.1
_WITHOUT = frozenset({errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_held: set[tuple[int, int]] = set()
"""Directories that this process has locked already, by device and inode: a lock inside a lock is the same lock."""


class Busy(Exception):
    """Another run has been writing there for as long as one waits; ``directory`` is where."""

    def __init__(self, directory: Path) -> None:
        super().__init__(f"another run has been writing to {directory} for {PATIENCE:.0f} s")
        self.directory = directory


@contextmanager
def sole_writer(
    out: Path, lock_path: Path | None = None, waiting: Callable[[Path], None] = lambda directory: None
) -> Iterator[None]:
    """No other run writes to ``out`` or the lock file meanwhile; ``waiting`` is called once where one does now.

    What is not there yet is locked by the directory that it will be made in.  Raises OSError, Busy.
    """
    wanted = [lock_path.resolve().parent] if lock_path is not None else []
    with ExitStack() as stack:
        for directory in (*wanted, out):
            stack.enter_context(_locked(directory.absolute(), waiting))
        yield


@contextmanager
def _locked(directory: Path, waiting: Callable[[Path], None]) -> Iterator[None]:
    there = next(path for path in (directory, *directory.parents) if path.is_dir())
    handle = os.open(there, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        key = (status.st_dev, status.st_ino)
        if key in _held:
            yield
            return
        _wait(handle, there, waiting)
        _held.add(key)
        try:
            yield
        finally:
            _held.discard(key)
    finally:
        os.close(handle)


def _wait(handle: int, directory: Path, waiting: Callable[[Path], None]) -> None:
    end = None
    while not _lock(handle):
        if end is None:
            waiting(directory)
            end = time.monotonic() + PATIENCE
        if time.monotonic() >= end:
            raise Busy(directory)
        time.sleep(_STEP)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as problem:
        if problem.errno not in _WITHOUT:
            raise
    return True

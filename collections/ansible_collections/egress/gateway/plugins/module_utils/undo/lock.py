# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""One run at a time on a node."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

_WAIT = 60
"""Seconds; an apply takes one or two."""
_PAUSE = 0.02


class Busy(NodeError):
    """Another run has the lock."""


@contextlib.contextmanager
def held(paths: Paths, seconds: float = _WAIT) -> Iterator[None]:
    """Held until the end of the block; Busy when another run does not end in time.

    The kernel drops the lock with the process, however that ends.
    """
    descriptor = _take(paths, seconds)
    try:
        yield
    finally:
        os.close(descriptor)


def remove_traces(paths: Paths, everything: bool) -> None:
    """With the lock held: removes it and its directory, if ``everything`` or if nothing else is there.

    Who waits for the lock notices, and makes a new one.
    """
    with contextlib.suppress(FileNotFoundError):
        found = list(paths.runtime.iterdir())
        if everything or found == [paths.lock]:
            for path in found:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
    for directory in (paths.runtime, *([paths.state] if everything else [])):
        with contextlib.suppress(OSError):  # not empty, or a mount point
            directory.rmdir()


def _take(paths: Paths, seconds: float) -> int:
    end = time.monotonic() + seconds
    while True:
        paths.runtime.mkdir(mode=0o755, exist_ok=True)
        try:
            descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the run before has just removed the directory
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, paths.lock):
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
        if time.monotonic() > end:
            raise Busy("another run has held %s for %d seconds" % (paths.lock, seconds))
        time.sleep(_PAUSE)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the locked file is still the one that others will find."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False

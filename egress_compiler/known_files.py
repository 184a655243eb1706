"""What earlier runs have read and written of a bundle, so that a run need not read tens of thousands of files again.

A file counts as known while device, inode, size and both times are what they were; the kernel changes the last of them
with whatever is done to a file, and nobody can set it.  So an edit, another copy or a checkout makes it unknown, and it
is read.  The record is a cache: it stands in the user's cache directory, and without it every file is read.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

VERSION = 1
QUIET_NS = 2_000_000_000
"""How long a file has to have been left alone to be recorded: two changes within a tick of the clock look like one."""

_State = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, modification time and change time in nanoseconds."""


class _Record(msgspec.Struct):
    version: int = VERSION
    files: dict[str, tuple[_State, str]] = msgspec.field(default_factory=dict)


class KnownFiles:
    """The files below ``out`` by their names there; a digest is any text that stands for a content."""

    def __init__(self, out: Path) -> None:
        self._out = str(out)
        self._path = _place(out)
        self._before = _read(self._path)
        self._now: dict[str, tuple[_State, str]] = {}

    def has(self, name: str, digest: str) -> bool:
        """Whether the file is known to have the content; where it is not, it has to be read."""
        known = self._before.get(name)
        if known is None or known[1] != digest or _state(f"{self._out}/{name}") != known[0]:
            return False
        self._now[name] = known
        return True

    def note(self, name: str, digest: str) -> None:
        """The file has the content: it was just read or written."""
        state = _state(f"{self._out}/{name}")
        if state is not None and state[-1] < time.time_ns() - QUIET_NS:
            self._now[name] = (state, digest)

    def save(self) -> None:
        """Records what is known now; what cannot be recorded will be read."""
        if self._path is None or self._now == self._before:
            return
        new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(_Record(files=self._now)))
            new.replace(self._path)


def _place(out: Path) -> Path | None:
    """None where the user has no directory for it."""
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        name = hashlib.sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:32]
    except RuntimeError:
        return None
    return cache / "egress-compiler" / f"{name}.json"


def _read(path: Path | None) -> dict[str, tuple[_State, str]]:
    with suppress(OSError, msgspec.DecodeError):
        record = msgspec.json.decode(path.read_bytes(), type=_Record) if path is not None else _Record()
        return record.files if record.version == VERSION else {}
    return {}


def _state(path: str) -> _State | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - to make a Path takes longer than to ask
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our files on the node, each written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.bundle import digest, foreign_files, mode, read_files
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

OTHERS_WRITE = 0o022
_UNFINISHED = ".egress-gateway-new"
_HOUR = 3600


class Files(Resource):
    """The bundle's files in the configuration directory, but for the plan; the whole directory is ours."""

    def __init__(self, paths: Paths, files: Mapping[str, str]) -> None:
        self._paths = paths
        self._files = {path: text for name, text in files.items() for path in [paths.file(name)] if name != PLAN}

    def desired(self) -> Items:
        return {file_key(path): _item(text, mode(text), origin="the bundle") for path, text in self._files.items()}

    def actual(self) -> Items:
        found = {}
        for name, text in read_files(self._paths).items():
            if name != PLAN:
                path = self._paths.file(name)
                found[file_key(path)] = _item(text, _mode(path), _owner(path))
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        return _fix(changes, self._files)


class Record(Resource):
    """The plan in force. It comes last in both directions: a run that was killed finds what the node had before.

    With no plan wanted, the node's own state - remembered sysctls, the mark of a drain - and the directory go too.
    """

    def __init__(self, paths: Paths, plan: str | None) -> None:
        self._paths = paths
        self._files = {} if plan is None else {paths.file(PLAN): plan}

    def desired(self) -> Items:
        return {file_key(path): _item(text, mode(text), origin="the bundle") for path, text in self._files.items()}

    def actual(self) -> Items:
        own = [self._paths.originals, self._paths.originals_copy, self._paths.drained]
        found = {}
        for path in [self._paths.file(PLAN), *([] if self._files else own)]:
            if path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                found[file_key(path)] = _item(text, _mode(path), _owner(path))
        if not self._files and self._may_remove_directory():
            found[directory_key(self._paths.config)] = Item("present")
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        error = _fix(changes, self._files)
        if not self._files:
            with contextlib.suppress(OSError):  # not there, not empty, or a mount point
                self._paths.state.rmdir()
        return error

    def _may_remove_directory(self) -> bool:
        directory = self._paths.config
        return directory.is_dir() and not directory.is_mount() and not foreign_files(self._paths)


def sweep(paths: Paths) -> None:
    """With the lock held: removes what killed runs left, files half written and the code that Ansible unpacked.

    The code of a run that waits for the lock must stay, so only what is an hour old goes. OSError is no matter here.
    """
    for directory in (
        paths.config,
        paths.runtime,
        paths.state,
        paths.units,
        paths.nftables.parent,
        paths.networkd.parent,
    ):
        for path in directory.glob(".*" + _UNFINISHED):
            with contextlib.suppress(OSError):
                path.unlink()
    for path in Path(tempfile.gettempdir()).glob("ansible_egress.gateway.*_payload_*"):
        with contextlib.suppress(OSError):
            state = path.lstat()
            if stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and time.time() - state.st_mtime > _HOUR:
                shutil.rmtree(path)


def write(path: Path, text: str, bits: int) -> None:
    """Replaces a file at once: readers, and a boot after a crash, find the old text or the new. OSError as it comes."""
    write_bytes(path, text.encode(), bits)


def write_bytes(path: Path, content: bytes, bits: int) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    temporary = path.parent / (".%s%s" % (path.name, _UNFINISHED))
    try:
        with temporary.open("wb") as file:
            os.fchmod(file.fileno(), bits)
            os.fchown(file.fileno(), os.geteuid(), os.getegid())
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        if temporary.exists():
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_key(path: Path) -> Key:
    return Key.of("file", str(path))


def file_item(text: str, bits: int = 0, path: Path | None = None, origin: str = "") -> Item:
    """Of a file of ours; with its ``path`` one that is there."""
    return _item(text, bits, origin=origin) if path is None else _item(text, _mode(path), _owner(path), origin)


def _item(text: str, bits: int, owner: str = "", origin: str = "") -> Item:
    code = digest(text)[:19]
    fields = {"content": code, "mode": bits, "owner": owner}
    return Item("%s mode %04o%s" % (code, bits, owner), origin, fields)


def directory_key(path: Path) -> Key:
    return Key.of("directory", str(path))


def path_of(found: Key) -> Path:
    """Of a file, a directory or whatever else is known by its path alone."""
    return Path(str(found.parts[0]))


def irregular(path: Path) -> str:
    """How somebody else than root could change what is there; empty where nobody can. For programs and directories."""
    bits = _mode(path)
    return _owner(path) + (" mode %04o" % bits if bits & OTHERS_WRITE else "")


def _owner(path: Path) -> str:
    """Empty for root, as whom all of this runs."""
    found = path.stat()
    if (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid()):
        return ""
    return " owner %d:%d" % (found.st_uid, found.st_gid)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _fix(changes: Sequence[Change], files: Mapping[Path, str]) -> NodeError | None:
    for change in changes:
        path = path_of(change.key)
        try:
            if change.key.kind == "directory":
                path.rmdir()
            elif change.action == "remove":
                path.unlink()
            else:
                write(path, files[path], mode(files[path]))
        except OSError as error:
            return NodeError("%s: %s" % (path, error.strerror))
    return None

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The gate at pod start: our CNI plugin's program, and its entry in the list that the container runtime takes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.bundle import digest
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Gate as WantedGate
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan

# By its whole name, so that it comes along to the node, where its text is the program.
from ansible_collections.egress.gateway.plugins.module_utils.gate import conflist, plugin
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, find
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import irregular, path_of, write
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource
from ansible_collections.egress.gateway.plugins.module_utils.zipapp import source_of

_ORIGIN = "pods start when their egress IP is in force"
_PROGRAM = "program"
_ENTRY = "pod start gate in"
_DEFAULT = WantedGate(0, "fail", ())
"""Its directories are looked at on every node."""
_PYTHONS = ("python3", "/usr/libexec/platform-python")
_UNFINISHED = ".egress-gateway-new"
_LONGEST = 1 << 20
"""Bytes of a file that may be a list of plugins."""


@dataclass(frozen=True)
class _File:
    """Of somebody else, as it was when it was read."""

    path: Path
    text: str
    state: os.stat_result


class Gate(Resource):
    """The program comes first and goes last, so that no list names a program that is not there.

    Where there is no list yet, there is nothing to put the entry into, and nothing is missing.
    """

    def __init__(self, wanted: NodePlan | None, before: NodePlan | None = None) -> None:
        self._wanted = _gate_of(wanted)
        known = [one for one in (self._wanted, _gate_of(before), _DEFAULT) if one is not None]
        self._conf_dirs = tuple(dict.fromkeys(Path(one.conf_dir) for one in known))
        self._programs = tuple(dict.fromkeys(Path(one.bin_dir) / plugin.NAME for one in known))

    def desired(self) -> Items:
        if self._wanted is None:
            return {}
        program = Path(self._wanted.bin_dir) / plugin.NAME
        found = {_program_key(program): Item(_described(program_text()), _ORIGIN)}
        place = self._place(self._wanted)
        if place is not None:
            path, text = place
            found[_entry_key(path)] = Item(_state(path.name, text), _ORIGIN)
        return found

    def actual(self) -> Items:
        found: dict[Key, Item] = {}
        for directory in self._conf_dirs:
            for file in _files(directory):
                if conflist.is_ours(file.path.name) or conflist.entries(file.text):
                    found[_entry_key(file.path)] = Item(_state(file.path.name, file.text))
        for path in self._programs:
            if path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                found[_program_key(path)] = Item(_described(text, stat.S_IMODE(path.stat().st_mode)) + irregular(path))
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            for change in changes:
                path = path_of(change.key)
                if change.key.kind == _ENTRY:
                    self._fix_list(path, change)
                elif change.action == "remove":
                    path.unlink()
                    with contextlib.suppress(OSError):  # others' plugins are there
                        path.parent.rmdir()
                else:
                    write(path, program_text(), 0o755)
        except NodeError as error:
            return error
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def warnings(self) -> list[str]:
        """Why pods start without the gate although it is wanted."""
        if self._wanted is None:
            return []
        texts = {file.path.name: file.text for file in _files(Path(self._wanted.conf_dir))}
        name = conflist.active(texts)
        if name is None:
            text = "there is no CNI configuration in %s yet: the agent puts the gate into it when it comes"
            return [text % self._wanted.conf_dir]
        if not conflist.supports(name, texts[name]):
            text = "pods start without the gate: the cniVersion of %s is none of %s"
            return [text % (Path(self._wanted.conf_dir) / name, ", ".join(plugin.VERSIONS))]
        return []

    def _place(self, gate: WantedGate) -> tuple[Path, str] | None:
        """The list that is to have the entry, with it."""
        directory = Path(gate.conf_dir)
        texts = {file.path.name: file.text for file in _files(directory)}
        name = conflist.active(texts)
        if name is None or not conflist.supports(name, texts[name]):
            return None
        if not name.endswith(conflist.LIST):
            return directory / conflist.beside(name), conflist.made_list(texts[name], entry(gate))
        return directory / name, conflist.with_entry(texts[name], entry(gate))

    def _fix_list(self, path: Path, change: Change) -> None:
        """By what the directory has now, which its owner may have written since."""
        file, gate = _read(path), self._wanted
        if change.action == "remove" and conflist.is_ours(path.name):
            path.unlink()
        elif change.action == "remove" and file is not None:
            _replace(file, conflist.without_entry(file.text))
        elif gate is not None and change.action != "remove":
            place = self._place(gate)
            if place is None or place[0] != path:
                raise NodeError("%s is not the runtime's list any more" % path)
            if conflist.is_ours(path.name):
                write(path, place[1], 0o600)
            elif file is not None:
                _replace(file, conflist.with_entry(file.text, entry(gate)))


def entry(gate: WantedGate) -> Mapping[str, Any]:
    """The plugin's configuration in a list."""
    return {
        "type": plugin.NAME,
        "socket": plugin.SOCKET,
        "timeoutSeconds": gate.timeout_s,
        "onTimeout": gate.on_timeout,
        "exemptNamespaces": list(gate.exempt),
    }


def program_text() -> str:
    """The plugin as a program of this node."""
    python = next((path for path in map(find, _PYTHONS) if path is not None), "/usr/bin/python3")
    return "#!%s -IS\n%s" % (python, source_of("gate.plugin"))


def _gate_of(plan: NodePlan | None) -> WantedGate | None:
    return plan.follow.gate if plan is not None and plan.follow is not None else None


def _files(directory: Path) -> Iterator[_File]:
    """What a runtime reads of a directory, in its order."""
    try:
        paths = sorted(directory.iterdir())
    except OSError:
        return
    for path in paths:
        file = _read(path) if conflist.is_read(path.name) else None
        if file is not None:
            yield file


def _read(path: Path) -> _File | None:
    """None for what is no file, cannot be read, or is no text."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            if not stat.S_ISREG(state.st_mode) or state.st_size > _LONGEST:
                return None
            return _File(path, file.read(_LONGEST).decode("utf-8"), state)
    except (OSError, ValueError):
        return None


def _replace(file: _File, text: str) -> None:
    """At once, with its owner and mode; NodeError where somebody has written it since it was read."""
    path = file.path.resolve()
    temporary = path.parent / (".%s%s" % (path.name, _UNFINISHED))
    try:
        with temporary.open("wb") as new:
            os.fchmod(new.fileno(), stat.S_IMODE(file.state.st_mode))
            os.fchown(new.fileno(), file.state.st_uid, file.state.st_gid)
            new.write(text.encode())
            new.flush()
            os.fsync(new.fileno())
        if _identity(path.stat()) != _identity(file.state):
            raise NodeError("%s was written meanwhile" % path)
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _identity(state: os.stat_result) -> tuple[int, ...]:
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _described(text: str, bits: int = 0o755) -> str:
    return "%s mode %04o" % (digest(text)[:19], bits)


def _state(name: str, text: str) -> str:
    """Of our own list all of it, of another one our entry alone."""
    return "\n" + text if conflist.is_ours(name) else ", and ".join(conflist.entries(text))


def _program_key(path: Path) -> Key:
    return Key.of(_PROGRAM, str(path))


def _entry_key(path: Path) -> Key:
    return Key.of(_ENTRY, str(path))

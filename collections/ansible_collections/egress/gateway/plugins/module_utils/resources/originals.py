# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What sysctls were before the first apply. It is kept twice: once lost, nobody could find it out again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.bundle import digest
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import file_key, irregular, write
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_ORIGIN = "the sysctls before the first apply"
LOST = (
    "what the sysctls were before the first apply is lost, both %s and its copy: state absent will leave them as they "
    "are now"
)


class Originals(Resource):
    """Both files, alike, on a node that has a plan; each is made of the other."""

    def __init__(self, paths: Paths, wanted: bool) -> None:
        self._paths = paths
        self._wanted = wanted

    def desired(self) -> Items:
        if not self._wanted:
            return {}
        text = _text(read(self._paths))
        return {file_key(path): Item(digest(text)[:19], _ORIGIN) for path in _files(self._paths)}

    def actual(self) -> Items:
        if not self._wanted:
            return {}
        found = {}
        for path in _files(self._paths):
            if path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                found[file_key(path)] = Item(digest(text)[:19] + irregular(path))
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            save(self._paths, read(self._paths))
        except NodeError as error:
            return error
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def lost(self) -> bool:
        return self._wanted and not any(path.is_file() for path in _files(self._paths))


def read(paths: Paths) -> dict[str, str]:
    """Of the two files the first that can be read; nothing without any. NodeError where what is there is damaged."""
    damaged: NodeError | None = None
    for path in _files(paths):
        try:
            return _parsed(path)
        except FileNotFoundError:
            continue
        except NodeError as error:
            damaged = damaged or error
    if damaged is not None:
        raise damaged
    return {}


def save(paths: Paths, originals: Mapping[str, str]) -> None:
    """OSError as it comes."""
    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in reversed(_files(paths)):
        write(path, _text(originals), 0o644)


def _files(paths: Paths) -> tuple[Path, Path]:
    return paths.originals, paths.originals_copy


def _text(originals: Mapping[str, str]) -> str:
    return json.dumps(dict(originals), indent=1, sort_keys=True) + "\n"


def _parsed(path: Path) -> dict[str, str]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise NodeError("%s is damaged, and with it the original sysctls: %s" % (path, error)) from error
    if not isinstance(data, dict):
        raise NodeError("%s is damaged, and with it the original sysctls" % path)
    return {str(key): str(value) for key, value in data.items()}

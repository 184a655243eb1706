# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our accepts at boot, and whenever a firewall of the host starts anew: a program that needs no controller."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils import lock
from ansible_collections.egress.gateway.plugins.module_utils.accepts import Accepts
from ansible_collections.egress.gateway.plugins.module_utils.bundle import installed
from ansible_collections.egress.gateway.plugins.module_utils.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.files import write_bytes
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.program import program
from ansible_collections.egress.gateway.plugins.module_utils.resource import Change, Item, Items, Resource, settle

_ENTRY = "accepts_boot"


class Program(Resource):
    """The program's file, which has the code of the collection that applied the node."""

    def __init__(self, paths: Paths, wanted: bool) -> None:
        self._path = paths.accepts
        self._wanted = wanted

    def desired(self) -> Items:
        return {self._key(): Item(_state(program(_ENTRY)), "restore at boot")} if self._wanted else {}

    def actual(self) -> Items:
        return {self._key(): Item(_state(self._path.read_bytes()))} if self._path.is_file() else {}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            if self._wanted:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_bytes(self._path, program(_ENTRY), 0o644)
            else:
                self._path.unlink()
                if not any(self._path.parent.iterdir()):
                    self._path.parent.rmdir()
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def _key(self) -> str:
        return "program %s" % self._path


def _state(content: bytes) -> str:
    return "code %08x" % zlib.crc32(content)


def main() -> None:
    """Brings our accepts into the host's firewall; exit status 1 where that fails, for the unit to show."""
    paths = Paths()
    try:
        bundle = installed(paths)
        if bundle is not None:
            with lock.held(paths):
                settle(Accepts(bundle.plan), ("create", "modify", "remove"))
                lock.remove_traces(paths, everything=False)
    except (NodeError, OSError) as error:
        raise SystemExit("egress-gateway: the host's firewall: %s" % error) from None

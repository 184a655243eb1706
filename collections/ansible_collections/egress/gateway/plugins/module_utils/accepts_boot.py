# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our accepts at boot, and whenever a firewall of the host starts anew: a program that needs no controller."""

from __future__ import annotations

import importlib
import io
import zipfile
import zlib
from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils import lock
from ansible_collections.egress.gateway.plugins.module_utils.accepts import Accepts
from ansible_collections.egress.gateway.plugins.module_utils.bundle import installed
from ansible_collections.egress.gateway.plugins.module_utils.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.files import write_bytes
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resource import Change, Item, Items, Resource, settle

_PACKAGE = "ansible_collections.egress.gateway.plugins.module_utils"
_MAIN = "from %s.accepts_boot import main\n\nmain()\n" % _PACKAGE
_MODULES = (
    "accepts",
    "accepts_boot",
    "bundle",
    "command",
    "files",
    "generation",
    "iptables",
    "kernel",
    "lock",
    "nft_chains",
    "node",
    "openings",
    "plan",
    "resource",
)
"""This module and all that it imports, of ours."""


class Program(Resource):
    """The program's file, which has the code of the collection that applied the node."""

    def __init__(self, paths: Paths, wanted: bool) -> None:
        self._path = paths.accepts
        self._wanted = wanted

    def desired(self) -> Items:
        return {self._key(): Item(_state(program()), "restore at boot")} if self._wanted else {}

    def actual(self) -> Items:
        return {self._key(): Item(_state(self._path.read_bytes()))} if self._path.is_file() else {}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            if self._wanted:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_bytes(self._path, program(), 0o644)
            else:
                self._path.unlink()
                if not any(self._path.parent.iterdir()):
                    self._path.parent.rmdir()
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def _key(self) -> str:
        return "program %s" % self._path


def program() -> bytes:
    """One file that Python can run, the same bytes whenever this collection makes it."""
    files = {"__main__.py": _MAIN}
    levels = _PACKAGE.split(".")
    files.update({"/".join([*levels[:depth], "__init__.py"]): "" for depth in range(1, len(levels) + 1)})
    for name in _MODULES:
        whole = "%s.%s" % (_PACKAGE, name)
        spec = importlib.import_module(whole).__spec__
        files[whole.replace(".", "/") + ".py"] = spec.loader.get_source(whole)  # type: ignore[union-attr]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, text in sorted(files.items()):
            file.writestr(zipfile.ZipInfo(name), text)
    return archive.getvalue()


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

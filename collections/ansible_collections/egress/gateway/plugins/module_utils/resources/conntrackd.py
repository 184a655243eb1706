# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our conntrackd on a gateway with peers: open connections are told to the other gateways' kernels."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Mapping, Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import CONNTRACKD
from ansible_collections.egress.gateway.plugins.module_utils.kernel import processes
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, daemon, run
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource
from ansible_collections.egress.gateway.plugins.module_utils.resources.units import CONNTRACKD_UNIT

_NAME = "conntrackd"
_KEY = Key.of(_NAME)
_START_SECONDS = 5
_STOP_SECONDS = 5


class Conntrackd(Resource):
    """One process with the configuration that is on the disk; it reads that at its start alone."""

    def __init__(self, paths: Paths, files: Mapping[str, str], service: bool) -> None:
        self._paths = paths
        self._wanted = _digest(files[CONNTRACKD]) if CONNTRACKD in files else ""
        self._service = service
        self._marker = str(paths.file(CONNTRACKD))

    def desired(self) -> Items:
        return {_KEY: Item(_running(self._wanted), "the gateway's open connections")} if self._wanted else {}

    def actual(self) -> Items:
        return {_KEY: Item(_running(self._read_loaded()))} if processes.find(self._marker) else {}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            self._stop()
            if self._wanted:
                self._start()
        except NodeError as error:
            return error
        return None

    def _start(self) -> None:
        if self._service:
            run(["systemctl", "start", CONNTRACKD_UNIT])
            return
        write(self._paths.conntrackd_loaded, self._wanted + "\n", 0o644)
        daemon([_NAME, "-d", "-C", self._marker])
        if not processes.until(self._paths.conntrackd_socket.exists, _START_SECONDS):
            raise NodeError("conntrackd does not start: its messages are in the system log")
        # What the others know already. Nobody may be there to answer yet, and then there is nothing to learn.
        run([_NAME, "-C", self._marker, "-n"], check=False)

    def _stop(self) -> None:
        if self._service:
            run(["systemctl", "stop", CONNTRACKD_UNIT], check=False)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in processes.find(self._marker):
                processes.send(pid, number)
            if processes.until(lambda: not processes.find(self._marker), _STOP_SECONDS):
                break
        else:
            raise NodeError("conntrackd does not end: processes %s" % processes.find(self._marker))
        for path in (self._paths.conntrackd_loaded, self._paths.conntrackd_socket, self._paths.conntrackd_lock):
            if path.exists():
                path.unlink()

    def _read_loaded(self) -> str:
        try:
            return self._paths.conntrackd_loaded.read_text(encoding="utf-8").split()[0]
        except (OSError, IndexError):
            return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _running(digest: str) -> str:
    return "running, configuration " + digest[:12] if digest else "running with another configuration"

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The agent's program on the node, and that it runs with the code that is there."""

from __future__ import annotations

import signal
import sys
import zlib
from collections.abc import Sequence
from functools import cache

from ansible_collections.egress.gateway.plugins.module_utils.kernel import processes
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, detach, run
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import irregular, write, write_bytes
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource
from ansible_collections.egress.gateway.plugins.module_utils.resources.units import AGENT_UNIT
from ansible_collections.egress.gateway.plugins.module_utils.zipapp import zipapp

_AGENT = Key.of("agent")
_ORIGIN = "brings back what others take away"
_START_SECONDS = 15
_STOP_SECONDS = 5


class Agent(Resource):
    """Its file, and one process that was started with it. It comes last and goes first: it needs all the others."""

    def __init__(self, paths: Paths, service: bool, wanted: bool) -> None:
        self._paths = paths
        self._service = service
        self._wanted = wanted

    def desired(self) -> Items:
        if not self._wanted:
            return {}
        code = _code(_zipapp())
        return {self._key(): Item("code " + code, _ORIGIN), _AGENT: Item("running, code " + code, _ORIGIN)}

    def actual(self) -> Items:
        found = {}
        if self._paths.agent.is_file():
            found[self._key()] = Item("code " + _code(self._paths.agent.read_bytes()) + irregular(self._paths.agent))
        running = processes.find(str(self._paths.agent))
        if running:
            found[_AGENT] = Item("running, code " + self._loaded())
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            if not self._wanted:
                self._stop()
                self._remove()
            else:
                if any(change.key == self._key() for change in changes):
                    self._paths.agent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    write_bytes(self._paths.agent, _zipapp(), 0o644)
                self._start()
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        except NodeError as error:
            return error
        return None

    def _start(self) -> None:
        """Anew, where one runs. It listens when it has written down its code."""
        self._stop()
        if self._service:
            run(["systemctl", "start", AGENT_UNIT])
        else:
            detach([sys.executable or "/usr/bin/python3", "-I", str(self._paths.agent), "direct"])
        if not processes.until(lambda: self._loaded() == _code(_zipapp()), _START_SECONDS):
            raise NodeError("the agent does not start: its messages are in the system log")

    def _stop(self) -> None:
        if self._service:
            run(["systemctl", "stop", AGENT_UNIT], check=False)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in processes.find(str(self._paths.agent)):
                processes.send(pid, number)
                processes.send(pid, signal.SIGCONT)
            if processes.until(lambda: not processes.find(str(self._paths.agent)), _STOP_SECONDS):
                self._forget()
                return
        raise NodeError("the agent does not end: processes %s" % processes.find(str(self._paths.agent)))

    def _loaded(self) -> str:
        try:
            return self._paths.agent_loaded.read_text(encoding="ascii").strip()
        except OSError:
            return "unknown"

    def _forget(self) -> None:
        if self._paths.agent_loaded.exists():
            self._paths.agent_loaded.unlink()

    def _remove(self) -> None:
        if self._paths.agent.exists():
            self._paths.agent.unlink()
        directory = self._paths.agent.parent
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()

    def _key(self) -> Key:
        return Key.of("program", str(self._paths.agent))


@cache
def _zipapp() -> bytes:
    # Named here so that Ansible brings it to the node; the resources that it uses import this module.
    from ansible_collections.egress.gateway.plugins.module_utils.agent.entry import ENTRY

    return zipapp(ENTRY)


def _code(content: bytes) -> str:
    return "%08x" % zlib.crc32(content)


def listening(paths: Paths) -> None:
    """Called by the agent once it hears everything: writes down the code that it runs."""
    write(paths.agent_loaded, _code(paths.agent.read_bytes()) + "\n", 0o644)

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The agent: a program on the node that hears what others do to the kernel's network and runs the tasks that answer.

``service.py`` puts it there. It needs no controller, and nothing on the node needs it to be closed: without it what
was taken away comes back with the next apply.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from ansible_collections.egress.gateway.plugins.module_utils.agent.gate import LOOK_SECONDS, KeepGate, Watch
from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.agent.netlink import Ears
from ansible_collections.egress.gateway.plugins.module_utils.agent.restore import (
    KeepAccepted,
    KeepClosed,
    KeepMoving,
    KeepOpen,
)
from ansible_collections.egress.gateway.plugins.module_utils.agent.service import listening
from ansible_collections.egress.gateway.plugins.module_utils.agent.supervision import Supervisor
from ansible_collections.egress.gateway.plugins.module_utils.agent.tasks import Schedule, Task
from ansible_collections.egress.gateway.plugins.module_utils.agent.xtables import LockWatch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import limits
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

_COMMAND_SECONDS = 30
"""For one command: less than an apply waits for the lock."""
_NICE = -10
"""Before what keeps a busy node busy: there is little to do, and meanwhile a governed packet may find the door open."""


def tasks(paths: Paths, service: bool) -> list[Task]:
    """All that the agent does; to add one, add it here. ``service`` says whether systemd runs the daemons."""
    kinds = (KeepClosed, KeepOpen, KeepAccepted, KeepMoving, KeepGate)
    return [kind(paths, service) for kind in kinds]


def main() -> None:
    """Listens first and looks then, so that nothing is missed; ends with SIGTERM."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    limits.seconds = _COMMAND_SECONDS
    loop = Loop()
    loop.stop_at(signal.SIGTERM, signal.SIGINT)
    ears = Ears()
    paths = Paths()
    supervisor = Supervisor(loop, paths)
    schedules = [Schedule(loop, task) for task in tasks(paths, "systemd" in sys.argv[1:])]

    def hear(source: socket.socket) -> None:
        ears.devices = [device for s in schedules for report in s.reported for device in report.devices]
        tell(ears.hear(source))

    def tell(kinds: frozenset[str]) -> None:
        expected = supervisor.is_changing()
        for schedule in schedules:
            schedule.hear(kinds, expected)

    for source in ears.sockets:
        loop.watch(source, lambda source=source: hear(source))  # type: ignore[misc]  # mypy infers no default
    files = Watch(paths)

    def look() -> None:
        tell(files.look([one for s in schedules for report in s.reported for one in report.directories]))
        loop.later(LOOK_SECONDS, look)

    iptables = LockWatch()
    loop.watch(iptables, lambda: tell(iptables.hear()))
    for schedule in schedules:
        schedule.tick()
    look()
    supervisor.tick()
    listening(paths)
    loop.run()

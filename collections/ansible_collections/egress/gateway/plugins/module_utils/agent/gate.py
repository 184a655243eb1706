# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Keeps the gate in the list of CNI plugins, whose owner writes it anew when it pleases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.agent.tasks import Report, Task
from ansible_collections.egress.gateway.plugins.module_utils.bundle import installed
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.gate import Gate
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, settle
from ansible_collections.egress.gateway.plugins.module_utils.undo import lock

CNI = "cni"
"""What is in a directory of CNI configuration, or which one is meant."""
LOOK_SECONDS = 0.5


class KeepGate(Task):
    """Where the plan wants the gate, it is in the list that the runtime takes now, and in no other."""

    name = "gate put back"
    hears = frozenset([CNI])
    urgent = frozenset([CNI])

    def __init__(self, paths: Paths, service: bool) -> None:
        self._paths = paths

    def run(self, kinds: frozenset[str]) -> Report:
        plan = self._plan()
        if plan is None or plan.follow is None or plan.follow.gate is None:
            return Report()
        directories = [plan.follow.gate.conf_dir]
        if not Gate(plan).difference():
            return Report(directories=directories)
        with lock.held(self._paths):
            plan = self._plan()
            done: Sequence[Change] = settle(Gate(plan), ("create", "modify", "remove")) if plan else ()
            lock.remove_traces(self._paths, everything=False)
        return Report([str(change.key) for change in done], directories=directories)

    def _plan(self) -> NodePlan | None:
        bundle = installed(self._paths)
        return bundle.plan if bundle else None


class Watch:
    """Looks at files that change seldom: a few system calls, no process. The first look finds everything new."""

    def __init__(self, paths: Paths) -> None:
        self._plan = paths.file(PLAN)
        self._seen: tuple[object, ...] = ()

    def look(self, directories: Sequence[str]) -> frozenset[str]:
        """Whether the plan or one of the directories has changed since the last look."""
        now = (_stamp(self._plan), *(stamp for directory in directories for stamp in _stamps(directory)))
        changed, self._seen = now != self._seen, now
        return frozenset([CNI]) if changed else frozenset()


def _stamps(directory: str) -> Iterator[object]:
    try:
        paths = sorted(Path(directory).iterdir())
    except OSError:
        return
    for path in paths:
        yield path, _stamp(path)


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Commit-confirmed: a bundle that goes again by itself unless somebody confirms it.

The node needs nobody for that. Before anything is changed the bundle to go back to, and the code that goes back, are in
a directory of their own, and a process that outlives the connection waits for the deadline: a systemd timer, or a
process in a session of its own. A reboot ends the waiting; the restore unit then loads what there was before.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.kernel import processes
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, detach, run
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write, write_bytes
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource
from ansible_collections.egress.gateway.plugins.module_utils.zipapp import zipapp

TIMER = "egress-gateway-rollback"
_KEY = Key.of("unconfirmed apply")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Pending:
    """What waits. ``deadline`` is in seconds since boot; ``files`` None means that there was nothing before."""

    token: str
    boot: str
    deadline: float
    service: bool
    files: Mapping[str, str] | None

    def seconds(self) -> float:
        """What is left; nothing after a reboot."""
        return max(self.deadline - _now(), 0.0) if self.boot == _boot() else 0.0


class Unconfirmed(Resource):
    """A rollback that waits, and is not to happen: whoever applies without a time limit means it to stay."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def desired(self) -> Items:
        return {}

    def actual(self) -> Items:
        ours = (self._paths.pending, self._paths.rollback, self._paths.boot)
        there = any(path.exists() for path in ours)  # a run may have been killed between them
        return {_KEY: Item("rolls back by itself", "confirm_timeout")} if there else {}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            disarm(self._paths)
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None


def read(paths: Paths) -> Pending | None:
    """What waits on this node, if anything; NodeError when that cannot be read."""
    try:
        return Pending(**json.loads(paths.pending.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise NodeError("%s cannot be read: %s" % (paths.pending, error)) from error


def arm(paths: Paths, service: bool, files: Mapping[str, str] | None, seconds: float) -> None:
    """With the lock held: from here on the node goes back to ``files`` after so many seconds, whatever happens."""
    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_bytes(paths.rollback, zipapp("undo.rollback"), 0o644)
    write(paths.boot, "exec %s %s --boot\n" % (sys.executable or "/usr/bin/python3", paths.rollback), 0o644)
    _save(paths, Pending(secrets.token_hex(8), _boot(), _now() + seconds, service, files))
    start(paths, service, seconds)


def extend(paths: Paths, seconds: float) -> None:
    """With the lock held: counts the time from now on. Who waits looks again before it acts."""
    pending = read(paths)
    if pending is not None:
        _save(paths, replace(pending, boot=_boot(), deadline=_now() + seconds))
        start(paths, pending.service, seconds)


def disarm(paths: Paths) -> None:
    """With the lock held: nothing goes back any more, and nothing of it is left. OSError as it comes."""
    with contextlib.suppress(NodeError):
        pending = read(paths)
        if pending is not None and pending.service:
            run(["systemctl", "stop", TIMER + ".timer"], check=False)
    for pid in processes.find(str(paths.rollback)):
        if pid != os.getpid():
            processes.send(pid, signal.SIGTERM)
    for path in (paths.pending, paths.boot, paths.rollback):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    with contextlib.suppress(OSError):  # somebody put something there
        paths.state.rmdir()


def start(paths: Paths, service: bool, seconds: float) -> None:
    """Who waits: a timer of systemd's, or a process of nobody's. The timer's start is not awaited: it may be a boot."""
    program = [sys.executable or "/usr/bin/python3", str(paths.rollback)]
    if service:
        run(["systemctl", "stop", TIMER + ".timer"], check=False)
        run(["systemctl", "reset-failed", TIMER + ".timer", TIMER + ".service"], check=False)
        options = ["--quiet", "--collect", "--no-block", "--unit=" + TIMER, "--on-active=%ds" % max(seconds, 1)]
        run(["systemd-run", *options, "--timer-property=AccuracySec=1s", *program])
        return
    if not [pid for pid in processes.find(str(paths.rollback)) if pid != os.getpid()]:
        detach(program)


def _save(paths: Paths, pending: Pending) -> None:
    write(paths.pending, json.dumps(asdict(pending), sort_keys=True) + "\n", 0o600)


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _boot() -> str:
    return _BOOT_ID.read_text(encoding="ascii").strip()

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What runs on the node when nobody has confirmed in time; ``undo/confirm.py`` puts it there."""

from __future__ import annotations

import sys
import syslog
import time

from ansible_collections.egress.gateway.plugins.module_utils.bundle import NodeBundle, from_files, installed
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.known import known_in_force
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import Files
from ansible_collections.egress.gateway.plugins.module_utils.resources.followed import Followed
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import settle
from ansible_collections.egress.gateway.plugins.module_utils.transaction import attempt
from ansible_collections.egress.gateway.plugins.module_utils.transition import Transition, record
from ansible_collections.egress.gateway.plugins.module_utils.undo import confirm, lock

_AGAIN = 10
"""Seconds between attempts; what is in the way may go."""
_ATTEMPTS = 30
_AFTER_BOOT = 30
"""Seconds in which the units that come after the restore unit have started."""


def main() -> None:
    """Waits for the deadline and goes back; with ``--boot`` brings back the files alone, for the kernel has nothing."""
    paths = Paths()
    if "--boot" in sys.argv[1:]:
        at_boot(paths)
        return
    for _attempt in range(_ATTEMPTS):
        try:
            if wait_and_go_back(paths):
                return
        except (NodeError, OSError) as error:
            syslog.syslog(syslog.LOG_ERR, "egress-gateway: the unconfirmed apply could not be rolled back: %s" % error)
        time.sleep(_AGAIN)


def seconds_left(paths: Paths) -> int | None:
    """Until the node goes back by itself; None where nothing waits for a confirmation."""
    pending = confirm.read(paths)
    return None if pending is None else int(pending.seconds())


def wait_and_go_back(paths: Paths) -> bool:
    """Whether nothing is left to do. NodeError when the node is not back where it was."""
    while True:
        pending = confirm.read(paths)
        if pending is None:
            return True
        left = pending.seconds()
        if left > 0:
            time.sleep(min(left, 1.0))
            continue
        with lock.held(paths):
            if confirm.read(paths) != pending:  # confirmed, or given more time, by the run that had the lock
                continue
            _go_back(paths, pending)
            lock.remove_traces(paths, everything=pending.files is None)
            return True


def _go_back(paths: Paths, pending: confirm.Pending) -> None:
    wanted = None if pending.files is None else from_files(pending.files).with_known(known_in_force(paths))
    error = attempt(Transition(paths, pending.service, wanted, _installed(paths)))
    if error is not None:
        raise error
    confirm.disarm(paths)
    syslog.syslog(syslog.LOG_WARNING, "egress-gateway: nobody confirmed the last apply in time; it was rolled back")


def at_boot(paths: Paths) -> None:
    """The files of before, for the restore unit to load; the rest follows when the node is up."""
    with lock.held(paths):
        pending = confirm.read(paths)
        if pending is None:
            return
        wanted = None if pending.files is None else from_files(pending.files).with_known(known_in_force(paths))
        settle(Followed(paths, wanted), ("create", "modify", "remove"))
        settle(Files(paths, {} if wanted is None else wanted.files), ("create", "modify", "remove"))
        if wanted is not None:
            settle(record(paths, wanted), ("create", "modify", "remove"))
        confirm.extend(paths, _AFTER_BOOT)


def _installed(paths: Paths) -> NodeBundle | None:
    try:
        return installed(paths)
    except NodeError:  # it is left all the same
        return None


if __name__ == "__main__":
    main()

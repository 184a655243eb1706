# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The follower: hears from the API which pods the node has, and from the gate which are about to start.

A process of its own, kept by the agent. Two threads follow the API and put what it tells into a queue; all else is done
by one loop, which takes whatever is there as one batch.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.contract.membership import UNGOVERNED, Known, Members
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, Follow
from ansible_collections.egress.gateway.plugins.module_utils.follow.api import Api
from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import Resource
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import NAMESPACES, Pod, pods_of
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import Change, Reflector, State, Timing
from ansible_collections.egress.gateway.plugins.module_utils.follower import facts
from ansible_collections.egress.gateway.plugins.module_utils.follower.claims import Claims
from ansible_collections.egress.gateway.plugins.module_utils.follower.enforcer import Enforcer
from ansible_collections.egress.gateway.plugins.module_utils.follower.facts import Facts
from ansible_collections.egress.gateway.plugins.module_utils.follower.gate import GateKeeper
from ansible_collections.egress.gateway.plugins.module_utils.follower.kubelet import kubeconfig_of
from ansible_collections.egress.gateway.plugins.module_utils.follower.pulse import Pulse
from ansible_collections.egress.gateway.plugins.module_utils.follower.server import Server
from ansible_collections.egress.gateway.plugins.module_utils.follower.standing import NotFollowed
from ansible_collections.egress.gateway.plugins.module_utils.follower.status import Teller
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, limits
from ansible_collections.egress.gateway.plugins.module_utils.kernel.log import ERROR, log
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.undo import lock

BEAT_SECONDS = 2.0
_COMMAND_SECONDS = 30
_JOIN_SECONDS = 10.0
_SOON = 0.02
"""Seconds until another attempt while somebody else's run has the lock."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0
"""Seconds until another attempt at what failed."""

_TIMING = Timing()

Told = tuple[str, "Sequence[Change[Any]] | State"]


class Follower:
    """Raises NotFollowed, and NodeError where the node's plan cannot be read."""

    def __init__(self, paths: Paths, loop: Loop, pulse: Pulse, timing: Timing = _TIMING) -> None:
        self._paths = paths
        self._loop = loop
        self._pulse = pulse
        self._timing = timing
        self._enforcer = Enforcer(paths, pulse)
        self._facts = Facts(self._enforcer.known, Claims.read(paths.gate))
        self._written = self._facts.claims.as_json()
        self._gate = GateKeeper(self._facts, paths.spool, self._due)
        self._teller = Teller(paths.follow_status)
        self._queue: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._wake, self._woken = os.pipe()[::-1]
        self._held_back: list[Change[Pod]] = []
        """Until namespaces have been synced for the first time; None of them afterwards."""
        self._namespaces_known = False
        self._is_due = False
        self._failures = 0
        self._kubeconfig = kubeconfig_of(self._follow)
        self._reflectors: list[Reflector[Any]] = []
        self._threads: list[threading.Thread] = []
        self._server: Server | None = None

    @property
    def _follow(self) -> Follow:
        return self._enforcer.standing.follow

    def start(self) -> None:
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)
        self._loop.watch(self._woken, self._hear)
        self._gate.take_spool()
        self._apply()
        self._server = Server(self._loop, self._paths.follow_socket, self._gate.ask)
        known, credentials = self._enforcer.known, Credentials(self._kubeconfig)
        self._reflect("namespaces", NAMESPACES, credentials, list(facts.namespaces_of(known)))
        node = self._enforcer.standing.plan.node
        self._reflect("pods", pods_of(node), credentials, list(facts.pods_of(known)))
        self._beat()

    def close(self) -> None:
        """Once the loop has ended."""
        for reflector in self._reflectors:
            reflector.stop()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        if self._server is not None:
            self._server.close()
        self._enforcer.close()
        for end in (self._wake, self._woken):
            os.close(end)

    def _reflect(self, kind: str, resource: Resource[Any], credentials: Credentials, known: Sequence[Any]) -> None:
        reflector = Reflector(
            Api(credentials),
            resource,
            lambda changes: self._put(kind, changes),
            lambda state: self._put(kind, state),
            known,
            self._timing,
        )
        self._reflectors.append(reflector)
        self._threads.append(threading.Thread(target=self._run, args=(reflector,), daemon=True))
        self._threads[-1].start()

    def _run(self, reflector: Reflector[Any]) -> None:
        try:
            reflector.run()
        except BaseException as error:  # without this thread the process would follow nothing, and live
            log(ERROR, "follower: %s: %s" % (type(error).__name__, error))
            os._exit(1)

    def _put(self, kind: str, told: Sequence[Change[Any]] | State) -> None:
        """By the reflectors' threads."""
        self._queue.put((kind, told))
        with contextlib.suppress(BlockingIOError):  # it wakes up anyhow
            os.write(self._wake, b".")

    # --------------------------------------------------------------------------------------------------- what is heard

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._woken, 65536)
        while not self._queue.empty():
            kind, told = self._queue.get()
            if isinstance(told, State):
                self._state(kind, told)
            elif kind == "namespaces":
                self._facts.namespaces_changed(told)
            elif self._namespaces_known:
                self._facts.pods_changed(told, time.time())
            else:
                self._held_back += told
        self._due()

    def _state(self, kind: str, state: State) -> None:
        self._teller.state(kind, state)
        self._gate.problem = self._teller.reason
        if kind == "namespaces" and state.synced and not self._namespaces_known:
            self._namespaces_known = True
            self._facts.pods_changed(self._held_back, time.time())
            self._held_back.clear()

    # -------------------------------------------------------------------------------------------------- what follows

    def _due(self, seconds: float = 0.0) -> None:
        """Once for all that has been heard by then."""
        if not self._is_due:
            self._is_due = True
            self._loop.later(seconds, self._apply)

    def _apply(self) -> None:
        self._is_due = False
        revision = self._gate.revision

        def in_force() -> None:
            self._teller.problem("")
            self._gate.problem = self._teller.reason
            self._gate.settle(revision, self._enforcer.known, self._follow)

        try:
            changed = self._enforcer.enforce(self._known, in_force)
        except lock.Busy:
            self._due(_SOON)
        except NodeError as error:
            self._failures += 1
            self._teller.problem(str(error))
            self._gate.problem = self._teller.reason
            self._due(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10)))
        except NotFollowed:
            self._loop.stop()
        else:
            self._failures = 0
            self._remember(changed)
        self._expire()

    def _known(self, members: Members, kept: frozenset[str]) -> Known:
        return self._facts.known(members, kept)

    def _remember(self, changed: bool) -> None:
        claims = self._facts.claims.as_json()
        if claims != self._written:
            self._facts.claims.write(self._paths.gate)
            self._written = claims
        governed = {s.owner for f in FAMILIES for s in self._enforcer.plan.worker.pods.of(f) if s.chain != UNGOVERNED}
        self._teller.in_force(len(self._enforcer.known.pods), len(governed), changed)

    def _expire(self) -> None:
        """Of those who wait at the gate; again when the next one's time is over."""
        wait = self._gate.expire()
        if wait is not None:
            self._loop.later(max(0.0, wait), self._expire)

    def _beat(self) -> None:
        self._pulse.beat()
        self._teller.beat()
        if self._teller.synced and self._enforcer.outdated:
            self._due()
        if kubeconfig_of(self._follow) != self._kubeconfig:
            # The agent starts another one, which begins with what this one knew.
            self._loop.stop()
        self._loop.later(BEAT_SECONDS, self._beat)


def main() -> None:
    """Until SIGTERM, or until the node's plan says that it does not follow its pods."""
    limits.seconds = _COMMAND_SECONDS
    loop = Loop()
    loop.stop_at(signal.SIGTERM, signal.SIGINT)
    status = 1
    try:
        Follower(Paths(), loop, Pulse(sys.stdout.fileno())).start()
        loop.run()
        status = 0
    except NotFollowed:
        status = 0
    except NodeError as error:
        log(ERROR, "follower: %s" % error)
    except Exception as error:
        log(ERROR, "follower: %s: %s" % (type(error).__name__, error))
    # Not by way of the threads, which wait for the API.
    os._exit(status)

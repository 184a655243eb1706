# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What the agent does: tasks that hear of kinds of changes, each run in a process of its own, one run at a time.

A run's memory and its hanging commands end with its process; the agent itself stays small and listens.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.agent.netlink import EVERYTHING
from ansible_collections.egress.gateway.plugins.module_utils.kernel.log import ERROR, WARNING, log
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import listed

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_GATHER = 0.01
"""Seconds in which more of what belongs to the same change may be heard."""
_FREE = 5
"""Repairs that follow one another without a pause; then each waits longer."""
_SELDOM = 1.0
"""Seconds between runs for what is not urgent."""
_LONGEST = 10.0
"""Seconds between repairs of what is taken away again and again."""
_QUIET = 60.0
"""Seconds without a repair, after which the next one is the first again."""
_PATIENCE = 180.0
"""Seconds for one run; one command may take 60, and the lock as long."""


@dataclass(frozen=True)
class Report:
    """What a run did. ``again`` asks for another one after so many seconds."""

    repaired: Sequence[str] = ()
    problem: str = ""
    again: float | None = None
    devices: Sequence[str] = ()
    """Names of devices of which the node wants to hear, besides our own."""
    directories: Sequence[str] = ()
    """Directories whose files the node wants to have watched."""
    memory: Any = None
    """What the next run finds in the task's ``memory``; as JSON has it."""


class Task:
    """``run`` is called in a process of its own, MAY change the node with the lock held, and reports.

    It is called with the kinds of changes that came since its last run began: those of ``hears``, at the start and
    every so many seconds all of them. What it sets on itself is gone afterwards, but for the report's ``memory``.
    """

    name = ""
    hears: frozenset[str] = EVERYTHING
    urgent: frozenset[str] = EVERYTHING
    """Kinds that are answered at once; others, of which a node tells a lot, every few seconds."""
    every = 300.0
    memory: Any = None

    def run(self, kinds: frozenset[str]) -> Report:
        raise NotImplementedError


@dataclass
class _Fight:
    """How often something was repaired lately, for somebody may take it away again and again."""

    repairs: int = 0
    last: float = 0.0
    told: bool = False

    def note(self, now: float) -> None:
        if now - self.last > _QUIET:
            self.repairs, self.told = 0, False
        self.repairs += 1
        self.last = now

    def pause(self) -> float:
        return 0.0 if self.repairs <= _FREE else min(_LONGEST, 0.5 * 2.0 ** (self.repairs - _FREE))


@dataclass
class Schedule:
    """When a task runs: soon after what it hears, later where it repairs the same again and again."""

    loop: Loop
    task: Task
    reported: list[Report] = field(default_factory=list)
    _pending: frozenset[str] = frozenset()
    _fight: _Fight = field(default_factory=_Fight)
    _child: int = 0
    _planned: float | None = None
    _problem: str = ""

    def hear(self, kinds: frozenset[str], expected: bool = False) -> None:
        """``expected`` where it is most likely our own follower's doing, which is right."""
        self._pending |= kinds & self.task.hears
        if not self._pending or self._child:
            return
        slow = expected or not self._pending & self.task.urgent
        delay = _GATHER + max(self._fight.pause(), _SELDOM if slow else 0.0)
        at = time.monotonic() + delay
        if self._planned is None or at < self._planned:
            self._planned = at
            self.loop.later(delay, self._start)

    def tick(self) -> None:
        """The slow check, for what nobody tells of."""
        self.hear(self.task.hears)
        self.loop.later(self.task.every, self.tick)

    def _start(self) -> None:
        if self._planned is None:  # what was urgent came before
            return
        self._planned = None
        kinds, self._pending = self._pending, frozenset()
        here, there = os.pipe()
        pid = os.fork()
        if pid == 0:
            _child(self.task, kinds, there)
        os.close(there)
        self._child = pid
        answer = bytearray()
        self.loop.watch(here, lambda: self._read(here, answer))
        self.loop.later(_PATIENCE, lambda: self._give_up(pid))

    def _read(self, pipe: int, answer: bytearray) -> None:
        data = os.read(pipe, 65536)
        answer += data
        if data:
            return
        self.loop.forget(pipe)
        os.close(pipe)
        os.waitpid(self._child, 0)
        self._child = 0
        try:
            report = Report(**json.loads(answer.decode()))
        except ValueError:
            report = Report(problem="the run was ended", again=_LONGEST)
        self._finish(report)

    def _give_up(self, pid: int) -> None:
        if self._child == pid:
            os.kill(pid, signal.SIGKILL)

    def _finish(self, report: Report) -> None:
        self.reported[:] = [report]
        self.task.memory = report.memory
        if report.repaired:
            self._fight.note(time.monotonic())
            self._tell(report)
        if report.problem:
            self._fight.note(time.monotonic())
        if report.problem != self._problem:
            self._problem = report.problem
            if report.problem:
                log(ERROR, "%s: %s" % (self.task.name, report.problem))
        if report.again is not None:
            self.loop.later(report.again, lambda: self.hear(self.task.hears))
        self.hear(frozenset())

    def _tell(self, report: Report) -> None:
        """Once for each repair, and once for many that follow one another."""
        if self._fight.repairs <= _FREE:
            log(WARNING, "%s: %s" % (self.task.name, listed(report.repaired)))
        elif not self._fight.told:
            self._fight.told = True
            text = "%s: %s is taken away again and again (%d times): it is put back more and more slowly"
            log(ERROR, text % (self.task.name, listed(report.repaired), self._fight.repairs))


def _child(task: Task, kinds: frozenset[str], pipe: int) -> None:
    """The run, in the process that was forked for it; never returns."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            report = task.run(kinds)
        except Exception as error:
            report = Report(problem="%s: %s" % (type(error).__name__, error), again=_LONGEST)
        with os.fdopen(pipe, "wb") as answer:
            answer.write(json.dumps(asdict(report)).encode())
    finally:
        os._exit(0)

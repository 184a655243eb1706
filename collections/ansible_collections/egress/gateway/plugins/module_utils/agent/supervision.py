# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Keeps one follower running where the node follows its pods, and ends one that hangs."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.contract.names import PLAN
from ansible_collections.egress.gateway.plugins.module_utils.follower.pulse import (
    BUSY,
    BUSY_SECONDS,
    CHANGE,
    FOLLOW,
    SILENT_SECONDS,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import SEARCH_PATH
from ansible_collections.egress.gateway.plugins.module_utils.kernel.log import ERROR, WARNING, log
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths

LOOK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
"""Seconds until a follower that has ended is started again; twice as long each time."""
_SETTLED = 30.0
"""Seconds after which one that ends is the first again."""
_CHANGING = 0.2
"""Seconds in which what is heard of the kernel is taken for the follower's doing, after it has said so."""
_PATIENCE = 5.0
"""Seconds from SIGTERM to SIGKILL."""


class Supervisor:
    """``tick`` begins it. A plan that comes, goes or changes is noticed within a second."""

    def __init__(
        self,
        loop: Loop,
        paths: Paths,
        command: Sequence[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._paths = paths
        self._command = command or [sys.executable or "/usr/bin/python3", "-I", str(paths.agent), FOLLOW]
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._started = self._heard = self._not_before = 0.0
        self._silence = SILENT_SECONDS
        self._ending: float | None = None
        self._failures = 0
        self._pipe = -1
        self._changing = 0.0
        self._plan: tuple[int, int, int] | None = None
        self._wanted = False

    def tick(self) -> None:
        self.look()
        self._loop.later(LOOK_SECONDS, self.tick)

    def look(self) -> None:
        now = self._clock()
        if self._child is None:
            if self._is_wanted() and now >= self._not_before:
                self._start()
        elif self._ending is not None:
            if now >= self._ending:
                self._kill()
        elif not self._is_wanted():
            self._ending = now + _PATIENCE
            self._send(signal.SIGTERM)
        elif now - self._heard > self._silence:
            log(ERROR, "the follower hangs: nothing was heard of it for %d s; it is started anew" % self._silence)
            self._kill()

    def _is_wanted(self) -> bool:
        """Read only where somebody has changed the plan."""
        path = self._paths.file(PLAN)
        try:
            found = path.stat()
            plan = (found.st_ino, found.st_mtime_ns, found.st_size)
            if plan != self._plan:
                self._wanted = json.loads(path.read_bytes()).get("follow") is not None
                self._plan = plan
        except (OSError, ValueError, AttributeError):
            self._wanted, self._plan = False, None
        return self._wanted

    def _start(self) -> None:
        parent = os.getpid()
        here, there = os.pipe()
        try:
            child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=there,
                env={"PATH": SEARCH_PATH, "LC_ALL": "C"},
                cwd="/",
                preexec_fn=lambda: _end_with(parent),
            )
        except (OSError, subprocess.SubprocessError) as error:
            os.close(here)
            self._fail("the follower does not start: %s" % error)
            return
        finally:
            os.close(there)
        self._child = child
        self._started = self._heard = self._clock()
        self._silence, self._ending = BUSY_SECONDS, None  # for its start
        self._pipe = here
        os.set_blocking(here, False)
        self._loop.watch(here, lambda: self._hear(child, here))

    def is_changing(self) -> bool:
        """Whether the follower is just now changing the kernel, as it has said before it began."""
        if self._child is not None:
            self._hear(self._child, self._pipe)
        return self._clock() < self._changing

    def _hear(self, child: subprocess.Popen[bytes], pipe: int) -> None:
        if child is not self._child:  # its end was heard of by another way meanwhile
            return
        try:
            data = os.read(pipe, 65536)
        except BlockingIOError:
            return
        if data:
            self._heard = self._clock()
            self._silence = BUSY_SECONDS if data.endswith(BUSY) else SILENT_SECONDS
            if CHANGE in data:
                self._changing = self._heard + _CHANGING
        else:
            self._loop.forget(pipe)
            os.close(pipe)
            self._ended(child)

    def _ended(self, child: subprocess.Popen[bytes]) -> None:
        self._child = None
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        status = child.wait()
        if self._clock() - self._started > _SETTLED:
            self._failures = 0
        if not self._is_wanted():
            for path in (self._paths.follow_socket, self._paths.follow_status, self._paths.follow_changing):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
        if status == 0 or self._ending is not None:
            self._not_before = self._clock()
        else:
            how = "signal %d" % -status if status < 0 else "status %d" % status
            self._fail("the follower has ended with %s; it is started anew" % how)
        self.look()

    def _fail(self, text: str) -> None:
        self._failures += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
        self._not_before = self._clock() + pause
        log(WARNING, text)
        self._loop.later(pause, self.look)

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)


def _end_with(parent: int) -> None:
    """In the child before its program: it is not to outlive the agent, also where that has just ended."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

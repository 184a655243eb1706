# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""One thread, one wait: what is read when there is something to read, and what is due at a time."""

from __future__ import annotations

import heapq
import itertools
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any


class Loop:
    """Calls what was registered, one after the other, until it is stopped. Sleeps while nothing happens."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._running = True
        self._wakeup: socket.socket | None = None

    def watch(self, file: Any, callback: Callable[[], None]) -> None:
        """``callback`` is called whenever ``file``, a number or something with ``fileno``, can be read."""
        self._selector.register(file, selectors.EVENT_READ, callback)

    def forget(self, file: Any) -> None:
        self._selector.unregister(file)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), callback))

    def stop(self) -> None:
        self._running = False

    def stop_at(self, *numbers: signal.Signals) -> None:
        """Signals end the loop, also while it sleeps."""
        there, here = socket.socketpair()
        there.setblocking(False)
        signal.set_wakeup_fd(there.fileno())
        for number in numbers:
            signal.signal(number, lambda *_: self.stop())
        self.watch(here, lambda: self._drain(here))
        self._wakeup = there

    @staticmethod
    def _drain(source: socket.socket) -> None:
        source.recv(64)

    def close(self) -> None:
        self._selector.close()

    def run(self) -> None:
        while self._running:
            wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _events in self._selector.select(wait):
                key.data()
            while self._due and self._due[0][0] <= time.monotonic():
                heapq.heappop(self._due)[2]()

# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""By which the agent sees that its follower lives: bytes on a pipe, from the one loop that does everything."""

from __future__ import annotations

import os

FOLLOW = "follow"
"""The word with which the agent's file is the follower."""
BEAT, BUSY, CHANGE = b".", b"b", b"c"
SILENT_SECONDS, BUSY_SECONDS = 10.0, 60.0
"""After which the follower hangs, by what it said last."""


class Pulse:
    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        os.set_blocking(pipe, False)

    def beat(self) -> None:
        self._say(BEAT)

    def busy(self) -> None:
        """Something begins that may take long."""
        self._say(BUSY)

    def change(self) -> None:
        """What is heard of the kernel next is our doing."""
        self._say(CHANGE)

    def _say(self, what: bytes) -> None:
        try:
            os.write(self._pipe, what)
        except (BlockingIOError, BrokenPipeError):  # nobody reads; the kernel ends us with the agent
            return

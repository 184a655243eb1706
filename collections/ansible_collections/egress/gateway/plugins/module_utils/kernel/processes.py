# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Processes on the node: whether one is alive, and whether it is the one that is meant."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PROC = Path("/proc")


def find(word: str) -> list[int]:
    """Processes in this network namespace with ``word`` among their arguments, parents first; zombies are dead."""
    own = (_PROC / "self/ns/net").stat().st_ino
    return [pid for pid in sorted(_pids()) if word in arguments(pid) and _namespace(pid) == own]


def is_running(pid_file: Path, word: str) -> bool:
    """Whether the process that a pid file names is alive and has ``word`` among its arguments."""
    try:
        pid = int(pid_file.read_text(encoding="ascii").strip() or 0)
    except (OSError, ValueError):
        return False
    return word in arguments(pid)


def arguments(pid: int) -> Sequence[str]:
    """Empty for a process that has ended."""
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ()


def send(pid: int, number: signal.Signals) -> None:
    """A process that has ended meanwhile is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _namespace(pid: int) -> int:
    try:
        return (_PROC / str(pid) / "ns/net").stat().st_ino
    except OSError:
        return 0

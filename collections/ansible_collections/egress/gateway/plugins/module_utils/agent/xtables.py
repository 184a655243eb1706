# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""When iptables of the legacy kind was used: the kernel tells nobody, but all of its users close one lock file."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.agent.netlink import FIREWALL

_LOCK = Path("/run/xtables.lock")
_CLOSED, _CREATED = 0x18, 0x100  # sys/inotify.h: IN_CLOSE, IN_CREATE
_EVENT = struct.Struct("=iIII")  # struct inotify_event: watch, mask, cookie, length of the name
_LIBC = ctypes.CDLL(None, use_errno=True)


class LockWatch:
    """``fileno`` can be read when somebody used iptables, or put something into the lock's directory."""

    def __init__(self, path: Path = _LOCK) -> None:
        self._path = path
        self._descriptor = _LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify")
        _LIBC.inotify_add_watch(self._descriptor, os.fsencode(path.parent), _CREATED)
        self._add()

    def fileno(self) -> int:
        return int(self._descriptor)

    def hear(self) -> frozenset[str]:
        """The firewall, where it was the lock; several uses are told of once."""
        used = False
        try:
            while True:
                used |= any(mask & _CLOSED or name == self._path.name for mask, name in events(self._read()))
        except BlockingIOError:
            pass
        if used:
            self._add()
        return frozenset([FIREWALL]) if used else frozenset()

    def _read(self) -> bytes:
        return os.read(self._descriptor, 65536)

    def _add(self) -> None:
        """To watch it twice is to watch it once; where it is not there yet, its directory tells when it comes."""
        _LIBC.inotify_add_watch(self._descriptor, os.fsencode(self._path), _CLOSED)


def events(data: bytes) -> Iterator[tuple[int, str]]:
    """What happened, as a mask, and the name in its directory where it was there."""
    place = 0
    while place + _EVENT.size <= len(data):
        _watch, mask, _cookie, length = _EVENT.unpack_from(data, place)
        place += _EVENT.size
        yield mask, os.fsdecode(data[place : place + length].rstrip(b"\0"))
        place += length

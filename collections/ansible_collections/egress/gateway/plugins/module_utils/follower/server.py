# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The socket of the follower: a line comes in, a line goes out, and the connection ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop

MOST_BYTES = 1 << 16
"""Of one request."""
MOST_CLIENTS = 512
_BACKLOG = 256

Reply = Mapping[str, Any]
Ask = Callable[[bytes, "Callable[[Reply], None]"], None]


class Server:
    """Only root may connect. Whoever went away meanwhile gets no reply, and what it asked for is done all the same."""

    def __init__(self, loop: Loop, path: Path, ask: Ask) -> None:
        self._loop = loop
        self._ask = ask
        self._clients: set[socket.socket] = set()
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        mask = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(mask)
        self._socket.listen(_BACKLOG)
        loop.watch(self._socket, self._accept)

    def close(self) -> None:
        for end in (self._socket, *self._clients):
            end.close()

    def _accept(self) -> None:
        try:
            client, _address = self._socket.accept()
        except OSError:  # it went away
            return
        if len(self._clients) >= MOST_CLIENTS:
            client.close()
            return
        client.setblocking(False)
        self._clients.add(client)
        data = bytearray()
        self._loop.watch(client, lambda: self._read(client, data))

    def _read(self, client: socket.socket, data: bytearray) -> None:
        try:
            more = client.recv(MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        data += more
        line, newline, _more = bytes(data).partition(b"\n")
        if not newline and more and len(data) <= MOST_BYTES:
            return
        self._loop.forget(client)
        if not newline:
            self._end(client)
            return
        try:
            self._ask(line, lambda reply: self._reply(client, reply))
        except Exception as error:
            self._reply(client, {"ok": False, "reason": "%s: %s" % (type(error).__name__, error)})

    def _reply(self, client: socket.socket, reply: Reply) -> None:
        with contextlib.suppress(OSError):
            client.send(json.dumps(reply).encode() + b"\n")
        self._end(client)

    def _end(self, client: socket.socket) -> None:
        self._clients.discard(client)
        client.close()

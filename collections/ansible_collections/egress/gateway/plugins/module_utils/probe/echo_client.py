# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Asks an echo service which source address it sees; the service is ``egress_compiler/lab/echo.py``.

TCP: it greets with one line ``ADDRESS PORT``. UDP: it answers ``ADDRESS PORT DATAGRAM``. HTTP: any path has JSON
``{"ip", "port"}``. WebSocket (RFC 6455), path /ws: the same JSON is its first message.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PATH = "/ws"
_CLONE_NEWNET = 0x40000000
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_UDP_WAIT = 0.5
"""Seconds before a datagram is sent again."""
_LONGEST = 65536
"""Bytes of an answer; a server that says more is no echo service."""


@dataclass(frozen=True)
class Target:
    address: str
    port: int
    protocol: str


class AskError(Exception):
    """No answer, or none that makes sense; the text says why."""


@contextlib.contextmanager
def inside(namespace: str | None) -> Iterator[None]:
    """Runs the block in a network namespace of ``ip netns``; AskError when there is none of this name."""
    if not namespace:
        yield
        return
    if "/" in namespace or namespace in (".", ".."):
        raise AskError("%r is no name of a network namespace" % namespace)
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open("rb") as own:
        try:
            with Path("/run/netns", namespace).open("rb") as there:
                _enter(libc, there.fileno())
        except OSError as error:
            raise AskError("network namespace %s: %s" % (namespace, error.strerror)) from error
        try:
            yield
        finally:
            _enter(libc, own.fileno())


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def ask(target: Target, timeout: float) -> str:
    """The source address that the target sees, within ``timeout`` seconds; AskError otherwise."""
    end = time.monotonic() + timeout
    try:
        return _ASK[target.protocol](target, end)
    except socket.timeout as error:
        raise AskError("no answer within %g s" % timeout) from error
    except OSError as error:
        raise AskError(error.strerror or str(error)) from error
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise AskError("this is no echo service: %s" % error) from error


def answers(wanted: str) -> str:
    """The work of this file when it is run as a program, as in a pod: JSON in, JSON out."""
    given = json.loads(wanted)
    found = []
    for address, port, protocol in given["targets"]:
        try:
            found.append([ask(Target(address, port, protocol), given["timeout"]), None])
        except AskError as error:
            found.append([None, str(error)])
    return json.dumps(found)


def _tcp(target: Target, end: float) -> str:
    with socket.create_connection((target.address, target.port), _left(end)) as connection:
        return _read(connection, lambda data: b"\n" in data, end).decode().split()[0]


def _udp(target: Target, end: float) -> str:
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as connection:
        connection.connect((target.address, target.port))
        while True:
            connection.send(b"probe")
            connection.settimeout(min(_left(end), _UDP_WAIT))
            try:
                return connection.recv(_LONGEST).decode().split()[0]
            except socket.timeout:
                _left(end)


def _http(target: Target, end: float) -> str:
    with socket.create_connection((target.address, target.port), _left(end)) as connection:
        connection.sendall(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % _host(target)).encode())
        head, rest = _head(connection, end)
        length = int(_header(head, "content-length"))
        body = rest + _read(connection, lambda data: len(rest) + len(data) >= length, end)
        return str(json.loads(body[:length])["ip"])


def _websocket(target: Target, end: float) -> str:
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (PATH, _host(target), key)
    )
    with socket.create_connection((target.address, target.port), _left(end)) as connection:
        connection.sendall(request.encode())
        head, rest = _head(connection, end)
        expected = base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()
        if " 101 " not in head.split("\r\n")[0] or _header(head, "sec-websocket-accept") != expected:
            raise ValueError("no WebSocket: %s" % head.split("\r\n")[0])
        frame = rest + _read(connection, lambda data: _text(rest + data) is not None, end)
        connection.sendall(b"\x88\x80" + os.urandom(4))  # close, masked, empty
        return str(json.loads(_text(frame) or "")["ip"])


_ASK: dict[str, Callable[[Target, float], str]] = {"tcp": _tcp, "udp": _udp, "http": _http, "websocket": _websocket}
PROTOCOLS = tuple(_ASK)


def _text(data: bytes) -> str | None:
    """The payload of the first frame, unmasked as a server sends it; None while it is not all there."""
    if len(data) < 2:
        return None
    if data[0] != 0x81:
        raise ValueError("the first frame is no whole text frame")
    size, start = data[1] & 0x7F, 2
    if size == 126:
        if len(data) < 4:
            return None
        size, start = int.from_bytes(data[2:4], "big"), 4
    elif size == 127:
        raise ValueError("the first frame is too long")
    return data[start : start + size].decode() if len(data) >= start + size else None


def _head(connection: socket.socket, end: float) -> tuple[str, bytes]:
    data = _read(connection, lambda data: b"\r\n\r\n" in data, end)
    head, _separator, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n")[1:]:
        key, _separator, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    raise ValueError("no header %s" % name)


def _host(target: Target) -> str:
    return "%s:%d" % ("[%s]" % target.address if ":" in target.address else target.address, target.port)


def _read(connection: socket.socket, enough: Callable[[bytes], bool], end: float) -> bytes:
    data = b""
    while not enough(data):
        connection.settimeout(_left(end))
        part = connection.recv(_LONGEST)
        if not part or len(data) > _LONGEST:
            raise ValueError("it said %r" % data[:100])
        data += part
    return data


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise socket.timeout
    return left


if __name__ == "__main__":
    sys.stdout.write(answers(sys.argv[1]) + "\n")

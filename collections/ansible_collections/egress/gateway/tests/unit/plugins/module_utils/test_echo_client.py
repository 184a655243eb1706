# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""The four ways to ask, against servers that say what the echo service says, and some that do not."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from ansible_collections.egress.gateway.plugins.module_utils.probe.echo_client import AskError, Target, ask, inside

Talk = Callable[[socket.socket], None]
Serve = Callable[[Talk], int]
BODY = b'{"ip": "192.0.2.7", "port": 4711}'


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server for one TCP connection on loopback; its port."""
    listeners = []

    def start(talk: Talk) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def once() -> None:
            connection, _peer = listener.accept()
            with connection:
                talk(connection)

        threading.Thread(target=once, daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for listener in listeners:
        listener.close()


def websocket(connection: socket.socket) -> None:
    request = connection.recv(4096).decode()
    key = next(line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
    accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept
    connection.sendall(head.encode() + bytes([0x81, len(BODY)]) + BODY[:5])
    connection.sendall(BODY[5:])
    connection.recv(100)


def http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY)


TALKS: dict[str, Talk] = {
    "tcp": lambda connection: connection.sendall(b"192.0.2.7 4711\n"),
    "http": http,
    "websocket": websocket,
}


@pytest.mark.parametrize("protocol", sorted(TALKS))
def test_the_address_that_the_server_sees(protocol: str, serve: Serve) -> None:
    assert ask(Target("127.0.0.1", serve(TALKS[protocol]), protocol), 3) == "192.0.2.7"


def test_a_datagram_is_sent_again() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def once() -> None:
            server.recv(100)
            data, peer = server.recvfrom(100)
            server.sendto(b"192.0.2.7 4711 " + data, peer)

        thread = threading.Thread(target=once)
        thread.start()
        assert ask(Target("127.0.0.1", server.getsockname()[1], "udp"), 3) == "192.0.2.7"
        thread.join()


@pytest.mark.parametrize("protocol", sorted(TALKS))
def test_a_server_that_hangs_up(protocol: str, serve: Serve) -> None:
    with pytest.raises(AskError):
        ask(Target("127.0.0.1", serve(lambda connection: None), protocol), 3)


@pytest.mark.parametrize("protocol", ["http", "websocket"])
def test_a_server_that_speaks_of_something_else(protocol: str, serve: Serve) -> None:
    port = serve(lambda connection: connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"))
    with pytest.raises(AskError, match="echo service"):
        ask(Target("127.0.0.1", port, protocol), 3)


def test_silence_ends_with_the_time(serve: Serve) -> None:
    with pytest.raises(AskError, match="no answer within"):
        ask(Target("127.0.0.1", serve(lambda connection: connection.recv(1) and None), "tcp"), 0.2)


@pytest.mark.parametrize("name", ["../../proc/self/ns/net", "..", "no-such-namespace-here"])
def test_only_names_of_namespaces(name: str) -> None:
    with pytest.raises(AskError), inside(name):
        pass

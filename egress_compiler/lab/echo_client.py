"""The client of the echo service. It is run as a file, and imports little, so that a probe starts at once.

    echo_client.py probe [--timeout S] PROTOCOL,ADDRESS,PORT...
        prints one line of JSON a target, in this order: {"seen", "port"} or {"error"}
    echo_client.py meter PROTOCOL,ADDRESS,PORT --seconds S --interval MS [--push]
        prints {"started": true} at the first answer, and at the end
        {"sent", "answered", "longest_gap_ms", "seen", "error"}

Protocols are tcp, udp, http and ws; meter knows tcp and udp.
"""

import errno
import json
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable

Target = tuple[str, str, int]

_UDP_ATTEMPTS = 3
_WEBSOCKET_KEY = "ZWdyZXNzLWxhYi1wcm9iZQ=="
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EACCES, errno.EADDRNOTAVAIL}


def probe(target: Target, timeout: float) -> dict[str, object]:
    """The source address and port that the target sees, or the error, at the latest after `timeout` seconds."""
    protocol, address, port = target
    try:
        seen, source = _ASK[protocol](address, port, time.monotonic() + timeout)
    except (OSError, ValueError) as error:
        return {"error": error_text(error)}
    return {"seen": seen, "port": source}


def error_text(error: Exception) -> str:
    """One word for what happens in networks, the exception's own text for the rest."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "reset"
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return "unreachable"
    return f"{type(error).__name__}: {error}"


def _connect(kind: socket.SocketKind, address: str, port: int, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    try:
        connection.settimeout(_left(deadline))
        connection.connect((address, port))
    except BaseException:
        connection.close()
        raise
    return connection


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _read(connection: socket.socket, enough: Callable[[bytes], bool], deadline: float) -> bytes:
    """Reads until there is enough; ValueError when the peer ends before."""
    data = b""
    while not enough(data):
        connection.settimeout(_left(deadline))
        part = connection.recv(65536)
        if not part:
            raise ValueError(f"the connection ended after {data!r}")
        data += part
    return data


def _pair(text: str) -> tuple[str, int]:
    ip, port = text.split()[:2]
    return ip, int(port)


def _json_pair(text: bytes) -> tuple[str, int]:
    answer = json.loads(text)
    return str(answer["ip"]), int(answer["port"])


def _ask_tcp(address: str, port: int, deadline: float) -> tuple[str, int]:
    with _connect(socket.SOCK_STREAM, address, port, deadline) as connection:
        return _pair(_read(connection, lambda data: b"\n" in data, deadline).decode())


def _ask_udp(address: str, port: int, deadline: float) -> tuple[str, int]:
    """Asks again twice: a datagram may be lost without anything being wrong."""
    wait = _left(deadline) / _UDP_ATTEMPTS
    with _connect(socket.SOCK_DGRAM, address, port, deadline) as connection:
        while True:
            connection.send(b"probe")
            try:
                connection.settimeout(min(wait, _left(deadline)))
                return _pair(connection.recv(65536).decode())
            except TimeoutError:
                _left(deadline)


def _request(path: str, address: str, headers: str) -> bytes:
    host = f"[{address}]" if ":" in address else address
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()


def _ask_http(address: str, port: int, deadline: float) -> tuple[str, int]:
    with _connect(socket.SOCK_STREAM, address, port, deadline) as connection:
        connection.sendall(_request("/", address, "Connection: close\r\n"))
        answer = _read(connection, lambda data: data.endswith(b"}\n"), deadline)
    return _json_pair(answer.partition(b"\r\n\r\n")[2])


def _ask_ws(address: str, port: int, deadline: float) -> tuple[str, int]:
    """Opens a WebSocket (RFC 6455) and reads the first message, one short unmasked frame."""
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    with _connect(socket.SOCK_STREAM, address, port, deadline) as connection:
        connection.sendall(_request("/ws", address, f"{upgrade}Sec-WebSocket-Key: {_WEBSOCKET_KEY}\r\n"))

        def enough(data: bytes) -> bool:
            frame = data.partition(b"\r\n\r\n")[2]
            return len(frame) >= 2 and len(frame) >= 2 + (frame[1] & 0x7F)

        answer = _read(connection, enough, deadline)
    head, _, frame = answer.partition(b"\r\n\r\n")
    if b" 101 " not in head:
        raise ValueError(f"no WebSocket: {head.decode(errors='replace').splitlines()[0]}")
    return _json_pair(frame[2 : 2 + (frame[1] & 0x7F)])


_ASK = {"tcp": _ask_tcp, "udp": _ask_udp, "http": _ask_http, "ws": _ask_ws}


class Meter:
    """Sends a numbered probe every `interval` seconds over one flow and notes when answers come."""

    def __init__(self, target: Target, interval: float, *, push: bool) -> None:
        self.target = target
        self.interval = interval
        self.push = push
        """The server speaks, every `interval`; the client only listens."""
        self.sent = 0
        self.answered = 0
        self.seen: list[str] = []
        self.longest_gap = 0.0
        self.last: float | None = None
        self.error: str | None = None
        self.stopped = False
        self._rest = b""

    def run(self, seconds: float) -> dict[str, object]:
        """Measures for so many seconds, or until it is stopped or the connection breaks."""
        protocol, address, port = self.target
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        end = time.monotonic() + seconds
        try:
            with _connect(kind, address, port, end) as connection:
                connection.setblocking(False)
                if kind == socket.SOCK_STREAM:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._measure(connection, end)
        except (OSError, ValueError) as error:
            self.error = error_text(error)
        self._note_gap(time.monotonic())
        return {
            "sent": self.sent,
            "answered": self.answered,
            "longest_gap_ms": round(self.longest_gap * 1000, 1),
            "seen": self.seen,
            "error": self.error,
        }

    def _measure(self, connection: socket.socket, end: float) -> None:
        due = time.monotonic()
        if self.push:
            connection.send(f"every {max(1, round(self.interval * 1000))}\n".encode())
        while not self.stopped and (now := time.monotonic()) < end:
            if now >= due:
                if not self.push:
                    self._send(connection)
                due = max(due + self.interval, now)
            if select.select([connection], [], [], max(0.0, min(due, end) - time.monotonic()))[0]:
                self._receive(connection)

    def _send(self, connection: socket.socket) -> None:
        """What the network refuses to take is an unanswered probe; a broken TCP connection ends the run."""
        self.sent += 1
        ending = "\n" if self.target[0] == "tcp" else ""
        try:
            connection.send(f"{self.sent}{ending}".encode())
        except BlockingIOError:
            pass
        except OSError:
            if self.target[0] == "tcp":
                raise

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(65536)
        except OSError:
            if self.target[0] == "tcp":
                raise
            return
        if self.target[0] == "udp":
            self._note(data.split()[0].decode())
            return
        if not data:
            raise ConnectionResetError
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._note(None if self.seen else line.split()[0].decode())

    def _note(self, source: str | None) -> None:
        """An answer: for UDP each names the source, for TCP the first line alone, which answers no probe."""
        if source is not None and source not in self.seen:
            self.seen.append(source)
        if self.last is None:
            _say({"started": True})
        now = time.monotonic()
        self._note_gap(now)
        self.last = now
        if source is None or self.target[0] == "udp":
            self.answered += 1

    def _note_gap(self, now: float) -> None:
        if self.last is not None:
            self.longest_gap = max(self.longest_gap, now - self.last)


def _say(value: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _target(text: str) -> Target:
    protocol, address, port = text.split(",")
    return protocol, address, int(port)


def _probe_all(targets: list[Target], timeout: float) -> list[dict[str, object]]:
    """All at the same time: a dozen targets that do not answer cost one time-out."""
    results: list[dict[str, object]] = [{} for _ in targets]

    def one(index: int) -> None:
        results[index] = probe(targets[index], timeout)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _option(arguments: list[str], name: str, default: float) -> float:
    if name not in arguments:
        return default
    index = arguments.index(name)
    value = float(arguments[index + 1])
    del arguments[index : index + 2]
    return value


def main(arguments: list[str]) -> int:
    """The command line, see the top of the file."""
    command, *rest = arguments
    if command == "probe":
        timeout = _option(rest, "--timeout", 2.0)
        for result in _probe_all([_target(text) for text in rest], timeout):
            _say(result)
        return 0
    seconds = _option(rest, "--seconds", 5.0)
    interval = _option(rest, "--interval", 5.0)
    push = "--push" in rest
    meter = Meter(_target(rest[0]), interval / 1000, push=push)

    def stop(*_: object) -> None:
        meter.stopped = True

    signal.signal(signal.SIGTERM, stop)
    _say(meter.run(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

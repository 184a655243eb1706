"""HTTP for the scripted API server: one request, answered well or badly."""

import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from tests.follow_api.wire import FAULTS, KINDS, Fault, Json, Refusal, Request, status


class Answering(Protocol):
    """The part of the scripted server that a request needs."""

    token: str | None

    @property
    def certified(self) -> bool: ...

    def note(self, request: Request) -> None: ...

    def fault(self, request: Request) -> Fault | None: ...

    def list(self, request: Request) -> Json: ...

    def events(self, request: Request, mute: Callable[[], bool]) -> Iterator[Json]: ...

    def joined(self, connection: socket.socket) -> None: ...

    def left(self, connection: socket.socket) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        if self.tls is not None:
            # The handshake is the handler's, so that nobody waits for a slow one.
            sock = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that break are what this is for."""


class Handler(BaseHTTPRequestHandler):
    api: Answering
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""

    def setup(self) -> None:
        super().setup()
        self.api.joined(self.connection)

    def finish(self) -> None:
        self.api.left(self.connection)
        try:
            super().finish()
        except OSError:
            return

    def do_GET(self) -> None:
        self.close_connection = True
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        verb = "watch" if query.get("watch") in ("1", "true") else "list"
        request = Request(verb, KINDS.get(url.path, ""), query, self._identity())
        self.api.note(request)
        if not self._may(request):
            self._answer(status(401, "Unauthorized"), 401)
        elif not request.kind:
            self._answer(status(404, "the server could not find the requested resource"), 404)
        else:
            self._serve(request, self.api.fault(request))

    def _identity(self) -> str:
        if isinstance(self.connection, ssl.SSLSocket):
            names: Any = (self.connection.getpeercert() or {}).get("subject", ())
            for ((_, name),) in names:
                return str(name)
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _may(self, request: Request) -> bool:
        if self.api.token is None or not self.api.certified:
            return True
        certified = isinstance(self.connection, ssl.SSLSocket) and bool(self.connection.getpeercert())
        return certified or request.token == self.api.token

    def _serve(self, request: Request, fault: Fault | None) -> None:
        name = fault.name if fault is not None else ""
        if fault is not None and name in FAULTS:
            code = FAULTS[name]
            said = "Too large resource version: 1, current: 0" if code == 504 else f"{request.kind.lower()}s: {name}"
            self._answer(status(code, said), code, {"Retry-After": str(int(fault.seconds))} if code == 429 else {})
        elif name in ("gone-page", "gone-event"):
            self._gone(request, name)
        elif name in _ODD_ANSWERS:
            _ODD_ANSWERS[name](self)
        elif name == "hang":
            self.connection.settimeout(60)
            self.rfile.read(1)  # until the client goes
        else:
            try:
                self._list(request, fault) if request.verb == "list" else self._watch(request, fault)
            except Refusal as refusal:
                self._answer(refusal.status(), refusal.code)

    def _gone(self, request: Request, name: str) -> None:
        if name == "gone-page":
            self._answer(status(410, "The provided continue parameter is too old"), 410)
        else:
            self._head()
            self._chunk({"type": "ERROR", "object": status(410, "too old resource version")})
            self._chunk(None)

    def _list(self, request: Request, fault: Fault | None) -> None:
        found = self.api.list(request)
        if fault is not None and fault.name == "odd":
            found["items"] = [*(found["items"] or ()), *_ODD_OBJECTS]
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body, fault)

    def _watch(self, request: Request, fault: Fault | None) -> None:
        name = fault.name if fault is not None else ""
        events = self.api.events(request, lambda: name == "silent")
        self._head()
        if name == "end":
            return self._chunk(None)
        if name == "odd":
            for one in _ODD_OBJECTS:
                self._chunk({"type": "MODIFIED", "object": one})
        waiting: Json | None = None
        for event in events:
            if name == "duplicate":
                self._chunk(event)
                self._chunk(event)
            elif name == "disorder" and event["type"] != "BOOKMARK":
                if waiting is not None:
                    self._chunk(event)
                    self._chunk(waiting)
                    waiting = None
                else:
                    waiting = event
            elif name in ("cut", "drip"):
                self._send(_framed(json.dumps(event).encode() + b"\n"), fault)
                if name == "cut":
                    return None
            else:
                self._chunk(event)
        self._chunk(None)
        return None

    def _head(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def _chunk(self, event: Json | None) -> None:
        """None: the end."""
        self.wfile.write(_framed(json.dumps(event).encode() + b"\n" if event is not None else b""))

    def _answer(self, body: Json, code: int, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(text)

    def _send(self, body: bytes, fault: Fault | None) -> None:
        if fault is not None and fault.name == "cut":
            self.wfile.write(body[: len(body) // 2])
        elif fault is not None and fault.name == "drip":
            for index in range(len(body)):
                self.wfile.write(body[index : index + 1])
                time.sleep(fault.seconds)
        else:
            self.wfile.write(body)

    def raw(self, content: bytes) -> None:
        self.wfile.write(content)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _page(body: bytes) -> Callable[[Handler], None]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"
    return lambda handler: handler.raw(head + body)


_ODD_ANSWERS: dict[str, Callable[[Handler], None]] = {
    "status": _page(json.dumps(status(503, "etcdserver: leader changed")).encode() + b"\n"),
    "html": _page(b"<html><body>log in</body></html>\n"),
    "garbage": lambda handler: handler.raw(bytes(range(256)) * 16),
    "deep": _page(b"[" * 200_000 + b"\n"),
    "long": _page(b'{"a": "' + b"x" * (5 << 20)),
    "reset": lambda handler: handler.reset(),
}
_ODD_OBJECTS: tuple[Any, ...] = (
    None,
    7,
    "text",
    {},
    {"metadata": None},
    {"metadata": {"name": "../../etc", "namespace": "a", "uid": "u", "resourceVersion": "1"}},
    {"metadata": {"name": "a", "namespace": "a", "uid": 5, "resourceVersion": "1"}},
    {"metadata": {"name": "a", "namespace": "a", "uid": "u", "resourceVersion": "1", "labels": {"a": 5}}},
    {"metadata": {"name": "a", "namespace": "a", "uid": "u", "resourceVersion": "1", "labels": []}},
    {"metadata": {"name": "a", "namespace": "a\nb", "uid": "u", "resourceVersion": "1"}, "status": 5},
)

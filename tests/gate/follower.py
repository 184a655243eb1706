"""A follower for tests of the gate: a socket that answers each line as it is told to."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

Request = dict[str, Any]
OK = b'{"ok":true}\n'


class FakeFollower:
    """Listens while it is entered.  ``answer`` gets a request and returns bytes to send; None says nothing, ever."""

    def __init__(self, path: Path, answer: Callable[[Request], bytes | None] = lambda _request: OK) -> None:
        self.path = path
        self.answer = answer
        self.requests: list[Request] = []
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._silent: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "FakeFollower":
        self._server.bind(str(self.path))
        self._server.listen(64)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._server.close()
        for connection in self._silent:
            connection.close()
        self.path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                connection, _peer = self._server.accept()
            except OSError:
                return
            with connection.makefile("rb") as lines:
                request = json.loads(lines.readline())
            self.requests.append(request)
            reply = self.answer(request)
            if reply is None:
                self._silent.append(connection)
                continue
            with contextlib.suppress(OSError):  # whoever asked did not wait
                connection.sendall(reply)
            connection.close()

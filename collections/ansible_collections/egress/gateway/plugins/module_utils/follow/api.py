# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""HTTP to an API server: lists and watches of one resource, a connection each, with limits of time and size.

Whatever comes back, what is raised is a FollowError.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Access, Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import (
    AheadOfServer,
    ApiError,
    Forbidden,
    Gone,
    Malformed,
    Refused,
    ServerTrouble,
    Silent,
    TooMany,
    Unauthorized,
    Unreachable,
    Untrusted,
    printable,
)
from ansible_collections.egress.gateway.plugins.module_utils.follow.json_list import ListReader

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 30.0
"""For a whole page of a list, or the head of a watch."""
LINE_BYTES = 4 << 20
"""The greatest event."""
_STATUS_BYTES = 1 << 16
_LONGEST_RETRY_AFTER = 300.0
_READ_BYTES = 1 << 16
# An idle connection whose other end is gone is noticed within 30 s, as the official client has it.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
_UNACKNOWLEDGED_MS = 30_000

Query = Mapping[str, str]


class Api:
    """One request at a time; ``interrupt`` may be called from anywhere."""

    def __init__(self, credentials: Credentials, clock: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._clock = clock
        self._open: _TimedSocket | None = None
        self._closed = False

    def page(self, path: str, query: Query, item: Callable[[Any], None]) -> Mapping[str, Any]:
        """Calls ``item`` with each item of a list, and returns what else the list has. Raises FollowError."""
        with self._answer(path, query) as (answer, _sock):
            reader = ListReader(lambda size: _guarded(lambda: answer.read1(size)))
            for one in reader.items():
                item(one)
        if reader.fields.get("kind") == "Status":
            raise _error(reader.fields)
        # Go writes null for a list without items.
        if not (reader.has_items or ("items" in reader.fields and reader.fields["items"] is None)):
            raise Malformed("this is no list")
        return reader.fields

    def watch(self, path: str, query: Query, patience: float) -> Generator[Mapping[str, Any] | None, None, None]:
        """None as soon as the server has agreed, then its events; ends with the stream, also in the middle of a line.

        Raises FollowError, Silent among them when no whole line comes for ``patience`` seconds.
        """
        with self._answer(path, query) as (answer, sock):
            sock.give(patience)
            yield None
            pending = bytearray()
            while True:
                data = _guarded(lambda: answer.read1(_READ_BYTES), ending=True)
                if not data:
                    return
                start = len(pending)
                pending += data
                if len(pending) > LINE_BYTES:
                    raise Malformed("an event has more than %d bytes" % LINE_BYTES)
                if pending.find(b"\n", start) < 0:
                    continue
                *lines, rest = bytes(pending).split(b"\n")
                pending = bytearray(rest)
                for line in lines:
                    if line.strip():
                        yield _event(line)
                sock.give(patience)

    def interrupt(self) -> None:
        """Ends the request that runs, and all that come."""
        self._closed = True
        current = self._open
        if current is not None:
            current.interrupt()

    @contextlib.contextmanager
    def _answer(self, path: str, query: Query) -> Iterator[tuple[http.client.HTTPResponse, _TimedSocket]]:
        """The answer's body is to be read. A credential that is refused is fetched anew once."""
        try:
            access = self._credentials.access()
            try:
                found = self._request(access, path, query)
            except Unauthorized:
                self._credentials.rejected(access)
                found = self._request(self._credentials.access(), path, query)
            yield found
        finally:
            opened, self._open = self._open, None
            if opened is not None:
                opened.end()

    def _request(self, access: Access, path: str, query: Query) -> tuple[http.client.HTTPResponse, _TimedSocket]:
        cluster = access.cluster
        target = "%s%s?%s" % (cluster.prefix, path, urlencode(sorted(query.items())))
        headers = {"Accept": "application/json", "User-Agent": "egress-follower", "Connection": "close"}
        if access.token is not None:
            headers["Authorization"] = "Bearer " + access.token
        if self._open is not None:
            self._open.end()
        sock = self._open = _TimedSocket(_connected(access), self._clock)
        if self._closed:
            sock.interrupt()
        sock.give(ANSWER_SECONDS)
        connection = http.client.HTTPConnection(cluster.host, cluster.port)
        connection.sock = sock
        answer = _guarded(lambda: _exchange(connection, target, headers))
        if answer.status != 200:
            body = _guarded(lambda: answer.read(_STATUS_BYTES))
            raise _from_answer(answer, body)
        if answer.getheader("Content-Encoding", "identity") != "identity":
            raise Malformed("the answer is compressed, which nobody asked for")
        return answer, sock


class _TimedSocket:
    """As much of a socket as http.client uses; what is read comes before an end that is set once for many reads."""

    def __init__(self, sock: socket.socket, clock: Callable[[], float]) -> None:
        self._sock = sock
        self._clock = clock
        self._end = 0.0

    def give(self, seconds: float) -> None:
        """So long from now until the next call."""
        self._end = self._clock() + seconds

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self), _READ_BYTES)

    def receive(self, buffer: memoryview) -> int:
        self._sock.settimeout(self._left())
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        """http.client is through with it; the answer's body is still to be read."""

    def end(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()

    def interrupt(self) -> None:
        # Not SSLSocket's own, which takes the TLS session from under the thread that reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def _left(self) -> float:
        left = self._end - self._clock()
        if left <= 0:
            raise socket.timeout("timed out")
        return left


class _Reading(io.RawIOBase):
    def __init__(self, sock: _TimedSocket) -> None:
        super().__init__()
        self._timed = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.receive(buffer)


def _connected(access: Access) -> socket.socket:
    cluster = access.cluster
    try:
        sock = socket.create_connection((cluster.host, cluster.port), CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise Unreachable("%s: %s" % (cluster.server, _reason(error))) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
        if access.tls is not None:
            sock = access.tls.wrap_socket(sock, server_hostname=cluster.server_name)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise Untrusted("%s: its certificate: %s" % (cluster.server, printable(error.verify_message))) from error
    except (OSError, ValueError) as error:
        sock.close()
        raise Unreachable("%s: TLS: %s" % (cluster.server, _reason(error))) from error
    return sock


def _exchange(
    connection: http.client.HTTPConnection, target: str, headers: Mapping[str, str]
) -> http.client.HTTPResponse:
    connection.request("GET", target, headers=headers)
    return connection.getresponse()


def _guarded(read: Callable[[], Any], ending: bool = False) -> Any:
    """What ``read`` gives. A connection that breaks off is an end where there may be one."""
    try:
        return read()
    except http.client.IncompleteRead as error:
        if ending:
            return b""
        raise Unreachable("the answer breaks off") from error
    except (ConnectionError, ssl.SSLEOFError) as error:
        if ending:
            return b""
        raise Unreachable("the connection broke: %s" % _reason(error)) from error
    except socket.timeout as error:
        raise Silent("nothing whole came within the time") from error
    except OSError as error:
        raise Unreachable("the connection broke: %s" % _reason(error)) from error
    except (http.client.HTTPException, ValueError) as error:
        raise Malformed("this is no HTTP: %s: %s" % (type(error).__name__, printable(str(error)))) from error


def _reason(error: BaseException) -> str:
    """Of what the socket and TLS layers raise, the telling part."""
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(str(reason))


def _event(line: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Malformed("an event is no JSON") from error
    if not isinstance(event, dict):
        raise Malformed("an event is no object")
    if event.get("kind") == "Status":
        raise _error(event)
    if event.get("type") == "ERROR":
        status = event.get("object")
        raise _error(status if isinstance(status, dict) else {})
    return event


def _from_answer(answer: http.client.HTTPResponse, body: bytes) -> ApiError:
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):
        status = None
    if not isinstance(status, dict):
        status = {"message": "status %d %s" % (answer.status, answer.reason)}
    wait = answer.getheader("Retry-After", "")
    return _error({**status, "code": answer.status}, float(wait) if re.fullmatch("[0-9]{1,6}", wait) else None)


def _error(status: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """Of a Status object, which anybody may have written."""
    code = status.get("code")
    if not isinstance(code, int) or not 300 <= code <= 599:
        return Malformed("a Status with code %s" % printable(repr(code)))
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    asked = details.get("retryAfterSeconds")
    if retry_after is None and isinstance(asked, int) and not isinstance(asked, bool) and asked >= 0:
        retry_after = float(min(asked, int(_LONGEST_RETRY_AFTER)))
    if retry_after is not None:
        retry_after = min(retry_after, _LONGEST_RETRY_AFTER)
    message = printable(str(status.get("message") or status.get("reason") or "status %d" % code))
    if code == 401:
        message += "; the credential is not, or no longer, accepted"
    kind = _KINDS.get(code, ServerTrouble if code >= 500 else Refused)
    if _ahead(status, details):
        kind = AheadOfServer
    return kind(message, code, retry_after)


_KINDS: Mapping[int, type[Refused]] = {401: Unauthorized, 403: Forbidden, 410: Gone, 429: TooMany}


def _ahead(status: Mapping[str, Any], details: Mapping[str, Any]) -> bool:
    """Source: k8s.io/apiserver, pkg/storage/errors.go: NewTooLargeResourceVersionError."""
    causes = details.get("causes")
    named = isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == "ResourceVersionTooLarge" for cause in causes
    )
    return named or "Too large resource version" in str(status.get("message"))

"""Whatever bytes come from where an API server should be: an error that says so, or what was left whole."""

import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.follow.api import Api
from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.errors import (
    AheadOfServer,
    FollowError,
    Forbidden,
    Gone,
    Malformed,
    Refused,
    ServerTrouble,
    TooMany,
    Unauthorized,
    Unreachable,
)

from tests.follow_api.wire import Json, status

POD = {"metadata": {"name": "a", "namespace": "b", "uid": "u", "resourceVersion": "3"}}
BODY = json.dumps({"kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": [POD, POD]}).encode()
EVENTS = json.dumps({"type": "ADDED", "object": POD}).encode() + b"\n"


def plain(body: bytes, code: int = 200, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s" % (code, len(body), more, body)


def chunked(body: bytes) -> bytes:
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:], b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks


class Raw:
    """Answers each connection with the same bytes and closes it."""

    def __init__(self, directory: Path) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        server = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {}}],
        }
        path = directory / "kubeconfig"
        path.write_text(json.dumps(config), encoding="ascii")
        self.api = Api(Credentials(str(path)))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, suppress(OSError):
                    connection.recv(1 << 16)
                    connection.sendall(self.answer)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)

    def close(self) -> None:
        self._socket.close()

    def listed(self) -> list[Any]:
        items: list[Any] = []
        self.api.page("/api/v1/pods", {}, items.append)
        return items

    def watched(self) -> list[Any]:
        return list(self.api.watch("/api/v1/pods", {}, 5))[1:]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    server = Raw(tmp_path_factory.mktemp("raw"))
    yield server
    server.close()


def test_whole_answers(raw: Raw) -> None:
    for frame in (plain, chunked):
        raw.answer = frame(BODY)
        assert raw.listed() == [POD, POD]
        raw.answer = frame(EVENTS * 3)
        assert raw.watched() == [{"type": "ADDED", "object": POD}] * 3


@pytest.mark.parametrize("verb", ["list", "watch"])
@pytest.mark.parametrize("frame", [plain, chunked])
def test_damaged_answers(raw: Raw, verb: str, frame: Callable[[bytes], bytes]) -> None:
    dice = random.Random(1)
    whole = frame(BODY if verb == "list" else EVENTS * 3)
    ask = raw.listed if verb == "list" else raw.watched
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(len(damaged))
            way = dice.randrange(4)
            if way == 0:
                damaged[at] = dice.randrange(256)
            elif way == 1:
                damaged[at:at] = bytes([dice.randrange(256)]) * dice.choice([1, 1, 70_000])
            elif way == 2:
                del damaged[at : at + dice.randrange(1, 20)]
            else:
                del damaged[at:]
            if not damaged:
                break
        raw.answer = bytes(damaged)
        try:
            ask()
        except FollowError as error:
            message = str(error)
        else:
            message = "fine"
        assert message.isprintable(), raw.answer
        assert len(message) < 500, raw.answer


REFUSALS = [
    (401, Unauthorized),
    (403, Forbidden),
    (404, Refused),
    (410, Gone),
    (429, TooMany),
    (500, ServerTrouble),
    (504, AheadOfServer),
    (301, Refused),
]


@pytest.mark.parametrize(("code", "kind"), REFUSALS)
def test_refusals(raw: Raw, code: int, kind: type[Refused]) -> None:
    body: Json = status(code, "Too large resource version: 9" if code == 504 else "no\n\x1b[31m")
    for answer in (plain(json.dumps(body).encode(), code), plain(json.dumps(body).encode())):
        raw.answer = answer
        with pytest.raises(kind) as error:
            raw.listed()
        assert type(error.value) is kind
        assert error.value.code == code
        assert str(error.value).isprintable()
    raw.answer = plain(json.dumps({"type": "ERROR", "object": body}).encode() + b"\n")
    with pytest.raises(kind):
        raw.watched()


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        (b"Retry-After: 7\r\n", {}, 7),
        (b"Retry-After: 99999\r\n", {}, 300),
        (b"Retry-After: -1\r\n", {}, None),
        (b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", {"retryAfterSeconds": 3}, 3),
        (b"", {"retryAfterSeconds": 10**30}, 300),
        (b"", {"retryAfterSeconds": "x"}, None),
        (b"", {}, None),
    ],
)
def test_for_how_long_it_wants_to_be_left_alone(raw: Raw, header: bytes, details: Json, seconds: float) -> None:
    raw.answer = plain(json.dumps({**status(429, "busy"), "details": details}).encode(), 429, header)
    with pytest.raises(TooMany) as error:
        raw.listed()
    assert error.value.retry_after == seconds


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"", Unreachable, "the connection broke"),
        (b"SSH-2.0-OpenSSH\r\n", Malformed, "this is no HTTP"),
        (plain(b"<html>"), Malformed, "the list is no JSON"),
        (plain(b"{}"), Malformed, "this is no list"),
        (plain(BODY)[:-20], Malformed, "breaks off"),
        (plain(BODY)[:-1], Unreachable, "breaks off"),
        (plain(BODY, more=b"Content-Encoding: gzip\r\n"), Malformed, "compressed"),
        (plain(json.dumps({"kind": "Status", "code": 7}).encode()), Malformed, "a Status with code 7"),
        (plain(b"busy", 503), ServerTrouble, "status 503 X"),
    ],
)
def test_what_is_said_of_others(raw: Raw, answer: bytes, kind: type[FollowError], message: str) -> None:
    raw.answer = answer
    with pytest.raises(kind, match=message):
        raw.listed()


def test_an_event_without_an_end(raw: Raw) -> None:
    raw.answer = plain(b"x" * (5 << 20))
    with pytest.raises(Malformed, match="an event has more than"):
        raw.watched()

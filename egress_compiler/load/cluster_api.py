"""One GET to the API server: asked again where it is busy, and every way to fail told apart.

A request has no deadline of its own: a server that drips bytes would outlive any that a socket has.  The caller runs
all of them in a thread that it can leave (``egress_compiler.load.live``).
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from egress_compiler.load.kubeconfig import one_line, reason_of

BUSY = frozenset({429, 502, 503, 504})
"""What an API server, or the balancer before it, says when it may well answer in a moment."""
ATTEMPTS = 6
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds: the pause after the first attempt, doubled after each further one, and what Retry-After may ask for."""
CONNECT_TIMEOUT = 10.0


class ApiFailure(Exception):
    """The API server's refusal.  ``status`` is the HTTP status, 0 where there was no answer; the text is its reason.

    ``cut`` tells that an answer began and did not end.
    """

    def __init__(self, status: int, text: str, attempts: int = 1, *, cut: bool = False) -> None:
        super().__init__(text)
        self.status, self.text, self.attempts, self.cut = status, text, attempts, cut


class Status(msgspec.Struct):
    """The object that an API server answers with where it has nothing better to say."""

    kind: str = ""
    message: str = ""
    reason: str = ""


_status_decoder = msgspec.json.Decoder(Status)


class ClusterApi:
    """Speaks for the client's user; ``until`` is the time (of ``time.monotonic``) when the caller stops waiting."""

    def __init__(self, client: Any, until: float) -> None:
        self._client = client
        self._until = until
        self.host = str(client.configuration.host)

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> bytes:
        """The body of a 200.  Raises ApiFailure, of a server that stays busy after six attempts."""
        url = f"{self.host}{path}" + (f"?{urlencode(query)}" if query else "")
        attempt = 0
        while True:
            attempt += 1
            try:
                status, headers, body = self._once(url)
            except ApiFailure as failure:
                failure.attempts = attempt
                if not failure.cut or attempt == ATTEMPTS:
                    raise
                pause = _pause(attempt, None)
            else:
                if status == 200:
                    return body
                if status not in BUSY or attempt == ATTEMPTS:
                    raise ApiFailure(status, message_of(body), attempt)
                pause = _pause(attempt, headers.get("Retry-After"))
            time.sleep(pause)

    def _once(self, url: str) -> tuple[int, Mapping[str, str], bytes]:
        from urllib3 import Timeout
        from urllib3.exceptions import HTTPError, ProtocolError

        headers = {"Accept": "application/json", "User-Agent": "egress-compiler"}
        # Asks the exec plugin again where its credentials have expired.
        headers |= {entry["key"]: entry["value"] for entry in self._client.configuration.auth_settings().values()}
        left = max(1.0, self._until - time.monotonic())
        timeout = Timeout(connect=min(CONNECT_TIMEOUT, left), read=left + 1)
        try:
            response = self._client.rest_client.pool_manager.request(
                "GET", url, headers=headers, timeout=timeout, preload_content=False, retries=False
            )
            return response.status, response.headers, response.data
        except ProtocolError as problem:
            raise ApiFailure(0, _cut_text(problem), cut=True) from None
        except (HTTPError, OSError) as problem:
            raise ApiFailure(0, reason_of(problem)) from None


def message_of(body: bytes) -> str:
    """What the server says about a failure; nothing where it is no Status."""
    try:
        return one_line(_status_decoder.decode(body).message)
    except msgspec.DecodeError:
        return ""


def _cut_text(problem: Exception) -> str:
    """urllib3 gives the text and its cause as a pair."""
    return one_line(str(problem.args[0] if problem.args else problem))


def _pause(attempt: int, asked: str | None) -> float:
    """Seconds until the next attempt: as long as the server asked, and a little more, lest all come back at once."""
    seconds = float(asked) if asked is not None and asked.isdigit() else FIRST_PAUSE * 2 ** (attempt - 1)
    return min(seconds, LONGEST_PAUSE) * random.uniform(1.0, 1.5)  # noqa: S311  # no secret depends on it

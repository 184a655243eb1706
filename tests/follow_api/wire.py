"""What the server and its handler both know: requests, refusals, faults."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
KINDS = {"/api/v1/pods": "Pod", "/api/v1/namespaces": "Namespace"}
FAULTS = {
    "unauthorized": 401,
    "forbidden": 403,
    "gone": 410,
    "throttle": 429,
    "broken": 500,
    "unavailable": 503,
    "ahead": 504,
}
"""Faults that are one status, to HTTP's."""


@dataclass
class Fault:
    """``name``: one of FAULTS, or as ``ScriptedApi.misbehave`` has it."""

    name: str
    verb: str
    kind: str
    times: int
    seconds: float


@dataclass(frozen=True)
class Request:
    verb: str
    kind: str
    query: dict[str, str]
    token: str
    """Or the common name of a client certificate."""


class Refusal(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    def status(self) -> Json:
        return status(self.code, str(self))


def status(code: int, message: str) -> Json:
    """The Status object that goes with an HTTP status."""
    body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    details = {"causes": [{"reason": "ResourceVersionTooLarge", "message": message}]} if code == 504 else {}
    return {**body, "reason": _REASONS.get(code, "InternalError"), "details": details, "code": code}


_REASONS = {401: "Unauthorized", 403: "Forbidden", 410: "Expired", 429: "TooManyRequests", 504: "Timeout"}
